"""Decoder processes and the threads that watch them: one lane a process, many lanes run ahead.

A lane hands its process one video after the other and passes on what it sends, into a queue that is
bounded in bytes. A process that says nothing for too long is killed, one that dies is replaced, and
the video it was at is named; no lock is shared with it that it could take to its grave.
"""

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from extract.decode.worker import Alive, Failed, Finished, Job, Opened, Picture

Item = TypeVar("Item")
_IMPORT_ROOT = Path(__file__).parents[2]
_SEND_BUFFER_BYTES = 1 << 20  # a few small pictures: fewer turns of the two processes waiting for each other


@dataclass(frozen=True)
class PictureData:
    """A decoded picture, (H, W, 3) uint8 RGB, and its place among the video's picks."""

    pick: int
    pixels: npt.NDArray[np.uint8]


Message = Opened | PictureData | Finished | Failed


class Stopped(Exception):  # noqa: N818  # not an error: the run was ended
    """The run is being ended."""


class DecoderProcess:
    """One decoder process and the connection to it. `timeout_s` without a word means that it hangs."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        ours, theirs = socket.socketpair()
        # The kernel's own: it also ends the wait for the rest of a picture.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout_s))
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            # A program of its own, not a multiprocessing child: that would import the caller's main
            # module (torch and more) again. A session of its own: Ctrl-C is for its owner alone.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "extract.decode.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=_IMPORT_ROOT,  # `-m` looks there first: not in whatever folder this was started from
                stdin=subprocess.DEVNULL,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # numpy's; nothing here multiplies matrices
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())

    def decode(self, job: Job) -> Iterator[Message]:
        """What the process says about one video, `Finished` or `Failed` last.

        After a timeout or a crash the process is gone, and `alive` false.
        """
        try:
            self._connection.send(job)
            while True:
                message = self._connection.recv()
                if isinstance(message, Alive):
                    continue
                if isinstance(message, Picture):
                    message = PictureData(message.pick, self._receive_pixels(message.shape))
                yield message
                if isinstance(message, Finished | Failed):
                    return
        except BlockingIOError:
            self.close()
            yield Failed(f"the decoder hung: nothing for {self._timeout_s:g} s")
        except (EOFError, OSError):
            yield Failed(self._how_it_died())

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
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process, whatever it is doing; may be called from any thread."""
        self._process.kill()

    def close(self) -> None:
        """End the process and release what it held; for the thread that reads from it."""
        self.kill()
        self._process.wait()
        self._connection.close()

    def _how_it_died(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)  # its end of the connection closes a moment before it is gone
        self.close()
        code = self._process.returncode
        if code >= 0:
            return f"the decoder process ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = ", perhaps out of memory" if name == "SIGKILL" else ""
        return f"the decoder process died of {name}{hint}"


def _timeval(seconds: float) -> bytes:
    """C's struct timeval; zero would mean forever."""
    return struct.pack("ll", *divmod(max(1, int(seconds * 1e6)), 1_000_000))


class ByteQueue(Generic[Item]):
    """A queue whose `put` waits while more than `limit` bytes are in it. One consumer."""

    def __init__(self, limit: int) -> None:
        self._items: queue.SimpleQueue[tuple[Item, int]] = queue.SimpleQueue()
        self._free = limit
        self._changed = threading.Condition()
        self._stopped = False

    def put(self, item: Item, size: int) -> None:
        """Raises Stopped once the run is being ended."""
        with self._changed:
            # an item larger than all the room there is passes when it is alone
            while size and self._free <= 0 and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise Stopped
            self._free -= size
        self._items.put((item, size))

    def get(self, timeout_s: float) -> Item | None:
        """The next item, or None if none comes in time."""
        try:
            item, size = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        with self._changed:
            self._free += size
            self._changed.notify_all()
        return item

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class Lanes:
    """`count` decoder processes over a list of jobs. Messages come as (key of the job, message).

    Those of one job come in order; those of different jobs are mixed.
    """

    def __init__(
        self, jobs: Iterable[tuple[str, Job]], count: int, timeout_s: float, queue_bytes: int
    ) -> None:
        self._jobs = deque(jobs)
        self._timeout_s = timeout_s
        self._messages: ByteQueue[tuple[str, Message]] = ByteQueue(queue_bytes)
        self._stop = threading.Event()
        self._processes: list[DecoderProcess] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> "Lanes":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._messages.stop()
        for process in list(self._processes):
            process.kill()
        for thread in self._threads:
            thread.join()

    def get(self, timeout_s: float) -> tuple[str, Message] | None:
        """The next message of any video, or None if none comes in time."""
        return self._messages.get(timeout_s)

    def _run(self) -> None:
        process: DecoderProcess | None = None
        with contextlib.suppress(Stopped, IndexError):  # IndexError: no job is left
            while not self._stop.is_set():
                key, job = self._jobs.popleft()
                try:
                    if process is None or not process.alive:
                        process = self._start_process()
                except OSError as error:
                    self._put(key, Failed(f"no decoder process can be started: {error}"))
                    continue
                for message in process.decode(job):
                    self._put(key, message)
        if process is not None:
            process.close()

    def _start_process(self) -> DecoderProcess:
        process = DecoderProcess(self._timeout_s)
        self._processes.append(process)
        if self._stop.is_set():  # __exit__ may have looked before it was there
            process.kill()
        return process

    def _put(self, key: str, message: Message) -> None:
        size = message.pixels.nbytes if isinstance(message, PictureData) else 0
        self._messages.put((key, message), size)
