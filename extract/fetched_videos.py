"""Videos in object stores for a decoder that needs files: fetched by threads ahead of the decoders.

A local video is passed on as it is. The first video of a store starts the threads.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from extract.decode.worker import Failed
from extract.display import encodable
from extract.manifest import VideoRecord
from extract.remote.cache import BYTES_PER_GB, COPIES, Copies, Copy, fetch_reason
from extract.remote.path import RemotePath
from extract.retry_times import AT_ONCE_S
from extract.source import SourceInfo

_THREADS = 8
_STOP_S = 2.0
_WAIT_S = 0.2


class Fetched(NamedTuple):
    """A video, and its file or the reason why there is none."""

    record: VideoRecord
    file: Path | Failed


class _Stopped(Exception):  # noqa: N818  # a control signal, not an error
    """The run is ending."""


class FetchedVideos:
    """The videos of `records` with their files, as an iterator for one thread at a time; a context manager.

    At most `ahead` videos, and `cache_gb` gigabytes, are on the disk or on their way while nobody uses them.
    """

    def __init__(
        self, records: Iterable[VideoRecord], cache_gb: float, ahead: int, copies: Copies = COPIES
    ) -> None:
        self._records = iter(records)
        self._limit = cache_gb * BYTES_PER_GB
        self._copies = copies
        self._taking = threading.Lock()
        self._room = threading.Semaphore(ahead)
        self._count = min(ahead, _THREADS)
        self._threads: list[threading.Thread] = []
        self._ready: queue.SimpleQueue[Fetched] = queue.SimpleQueue()
        self._fetched: dict[str, Copy] = {}
        self._first: VideoRecord | None = None
        self._stopping = False
        self._error: BaseException | None = None

    def __enter__(self) -> "FetchedVideos":
        return self

    def __exit__(self, *_: object) -> None:
        """End the downloads, and delete what was fetched and is not released."""
        self._stopping = True
        for thread in self._threads:
            thread.join(_STOP_S / len(self._threads))
        while self._fetched:
            self._copies.release(self._fetched.popitem()[1])

    def __iter__(self) -> Iterator[Fetched]:
        return self

    def __next__(self) -> Fetched:
        """The next video: the first one that is ready. Ends when none is left, and when the run ends."""
        if not self._threads:
            record = next(self._records)
            if not isinstance(record.path, RemotePath):
                return Fetched(record, record.path.absolute())
            self._first = record
            self._start()
        while not self._stopping:
            running = any(thread.is_alive() for thread in self._threads)
            try:
                fetched = self._ready.get(timeout=_WAIT_S if running else 0)
            except queue.Empty:
                if not running:
                    break
                continue
            self._room.release()
            return fetched
        raise StopIteration

    def release(self, name: str) -> None:
        """Delete the copy of a video that is not needed any more."""
        if copy := self._fetched.pop(name, None):
            self._copies.release(copy)

    def raise_error(self) -> None:
        """Raise the error that ended the downloads before the last video, if one did."""
        if self._error is not None:
            raise self._error

    def _start(self) -> None:
        for _ in range(self._count):
            # Daemons: a request that hangs must not delay the end of the program.
            thread = threading.Thread(target=self._run, name="fetch", daemon=True)
            self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        try:
            while (record := self._next_record()) is not None:
                self._ready.put(Fetched(record, self._file(record)))
            self._room.release()  # for the threads that have not seen the end yet
        except _Stopped:
            return
        except BaseException as error:  # raised by the thread that uses the videos
            self._error = self._error or error
            self._stopping = True

    def _next_record(self) -> VideoRecord | None:
        while not self._room.acquire(timeout=_WAIT_S):
            self._check()
        with self._taking:
            self._check()
            record, self._first = self._first, None
            return record or next(self._records, None)

    def _file(self, record: VideoRecord) -> Path | Failed:
        if not isinstance(record.path, RemotePath):
            return record.path.absolute()
        try:
            copy = self._copies.fetch(record.path, self._limit, self._check)
        except OSError as error:
            return Failed(fetch_reason(error), first_wait_s=AT_ONCE_S)
        self._fetched[record.name] = copy
        if self._stopping:
            self.release(record.name)
            raise _Stopped
        return copy.path

    def _check(self) -> None:
        """Raise _Stopped when the run is ending."""
        if self._stopping:
            raise _Stopped


def source_of(record: VideoRecord, decoded: SourceInfo) -> SourceInfo:
    """The properties of a video, from those of the file that was decoded, which may be a copy of it."""
    if not isinstance(record.path, RemotePath):
        return decoded
    return replace(decoded, file_name=encodable(record.path.name), mtime_ns=record.path.stat().st_mtime_ns)
