"""The source video of a feature file: its recorded properties and its digest.

Standard library only: decoder processes import this module, and pydantic or h5py would delay their start.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_READ_BYTES = 1 << 22
_WAIT_S = 0.5


@dataclass(frozen=True)
class SourceInfo:
    """Properties of the video that a feature file was extracted from."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  # read by pydantic when a feature file is read

    file_name: str
    sha256: str
    size: int
    """Bytes."""
    mtime_ns: int
    codec: str
    fps: float
    """Average frames per second."""
    n_frames: int
    width: int
    """Pixels of a frame as displayed, after rotation."""
    height: int
    """Pixels of a frame as displayed, after rotation."""
    duration_s: float
    timing: str = ""
    """Irregularities of the recording that do not prevent its use, for example pauses; else empty."""
    damage: str = ""
    """The first damaged frame and the error, if the file holds only the snippets before it; else empty."""


class FileState(NamedTuple):
    """Equal as long as a file has not changed; `ctime_ns` is 0 where a change of it does not count."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int


class KnownDigest(NamedTuple):
    """sha256 of a file in a state."""

    state: FileState
    sha256: str


def file_state(status: os.stat_result) -> FileState:
    """The state of a file whose every change counts."""
    return FileState(status.st_size, status.st_mtime_ns, _signed(status.st_ino), status.st_ctime_ns)


def video_state(status: os.stat_result) -> FileState:
    """The state of a video: another name, owner or link does not change its content."""
    return file_state(status)._replace(ctime_ns=0)


def _signed(inode: int) -> int:
    """As databases store it, in 64 bits."""
    return inode - (1 << 64) if inode >= 1 << 63 else inode


def file_digest(path: Path, tick: Callable[[], None] = lambda: None) -> str:
    """sha256 of a file's bytes, as hex digits; `tick` is called after every 4 MiB.

    Raises OSError, FileNotFoundError for a missing file.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            tick()
    return digest.hexdigest()


@contextmanager
def digest_in_background(path: Path) -> Iterator[Callable[[Callable[[], None]], str]]:
    """Compute `file_digest` in a thread while the file is used otherwise.

    Yields a function that waits for the digest and, while the thread makes progress, calls its argument; it
    raises what `file_digest` raises. A digest that is not waited for is given up at the end.
    """
    given_up, progress = threading.Event(), threading.Event()

    def tick() -> None:
        progress.set()
        if given_up.is_set():
            raise CancelledError

    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(file_digest, path, tick)

        def result(tick: Callable[[], None]) -> str:
            while not wait([digest], _WAIT_S).done:
                if progress.is_set():
                    progress.clear()
                    tick()
            return digest.result()

        try:
            yield result
        finally:
            given_up.set()
