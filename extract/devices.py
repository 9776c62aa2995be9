"""Extraction on several devices of one machine: one process a device, and one list of videos for all.

The parent hands out the videos one by one, the largest files first, and keeps the account of them. A process
loads the encoder once and takes videos until none is left. The videos of a process that dies are given to the
others, which write the same bytes. The processes inherit the lock of the feature folder: it is held until the
last of them has ended.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import joblib

from extract.child_process import end_process, exit_reason, start_module
from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.errors import InputError
from extract.manifest import VideoRecord
from extract.outcomes import Outcomes
from extract.remote.cache import remove_abandoned

log = logging.getLogger(__name__)

_REPORT_INTERVAL_S = 0.5
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Setup:
    """The folder and settings of the extraction, sent to a process before its first video."""

    features_dir: Path
    config: ExtractConfig
    runtime: ExtractRuntime


@dataclass(frozen=True)
class Ready:
    """The encoder is loaded."""

    fingerprint: EncoderFingerprint


class Request:
    """The process wants a video; the answer is a VideoRecord, or None if no more will come."""


@dataclass(frozen=True)
class Event:
    """A call of a method of `Outcomes` for the video of this name."""

    method: str
    name: str
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True)
class SnippetsDone:
    count: int


@dataclass(frozen=True)
class Stopped:
    """The process ends by an error. `by_input`: an error that the user can mend."""

    reason: str
    by_input: bool


Message = Ready | Request | Event | SnippetsDone | Stopped


def selected_devices(runtime: ExtractRuntime) -> list[str]:
    """The devices that `runtime.devices` selects; empty if the extraction runs on `runtime.device` alone.

    Raises InputError for `all` without a CUDA card.
    """
    if not runtime.devices:
        return []
    if runtime.devices != "all":
        return list(runtime.devices)
    from extract.encoder import cuda_cards  # here, because importing torch takes seconds

    cards = cuda_cards()
    if not cards:
        raise InputError("runtime.devices is all, but no CUDA card can be used here; leave it out")
    return [f"cuda:{number}" for number in range(cards)]


class _DeviceProcess:
    """The process of one device, seen from the parent."""

    def __init__(self, device: str, setup: Setup, lock: int) -> None:
        self.device = device
        self.held: dict[str, VideoRecord] = {}
        """The videos that it is extracting."""
        self.connection, theirs = Pipe()
        with theirs:
            self._process = start_module(
                "extract.device_process", theirs.fileno(), inherited=[lock], numpy_threads=True
            )
        self.connection.send(setup)

    @property
    def running(self) -> bool:
        """True until its connection has ended."""
        return not self.connection.closed

    @property
    def reason(self) -> str:
        """Why it has ended."""
        return exit_reason(self._process.wait(_STOP_TIMEOUT_S))

    def receive(self) -> "Message | None":
        """Its next message; None if it has ended."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            self.connection.close()
            return None
        return message

    def give(self, record: VideoRecord | None) -> None:
        """Answer a request."""
        if record is not None:
            self.held[record.name] = record
        with contextlib.suppress(OSError):  # it has ended; `receive` will see it and the video is taken back
            self.connection.send(record)

    def terminate(self) -> None:
        """Ask the process to end; its decoders end with it."""
        self._process.terminate()

    def close(self) -> None:
        """Wait for its end, and kill it if that takes too long."""
        end_process(self._process, _STOP_TIMEOUT_S)
        self.connection.close()


class DeviceProcesses:
    """One process a device, as a context manager; the processes have ended when it is left."""

    def __init__(
        self,
        devices: Sequence[str],
        features_dir: Path,
        config: ExtractConfig,
        runtime: ExtractRuntime,
        lock: int,
    ) -> None:
        """`lock` is the descriptor of the feature folder's lock."""
        shares = {
            "devices": None,
            "workers": max(1, (runtime.workers or joblib.cpu_count()) // len(devices)),
            "cache_gb": runtime.cache_gb / len(devices),
        }
        self._processes = [
            _DeviceProcess(
                device,
                Setup(
                    features_dir.absolute(),
                    config,
                    runtime.model_copy(update=shares | {"device": device}),
                ),
                lock,
            )
            for device in devices
        ]
        self._todo: deque[VideoRecord] = deque()
        self._idle: list[_DeviceProcess] = []
        """Processes whose request is not answered yet, because the others may leave them a video."""
        self._last_reason = ""

    def __enter__(self) -> "DeviceProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.close()
        remove_abandoned()  # the copies of videos of processes that were ended

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """The encoder of all processes, once they have loaded it.

        Raises InputError if they have different ones, or if one cannot load it.
        """
        fingerprints = {
            process.device: self._first_message(process).fingerprint for process in self._processes
        }
        first = next(iter(fingerprints.values()))
        for device, other in fingerprints.items():
            if other != first:
                raise InputError(
                    f"{device} would compute in {other.precision}, {self._processes[0].device} in "
                    f"{first.precision}; set extract.precision, or give devices of one kind"
                )
        return first

    def extract(self, todo: Iterable[VideoRecord], outcomes: Outcomes) -> None:
        """Extract the videos in `todo`, in this order. Raises InputError if no process is left to do so."""
        self._todo = deque(todo)
        while running := [process for process in self._processes if process.running]:
            by_connection = {process.connection: process for process in running}
            for connection in wait(list(by_connection), timeout=_REPORT_INTERVAL_S):
                assert isinstance(connection, Connection)
                self._receive(by_connection[connection], outcomes)
            self._answer_idle()
            outcomes.report()
        if self._todo:
            raise InputError(
                f"the processes of all devices ended, {len(self._todo)} videos are left; the last one: "
                f"{self._last_reason}; run the command again, it continues"
            )

    def _first_message(self, process: "_DeviceProcess") -> Ready:
        message = process.receive()
        if isinstance(message, Ready):
            return message
        reason = message.reason if isinstance(message, Stopped) else process.reason
        if isinstance(message, Stopped) and message.by_input:
            raise InputError(reason)
        raise RuntimeError(f"the process of {process.device} did not start: {reason}")

    def _receive(self, process: "_DeviceProcess", outcomes: Outcomes) -> None:
        message = process.receive()
        if isinstance(message, Request):
            self._idle.append(process)
        elif isinstance(message, SnippetsDone):
            outcomes.snippets_done(message.count)
        elif isinstance(message, Event):
            record = process.held[message.name]
            getattr(outcomes, message.method)(record, *message.arguments)
            if message.method != "opened":
                del process.held[message.name]
        else:
            self._take_back(process, message if isinstance(message, Stopped) else None)

    def _take_back(self, process: "_DeviceProcess", stopped: Stopped | None) -> None:
        """Put the videos of a process that has ended back on the list."""
        if stopped is not None and stopped.by_input:
            raise InputError(stopped.reason)
        if process in self._idle:
            self._idle.remove(process)
        if process.held or self._todo:
            self._last_reason = stopped.reason if stopped else process.reason
            log.warning(
                "the process of %s ended (%s); the other devices take its %d videos",
                process.device,
                self._last_reason,
                len(process.held),
            )
        self._todo.extendleft(reversed(process.held.values()))
        process.held.clear()

    def _answer_idle(self) -> None:
        while self._idle and self._todo:
            self._idle.pop(0).give(self._todo.popleft())
        if not any(process.held for process in self._processes):
            for process in self._idle:  # no video is on the list, and none can come back from a process
                process.give(None)
            self._idle.clear()
