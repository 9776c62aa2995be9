"""A pool of decoder processes, each watched by a thread, ahead of one consumer.

A thread gives its process one video after the other, makes of its pictures what the consumer needs, and puts
the messages into a queue that is bounded in bytes. A process that sends nothing for too long is killed, one
that ends is replaced, and its current video fails with the reason. No locks are shared with a decoder
process: a killed one cannot leave a lock held. A thread that ends by an error is replaced too, and fails only
its current video.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from extract.decode.process import DecoderProcess, Message, Pictures
from extract.decode.worker import Failed, Finished, Job, Opened
from extract.retry_times import AT_ONCE_S

Item = TypeVar("Item")


class Sized(Protocol):
    """Pictures as the consumer needs them."""

    @property
    def nbytes(self) -> int: ...


Prepared = TypeVar("Prepared", bound=Sized)


@dataclass(frozen=True)
class Received(Generic[Prepared]):
    """Some pictures of a video; `picks` are their indices into `Picks.frames`."""

    picks: npt.NDArray[np.int64]
    pictures: Prepared


Delivery = tuple[str, Opened | Received[Prepared] | Finished | Failed]
"""(key of the job, message)"""


class QueueStopped(Exception):  # noqa: N818  # a control signal, not an error
    """The queue accepts no more items, because the run is ending."""


class ByteQueue(Generic[Item]):
    """A queue for one consumer; `put` blocks while the queued items exceed `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._items: queue.SimpleQueue[tuple[Item, int] | None] = queue.SimpleQueue()
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
            self._items.put((item, size))
            self._free -= size

    def get(self, timeout_s: float) -> Item | None:
        """The next item, or None after `timeout_s` without one, and after `wake`."""
        try:
            entry = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if entry is None:
            return None
        item, size = entry
        with self._changed:
            self._free += size
            self._changed.notify_all()
        return item

    def wake(self) -> None:
        """Let one `get` return None."""
        self._items.put(None)

    def stop(self) -> None:
        """Let every waiting or later `put` raise QueueStopped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class JobList:
    """Jobs, each with a key, handed out one by one to several threads.

    They are taken from the iterable when a thread is free: it may be a generator that asks others for work.
    A `Failed` in the place of a job is its result.
    """

    def __init__(self, jobs: Iterable[tuple[str, Job | Failed]]) -> None:
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        self.unfinished: set[str] = set()
        """Keys of the jobs that were handed out; the consumer removes those that are finished."""
        self.exhausted = False
        """True if no job is left to be handed out."""

    def next(self) -> tuple[str, Job | Failed] | None:
        """The next job, or None if none is left."""
        with self._lock:
            job = next(self._jobs, None)
            if job is None:
                self.exhausted = True
            else:
                self.unfinished.add(job[0])
            return job


class DecoderPool(Generic[Prepared]):
    """`count` decoder processes that work through jobs, each with a key; a context manager.

    `prepare` is called in the threads, with (N, H, W, 3) pictures in memory that is used again afterwards.
    """

    def __init__(
        self,
        jobs: Iterable[tuple[str, Job | Failed]],
        count: int,
        timeout_s: float,
        queue_bytes: int,
        prepare: Callable[[npt.NDArray[np.uint8]], Prepared],
    ) -> None:
        self._jobs = JobList(jobs)
        self._count = count
        self._timeout_s = timeout_s
        self._prepare = prepare
        self._deliveries: ByteQueue[Delivery[Prepared]] = ByteQueue(queue_bytes)
        self._lanes: list[_Lane[Prepared]] = []

    def __enter__(self) -> "DecoderPool[Prepared]":
        for _ in range(self._count):
            self._start_lane()
        return self

    def __exit__(self, *_: object) -> None:
        self._deliveries.stop()
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join()

    def messages(self, idle_s: float) -> Iterator[Delivery[Prepared] | None]:
        """(key of the job, message) until every job is finished; None after each `idle_s` without a message.

        Messages of one job are in order, and the last one is `Finished` or `Failed`; jobs are interleaved.
        """
        while self._jobs.unfinished or not self._jobs.exhausted:
            item = self._deliveries.get(idle_s) or self._failure_without_message()
            if item is None:
                yield None
            elif item[0] in self._jobs.unfinished:
                if isinstance(item[1], Finished | Failed):
                    self._jobs.unfinished.remove(item[0])
                yield item

    def _start_lane(self) -> None:
        """Start one more thread. Where the system allows no more, those that run have to do."""
        lane = _Lane(self._jobs, self._deliveries, self._timeout_s, self._prepare)
        try:
            lane.start()
        except RuntimeError:
            if not any(lane.is_alive() for lane in self._lanes):
                raise
        else:
            self._lanes.append(lane)

    def _failure_without_message(self) -> Delivery[Prepared] | None:
        """The failure of a job that no thread will report; replaces a thread that has ended by an error."""
        dead = next((lane for lane in self._lanes if not lane.is_alive() and not lane.done), None)
        if dead is not None:
            self._lanes.remove(dead)
            self._start_lane()
            failed = _not_tried("the thread that watches its decoder ended")
            return None if dead.key is None else (dead.key, failed)
        if not (self._jobs.unfinished and all(lane.done for lane in self._lanes)):
            return None
        lost = (next(iter(self._jobs.unfinished)), _not_tried("it was not decoded: its thread ended"))
        return self._deliveries.get(0) or lost


class _Lane(threading.Thread, Generic[Prepared]):
    """A thread that gives jobs to a decoder process of its own, and passes the messages on.

    An error of any kind fails the video at hand; the next one gets a new process.
    """

    def __init__(
        self,
        jobs: JobList,
        deliveries: ByteQueue[Delivery[Prepared]],
        timeout_s: float,
        prepare: Callable[[npt.NDArray[np.uint8]], Prepared],
    ) -> None:
        super().__init__(daemon=True)
        self._jobs, self._deliveries, self._timeout_s, self._prepare = jobs, deliveries, timeout_s, prepare
        self._stopped = False
        self._process: DecoderProcess | None = None
        self.key: str | None = None
        """Key of the current job."""
        self.done = False
        """True if the thread has ended because no job was left, or because it was stopped."""

    def run(self) -> None:
        try:
            while not self._stopped and (job := self._next_job()) is not None:
                self._decode(*job)
        except QueueStopped:
            self._stopped = True
        finally:
            self._close_process()
        self.done = True

    def stop(self) -> None:
        """Kill the decoder process, which ends the thread soon; may be called from any thread."""
        self._stopped = True
        if process := self._process:
            process.kill()

    def _next_job(self) -> tuple[str, Job | Failed] | None:
        job = self._jobs.next()
        if job is None:
            self._deliveries.wake()  # the consumer may be waiting for a message of this thread
        else:
            self.key = job[0]
        return job

    def _decode(self, key: str, job: Job | Failed) -> None:
        try:
            for message in (job,) if isinstance(job, Failed) else self._running_process().decode(job):
                self._put(key, message)
        except QueueStopped:
            raise
        except Exception as error:
            self._close_process()  # its connection may be in the middle of a message
            self._put(key, _not_tried(_reason(error)))
        self.key = None

    def _running_process(self) -> DecoderProcess:
        if self._process is None or not self._process.alive:
            self._process = DecoderProcess(self._timeout_s)
            if self._stopped:  # `stop` may have looked for a process before
                self._process.kill()
        return self._process

    def _close_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _put(self, key: str, message: Message) -> None:
        if isinstance(message, Pictures):
            prepared = self._prepare(message.pixels)
            self._deliveries.put((key, Received(message.picks, prepared)), prepared.nbytes)
        else:
            self._deliveries.put((key, message), 0)


def _not_tried(reason: str) -> Failed:
    """A failure that says nothing about the video."""
    return Failed(reason, first_wait_s=AT_ONCE_S)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"no decoder process can be started: {error}"
    text = " ".join(f"{type(error).__name__} {error}".split())
    return f"its pictures can't be received: {text}"
