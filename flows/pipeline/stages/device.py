"""The device that a stage computes on: the GPU's lock, the number of CPU threads, the progress display.

PyTorch is imported when a device is used: a run whose stages come from the cache does without.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import joblib

from flows.pipeline.artifacts import progress_artifact
from flows.progress import Report, stage_progress
from flows.workspace.locks import gpu_lock
from flows.workspace.run import Run

if TYPE_CHECKING:
    import torch


@contextmanager
def computing(
    run: Run, stage: str, unit: str, devices: Sequence[str] = (), *, on_cluster: bool = False
) -> Iterator[Report]:
    """Use the run's device, `devices`, or none here; yields a function that reports progress in `unit`."""
    with (
        _in_use([] if on_cluster else devices or [run.config.runtime.device]),
        progress_artifact(stage) as record,
        stage_progress(stage, unit, record) as report,
    ):
        yield report


@contextmanager
def _in_use(settings: Sequence[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for setting in sorted(set(settings)):  # in one order, so that two runs do not wait for each other
            stack.enter_context(device_in_use(setting))
        yield


@contextmanager
def device_in_use(setting: str) -> Iterator["torch.device"]:
    """The device of a setting (`auto`, `cpu`, `cuda:1`, …) for computing; waits for a GPU that is in use."""
    from extract.encoder import resolve_device

    device = resolve_device(setting)
    with gpu_lock(str(device)):
        _limit_threads()
        yield device


def _limit_threads() -> None:
    """Let torch use no more threads than the container's CPU limit allows.

    Torch starts a thread for each processor it sees; under a CPU quota they stop each other. Where there is
    no quota nothing changes, and so do results to the last bit. OMP_NUM_THREADS is the user's own choice.
    """
    import torch

    usable = joblib.cpu_count()  # the number of decoders: quota and CPU affinity count
    if "OMP_NUM_THREADS" not in os.environ and usable < torch.get_num_threads():
        torch.set_num_threads(usable)
