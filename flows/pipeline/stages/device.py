"""The device of a stage: its GPU lock and its progress display while it computes."""

from collections.abc import Iterator
from contextlib import contextmanager

from extract.encoder import resolve_device
from flows.pipeline.artifacts import progress_artifact
from flows.pipeline.progress import Report, stage_progress
from flows.workspace.locks import gpu_lock
from flows.workspace.run import Run


@contextmanager
def computing(run: Run, stage: str, unit: str) -> Iterator[Report]:
    """Hold the lock of the run's GPU, if it uses one; yields a function that reports progress in `unit`."""
    device = str(resolve_device(run.config.runtime.device))
    with (
        gpu_lock(device),
        progress_artifact(stage) as record,
        stage_progress(stage, unit, record) as report,
    ):
        yield report
