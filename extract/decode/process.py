"""One decoder process, seen from the process that started it: its connection, its deadline, its death."""

import contextlib
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from extract.child_process import exit_reason, start_module
from extract.decode.shared_pictures import SharedMemory, SharedPictures, new_memory
from extract.decode.worker import (
    Alive,
    Facts,
    Failed,
    Finished,
    FrameJob,
    FramesJob,
    Job,
    Opened,
    Sent,
)
from extract.retry_times import LATER_S, SOON_S

_WORKER = "extract.decode.worker"
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
"""Signals that a decoder brings on itself, probably again on the same file."""


@dataclass(frozen=True)
class PictureData:
    """One picture, (H, W, 3) uint8 RGB; `pick` is the frame's number."""

    pick: int
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Some pictures of a video, (N, H, W, 3) uint8 RGB; `picks` are their indices into `Picks.frames`."""

    picks: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]
    """Memory that the decoder uses again: valid until the next message is asked for."""


Message = Opened | Pictures | Finished | Failed


class DecoderProcess:
    """One decoder process and its connection. It counts as hung after `timeout_s` without a message."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        ours, theirs = socket.socketpair()
        # A timeout of the socket, so that it also applies in the middle of a message.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout_s))
        self._memory = SharedMemory(new_memory())
        with theirs:
            try:
                self._process = start_module(_WORKER, theirs.fileno(), self._memory.descriptor)
            except BaseException:
                self._memory.close()
                raise
        self._connection = Connection(ours.detach())

    def decode(self, job: Job) -> Iterator[Message]:
        """The messages about one video; the last one is `Finished` or `Failed`.

        After a timeout or a crash the process has ended, and `alive` is false.
        """
        for message in self._messages(job):
            if not isinstance(message, Alive):
                yield message
            if isinstance(message, Finished | Failed):
                return

    def decode_frame(self, job: FrameJob, deadline_s: float) -> PictureData | Failed:
        """One picture. The process is killed if it needs longer than `deadline_s`, signs of life or not."""
        until = time.monotonic() + deadline_s
        for message in self._messages(job):
            if isinstance(message, Pictures):
                return _copies(message)[0]
            if isinstance(message, Failed):
                return message
            if time.monotonic() > until:
                break
        self.close()
        return Failed(f"the decoder did not find the frame within {deadline_s:g} s")

    def decode_frames(self, job: FramesJob) -> Iterator[Facts | PictureData | Failed]:
        """`Facts`, then the pictures in ascending order; or, at any place, a `Failed` as the last message."""
        for message in self._messages(job):
            if isinstance(message, Sent):
                return
            if isinstance(message, Pictures):
                yield from _copies(message)
            elif not isinstance(message, Alive):
                yield message
            if isinstance(message, Failed):
                return

    def _messages(self, job: Job | FrameJob | FramesJob) -> Iterator[Any]:
        """The messages after a job; a timeout or the end of the process becomes a `Failed`."""
        try:
            self._connection.send(job)
            while True:
                message = self._connection.recv()
                if isinstance(message, SharedPictures):
                    yield from self._shared(message)
                else:
                    yield message
        except BlockingIOError:
            self.close()
            yield Failed(f"the decoder hung: no data for {self._timeout_s:g} s", first_wait_s=SOON_S)
        except (EOFError, OSError):
            yield self._exit_failure()

    def _shared(self, message: SharedPictures) -> Iterator[Pictures]:
        picks = np.array(message.picks)
        try:
            yield Pictures(picks, self._memory.array(message.offset, (len(picks), *message.shape)))
        finally:  # the decoder may use the memory again
            with contextlib.suppress(OSError):  # it has ended, which the next message says
                self._connection.send_bytes(b"")

    @property
    def alive(self) -> bool:
        """True if the process is running."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the process; may be called from any thread."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and release its resources; only for the thread that calls `decode`."""
        self.kill()
        self._process.wait()
        if not self._connection.closed:
            self._connection.close()
            self._memory.close()

    def _exit_failure(self) -> Failed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)  # the connection closes shortly before the process ends
        self.close()
        code = self._process.returncode
        if code >= 0:
            return Failed(f"the decoder process ended with {exit_reason(code)}", first_wait_s=SOON_S)
        wait_s = LATER_S if -code in _CRASHES else SOON_S
        return Failed(f"the decoder process was {exit_reason(code)}", first_wait_s=wait_s)


def _copies(pictures: Pictures) -> list[PictureData]:
    return [
        PictureData(int(pick), pixels.copy())
        for pick, pixels in zip(pictures.picks, pictures.pixels, strict=True)
    ]


def _timeval(seconds: float) -> bytes:
    """C's struct timeval, at least 1 µs: zero would disable the timeout."""
    return struct.pack("ll", *divmod(max(1, int(seconds * 1e6)), 1_000_000))
