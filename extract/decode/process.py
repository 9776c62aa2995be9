"""One decoder process, seen from the process that started it: its connection, its deadline, its death."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extract.decode.worker import (
    Alive,
    Facts,
    Failed,
    Finished,
    FrameJob,
    FramesJob,
    Job,
    Opened,
    PictureHeader,
    Sent,
)

_IMPORT_ROOT = Path(__file__).parents[2]
_SEND_BUFFER_BYTES = 1 << 20
"""Room for a few small pictures, so that the two processes switch less often."""


@dataclass(frozen=True)
class PictureData:
    """A decoded picture, (H, W, 3) uint8 RGB; `pick` is the index into `Picks.frames`."""

    pick: int
    pixels: npt.NDArray[np.uint8]


Message = Opened | PictureData | Finished | Failed


class DecoderProcess:
    """One decoder process and its connection. It counts as hung after `timeout_s` without a message."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        ours, theirs = socket.socketpair()
        # A timeout of the socket, so that it also applies in the middle of a picture.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout_s))
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            # Not a multiprocessing child, which would import the caller's main module (torch and more) again.
            # A new session, so that Ctrl-C reaches the parent only.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "extract.decode.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=_IMPORT_ROOT,  # `-m` searches the working directory first
                stdin=subprocess.DEVNULL,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # numpy's threads are never used here
                start_new_session=True,
            )
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
            if isinstance(message, PictureData | Failed):
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
            if not isinstance(message, Alive):
                yield message
            if isinstance(message, Failed):
                return

    def _messages(self, job: Job | FrameJob | FramesJob) -> Iterator[Any]:
        """The messages after a job; a timeout or the end of the process becomes a `Failed`."""
        try:
            self._connection.send(job)
            while True:
                message = self._connection.recv()
                if isinstance(message, PictureHeader):
                    message = PictureData(message.pick, self._receive_pixels(message.shape))
                yield message
        except BlockingIOError:
            self.close()
            yield Failed(f"the decoder hung: no data for {self._timeout_s:g} s")
        except (EOFError, OSError):
            yield Failed(self._exit_reason())

    def _receive_pixels(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        pixels = np.empty(shape, np.uint8)
        missing = pixels.data.cast("B")
        while missing:
            received = os.readv(self._connection.fileno(), [missing])
            if received == 0:
                raise EOFError
            missing = missing[received:]
        return pixels

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
        self._connection.close()

    def _exit_reason(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)  # the connection closes shortly before the process ends
        self.close()
        code = self._process.returncode
        if code >= 0:
            return f"the decoder process ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = ", perhaps out of memory" if name == "SIGKILL" else ""
        return f"the decoder process was killed by {name}{hint}"


def _timeval(seconds: float) -> bytes:
    """C's struct timeval, at least 1 µs: zero would disable the timeout."""
    return struct.pack("ll", *divmod(max(1, int(seconds * 1e6)), 1_000_000))
