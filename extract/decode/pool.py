"""A pool of decoder processes, each watched by a thread, ahead of one consumer.

A thread gives its process one video after the other and puts the received messages into a queue that is
bounded in bytes. A process that sends nothing for too long is killed, one that ends is replaced, and its
current video fails with the reason. No locks are shared with a decoder process: a killed one cannot leave a
lock held.
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

from extract.decode.worker import Alive, Failed, Finished, Job, Opened, PictureHeader

Item = TypeVar("Item")
_IMPORT_ROOT = Path(__file__).parents[2]
_SEND_BUFFER_BYTES = 1 << 20
"""Room for a few small pictures, so that the two processes switch less often."""


@dataclass(frozen=True)
class PictureData:
    """A decoded picture, (H, W, 3) uint8 RGB; `pick` is the index into `Picks.frames`."""

    pick: int
    pixels: npt.NDArray[np.uint8]


Message = Opened | PictureData | Finished | Failed


class QueueStopped(Exception):  # noqa: N818  # a control signal, not an error
    """The queue accepts no more items, because the run is ending."""


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
        try:
            self._connection.send(job)
            while True:
                message = self._connection.recv()
                if isinstance(message, Alive):
                    continue
                if isinstance(message, PictureHeader):
                    message = PictureData(message.pick, self._receive_pixels(message.shape))
                yield message
                if isinstance(message, Finished | Failed):
                    return
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


class ByteQueue(Generic[Item]):
    """A queue for one consumer; `put` blocks while the queued items exceed `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._items: queue.SimpleQueue[tuple[Item, int]] = queue.SimpleQueue()
        self._free = limit
        self._changed = threading.Condition()
        self._stopped = False

    def put(self, item: Item, size: int) -> None:
        """Add an item of `size` bytes, waiting for space if necessary. Raises QueueStopped after `stop`."""
        with self._changed:
            # An item larger than the limit is admitted when the queue has any space left.
            while size and self._free <= 0 and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise QueueStopped
            self._free -= size
        self._items.put((item, size))

    def get(self, timeout_s: float) -> Item | None:
        """The next item, or None after `timeout_s` without one."""
        try:
            item, size = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        with self._changed:
            self._free += size
            self._changed.notify_all()
        return item

    def stop(self) -> None:
        """Let every waiting or later `put` raise QueueStopped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class DecoderPool:
    """`count` decoder processes that work through a list of jobs; a context manager.

    Messages come as (key of the job, message). Those of one job are in order; jobs are interleaved.
    """

    def __init__(
        self, jobs: Iterable[tuple[str, Job]], count: int, timeout_s: float, queue_bytes: int
    ) -> None:
        self._jobs = deque(jobs)
        self._timeout_s = timeout_s
        self._messages: ByteQueue[tuple[str, Message]] = ByteQueue(queue_bytes)
        self._stop = threading.Event()
        self._processes: list[DecoderProcess] = []
        self._threads = [threading.Thread(target=self._run_jobs, daemon=True) for _ in range(count)]

    def __enter__(self) -> "DecoderPool":
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
        """The next message of any video, or None after `timeout_s` without one."""
        return self._messages.get(timeout_s)

    def _run_jobs(self) -> None:
        process: DecoderProcess | None = None
        with contextlib.suppress(QueueStopped, IndexError):  # IndexError: no jobs left
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
        if self._stop.is_set():  # `__exit__` may have gone through the list before
            process.kill()
        return process

    def _put(self, key: str, message: Message) -> None:
        size = message.pixels.nbytes if isinstance(message, PictureData) else 0
        self._messages.put((key, message), size)
