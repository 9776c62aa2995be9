"""The device that a stage computes on: the GPU's lock, the number of CPU threads, the progress display."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import torch

from extract.encoder import resolve_device
from flows.pipeline.artifacts import progress_artifact
from flows.pipeline.progress import Report, stage_progress
from flows.workspace.locks import gpu_lock
from flows.workspace.run import Run


@contextmanager
def computing(run: Run, stage: str, unit: str) -> Iterator[Report]:
    """Use the run's device; yields a function that reports progress in `unit`."""
    with (
        device_in_use(run.config.runtime.device),
        progress_artifact(stage) as record,
        stage_progress(stage, unit, record) as report,
    ):
        yield report


@contextmanager
def device_in_use(setting: str) -> Iterator[torch.device]:
    """The device of a setting (`auto`, `cpu`, `cuda:1`, …) for computing; waits for a GPU that is in use."""
    device = resolve_device(setting)
    with gpu_lock(str(device)):
        _limit_threads()
        yield device


def _limit_threads() -> None:
    """Let torch use no more threads than the container's CPU limit allows.

    Torch starts a thread for each processor it sees; under a CPU quota they stop each other. Where there is
    no quota nothing changes, and so do results to the last bit. OMP_NUM_THREADS is the user's own choice.
    """
    usable = joblib.cpu_count()  # the number of decoders: quota and CPU affinity count
    if "OMP_NUM_THREADS" not in os.environ and usable < torch.get_num_threads():
        torch.set_num_threads(usable)
