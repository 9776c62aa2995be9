"""Training on several devices of one machine: one process a device, started and watched from here.

The processes are a `training.group`; the first one reads and writes the state of the training and reports to
this process. When one of them ends early, the others are ended too: the next run continues from the last
saved state, with any number of processes.
"""

import logging
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Literal

import safetensors.torch

from dsanet.checkpoint import load_trained
from dsanet.detectors.base import Detector
from dsanet.detectors.registry import build_detector
from dsanet.training.loop import TrainProgress
from dsanet.training.plan import Plan
from extract.child_process import end_process, killing_signal, start_module
from extract.encoder import resolve_device
from extract.errors import InputError

_POLL_S = 0.5
"""An exception that is raised into the waiting thread (a time limit) arrives between two waits."""
_STOP_S = 5.0
_CAUSE_S = 3.0
"""Time in which the cause of an error and the errors that follow from it in the other processes arrive."""


@dataclass(frozen=True)
class Setup:
    """The part of a process in a training; sent to it first."""

    plan: Plan
    device: str
    rank: int
    size: int
    rendezvous: str
    working_directory: Path
    per_epoch: bool
    """True if the first process sends `EpochDone` and waits for an answer."""


@dataclass(frozen=True)
class EpochDone:
    """The end of an epoch: the number of updates, and the weights as a safetensors file."""

    step: int
    weights: bytes


@dataclass(frozen=True)
class LogLine:
    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class Stopped:
    """The process ends by an error. `lost`: by that of a connection to another process."""

    reason: str
    kind: Literal["input", "lost", "bug"]


class Finished:
    """The process has done its part."""


Message = TrainProgress | EpochDone | LogLine | Stopped | Finished


def training_devices(selected: Sequence[str]) -> tuple[str, ...]:
    """The devices of `runtime.devices` that train: each CUDA card once, or without one every CPU."""
    cards = tuple(dict.fromkeys(device for device in selected if device != "cpu"))
    return cards or tuple(selected)


def train_in_processes(
    plan: Plan,
    devices: Sequence[str],
    on_progress: Callable[[TrainProgress], None] | None = None,
    on_epoch: Callable[[int, Detector], None] | None = None,
) -> None:
    """Train with one process for each of `devices`; the processes have ended when this returns or raises.

    The callbacks are called here, `on_epoch` with a detector on the first device. Raises as `dsanet.train`,
    and InputError if a process is killed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dsanet-") as folder,
        _Processes(plan, devices, Path(folder) / "rendezvous", on_epoch is not None) as processes,
    ):
        follow = _Follower(plan, devices[0], on_progress, on_epoch)
        while running := [process for process in processes.all if not process.finished]:
            for process in ready(running, _POLL_S):
                message = process.receive()
                if message is None or isinstance(message, Stopped):
                    raise cause_of_end(processes.all)
                answer = follow(message)
                if answer:
                    process.connection.send(None)


class _Follower:
    """Passes the messages of the processes to the callbacks."""

    def __init__(
        self,
        plan: Plan,
        device: str,
        on_progress: Callable[[TrainProgress], None] | None,
        on_epoch: Callable[[int, Detector], None] | None,
    ) -> None:
        self._plan, self._device = plan, device
        self._on_progress, self._on_epoch = on_progress, on_epoch
        self._net: Detector | None = None

    def __call__(self, message: Message) -> bool:
        """True if the process waits for an answer."""
        if isinstance(message, TrainProgress) and self._on_progress is not None:
            self._on_progress(message)
        elif isinstance(message, LogLine):
            logging.getLogger(message.logger).log(message.level, "%s", message.text)
        elif isinstance(message, EpochDone) and self._on_epoch is not None:
            if self._net is None:
                self._net = build_detector(self._plan.model).to(resolve_device(self._device)).eval()
            load_trained(self._net, safetensors.torch.load(message.weights))
            self._on_epoch(message.step, self._net)
        return isinstance(message, EpochDone)


class _Process:
    """The process of one device, seen from the parent."""

    def __init__(self, setup: Setup) -> None:
        self.device = setup.device
        self.finished = False
        self.stopped: Stopped | None = None
        self.connection, theirs = Pipe()
        with theirs:
            self._process = start_module(
                "dsanet.training.device_process", theirs.fileno(), numpy_threads=True
            )
        with suppress(OSError):  # it has ended: `receive` finds that out
            self.connection.send(setup)

    def receive(self) -> Message | None:
        """Its next message; None if it has ended without one."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            self.connection.close()
            return None
        if isinstance(message, Stopped):
            self.stopped = message
        self.finished = isinstance(message, Finished)
        return message

    @property
    def running(self) -> bool:
        """True if it may still send something."""
        return not (self.connection.closed or self.stopped or self.finished)

    @property
    def killed_by(self) -> str:
        """The signal that has ended it; empty if none has."""
        with suppress(subprocess.TimeoutExpired):
            return killing_signal(self._process.wait(_CAUSE_S))
        return ""

    def terminate(self) -> None:
        self._process.terminate()

    def close(self) -> None:
        """Wait for its end, and kill it if that takes too long."""
        end_process(self._process, _STOP_S)
        self.connection.close()


class _Processes:
    """The processes of a training, as a context manager that ends them."""

    def __init__(self, plan: Plan, devices: Sequence[str], rendezvous: Path, per_epoch: bool) -> None:
        self.all: list[_Process] = []
        self._setups = [
            Setup(plan, device, rank, len(devices), rendezvous.as_uri(), Path.cwd(), per_epoch)
            for rank, device in enumerate(devices)
        ]

    def __enter__(self) -> "_Processes":
        try:
            for setup in self._setups:
                self.all.append(_Process(setup))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            if not process.finished:
                process.terminate()
        for process in self.all:
            process.close()


def ready(processes: Sequence[_Process], timeout_s: float) -> list[_Process]:
    """The processes that have sent something, or have ended."""
    by_connection = {process.connection: process for process in processes}
    found = wait(list(by_connection), timeout_s)
    return [by_connection[connection] for connection in found if isinstance(connection, Connection)]


def cause_of_end(processes: Sequence[_Process]) -> Exception:
    """The error that a training has ended by, among those that it has led to in the other processes."""
    while running := [process for process in processes if process.running]:
        found = ready(running, _CAUSE_S)
        if not found:
            break
        for process in found:
            process.receive()
    stopped = [(process, process.stopped) for process in processes if process.stopped is not None]
    for _, stop in stopped:
        if stop.kind == "input":
            return InputError(stop.reason)
    for process in processes:
        if process.connection.closed and process.stopped is None and (name := process.killed_by):
            return InputError(
                f"the training's process of {process.device} was killed by {name}; run the command again, it "
                "continues from the last saved state"
            )
    for process, stop in sorted(stopped, key=lambda one: one[1].kind):  # "bug" before "lost"
        return RuntimeError(f"the training's process of {process.device} failed:\n{stop.reason}")
    return RuntimeError("a process of the training ended without an error")
