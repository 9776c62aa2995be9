"""Copies of objects on the local disk, for programs that need a file: fetched, used, and deleted.

Each process has a folder of its own below `cache_folder()/videos`, which it holds locked. The folders of
processes that were killed are removed by the next process that fetches something.
"""

import atexit
import errno
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from extract.errors import InputError, MissingFileError
from extract.file_lock import try_lock
from extract.remote.listings import place_of
from extract.remote.path import AnyPath, RemotePath
from extract.remote.store import ObjectState, RefusedError

DEFAULT_CACHE_GB = 20.0
BYTES_PER_GB = 1_000_000_000
_WAIT_S = 0.5
_NAME_BYTES = 200
"""Longest name of an object that its copy has too; file systems allow 255 bytes, and a suffix is added."""


class FetchError(OSError):
    """One object can't be fetched; `strerror` is the reason."""


class ChangedError(FetchError):
    """The object is not the one that was listed."""


@dataclass(eq=False)
class Copy:
    """The copy of an object in one state."""

    key: tuple[str, ObjectState]
    path: Path
    users: int = 1
    complete: bool = False

    @property
    def size(self) -> int:
        return self.key[1].size


def cache_folder() -> Path:
    """The folder for files that can be had again: `~/.cache/dsanet`, or what DSANET_CACHE names.

    Raises InputError for a user without a home folder.
    """
    if named := os.environ.get("DSANET_CACHE"):
        return Path(named).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsanet"
    except RuntimeError:
        raise InputError("the user has no home folder; set DSANET_CACHE to a folder for copies") from None


class Copies:
    """The copies that this process has. May be used from several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        """Held while waiting for room, so that a large object is not overtaken by small ones for ever."""
        self._copies: dict[tuple[str, ObjectState], Copy] = {}
        self._numbers = count()
        self._folder: Path | None = None
        self._lock: IO[str] | None = None

    def fetch(self, file: RemotePath, limit: float, tick: Callable[[], None] = lambda: None) -> Copy:
        """A copy of an object, which `release` deletes. Waits while all copies would exceed `limit` bytes.

        An object larger than `limit` is fetched when there is no other copy. `tick` is called now and then,
        and ends the call if it raises.

        Raises MissingFileError for an object that is gone, FetchError if it is refused, has changed since it
        was listed or does not fit on the disk, OSError for other errors of the disk, and StoreError for a
        store that does not answer.
        """
        state = file.found()
        if state is None:
            raise MissingFileError(f"no object {file}")
        key = (file.address, state)
        copy = self._in_use(key)  # without a turn: the caller may hold the copy already
        if copy is None:
            with self._turn:
                copy = self._existing(key, tick) or self._admitted(key, limit, tick)
        if not copy.complete:
            try:
                _download(file, state, copy.path, tick)
            except BaseException:
                self.release(copy)
                raise
            with self._changed:
                copy.complete = True
                self._changed.notify_all()
        return copy

    def release(self, copy: Copy) -> None:
        """Delete a copy, unless it is used elsewhere too."""
        with self._changed:
            copy.users -= 1
            if not copy.users:
                del self._copies[copy.key]
                shutil.rmtree(copy.path.parent, ignore_errors=True)
            self._changed.notify_all()

    def clear(self) -> None:
        """Remove the folder; called at the end of the process."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
        self._folder = self._lock = None

    def _in_use(self, key: tuple[str, ObjectState]) -> Copy | None:
        """The complete copy of this object, if there is one."""
        with self._changed:
            copy = self._copies.get(key)
            if copy is None or not copy.complete:
                return None
            copy.users += 1
            return copy

    def _existing(self, key: tuple[str, ObjectState], tick: Callable[[], None]) -> Copy | None:
        """The copy that another thread makes, once it is complete; None if there is none."""
        with self._changed:
            while key in self._copies and not self._copies[key].complete:
                self._changed.wait(_WAIT_S)
                tick()
        return self._in_use(key)

    def _admitted(self, key: tuple[str, ObjectState], limit: float, tick: Callable[[], None]) -> Copy:
        """The place of a new copy, once there is room for it."""
        size = key[1].size
        with self._changed:
            folder = self._own_folder()
            while self._copies:
                used = sum(copy.size for copy in self._copies.values())
                if used + size <= limit and size <= self._free(folder):
                    break
                self._changed.wait(_WAIT_S)
                tick()
            if size > (free := self._free(folder)):
                reason = f"it has {_gb(size)}, and the disk of {folder} {_gb(free)} of free space"
                raise FetchError(errno.ENOSPC, reason, key[0])
            copy = Copy(key, folder / str(next(self._numbers)) / _file_name(key[0]))
            copy.path.parent.mkdir()
            self._copies[key] = copy
        return copy

    def _free(self, folder: Path) -> int:
        """Bytes that are free on the disk, without those that unfinished downloads may still take."""
        expected = sum(copy.size for copy in self._copies.values() if not copy.complete)
        return max(0, shutil.disk_usage(folder).free - expected)

    def _own_folder(self) -> Path:
        """The folder of this process; made when it is first needed, and again if the cache has moved."""
        root = cache_folder() / "videos"
        if self._folder is not None and (self._copies or self._folder.parent == root):
            self._folder.mkdir(exist_ok=True)
            return self._folder
        self.clear()
        try:
            self._folder, self._lock = _new_folder(root)
        except OSError as error:
            raise InputError(
                f"videos can't be copied to {root}: {error.strerror}; make it writable, or set DSANET_CACHE"
            ) from error
        return self._folder


COPIES = Copies()
atexit.register(COPIES.clear)


@contextmanager
def local_copy(file: AnyPath, limit_gb: float = DEFAULT_CACHE_GB, copies: Copies = COPIES) -> Iterator[Path]:
    """A file with the content of `file`: itself, or a copy of an object that is deleted at the end.

    Raises what `Copies.fetch` raises.
    """
    if isinstance(file, Path):
        yield file
        return
    copy = copies.fetch(file, limit_gb * BYTES_PER_GB)
    try:
        yield copy.path
    finally:
        copies.release(copy)


def remove_abandoned() -> None:
    """Remove the copies of processes that have ended without doing so."""
    with suppress(OSError, InputError), _cleaned(cache_folder() / "videos"):
        pass


def fetch_reason(error: OSError) -> str:
    """Why an object could not be fetched, for the list of failures."""
    if isinstance(error, MissingFileError):
        return str(error)
    return f"it can't be fetched: {error.strerror or error}"


def _download(file: RemotePath, state: ObjectState, path: Path, tick: Callable[[], None]) -> None:
    """Copy the object if it is still the one that was listed, and stays the same meanwhile."""
    store, key = place_of(file.address)
    try:
        store.download(key, path, tick)
        now = store.state(key)
    except RefusedError as error:
        raise FetchError(errno.EACCES, str(error), file.address) from None
    if now is None:
        raise MissingFileError(f"no object {file}")
    # The times are those of two kinds of answers, which some stores round differently.
    same = now.tag == state.tag if state.tag else now.mtime_ns == state.mtime_ns
    if not (same and now.size == state.size == path.stat().st_size):
        raise ChangedError(errno.ESTALE, "it was changed after the run had listed it", file.address)


def _new_folder(root: Path) -> tuple[Path, IO[str]]:
    """A new folder with its locked lock file; removes the folders that no process holds locked."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _cleaned(root):
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=root))
        lock = (folder / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, lock


@contextmanager
def _cleaned(root: Path) -> Iterator[None]:
    """Remove the folders that no process holds locked; inside, no other process makes or removes one."""
    with (root / ".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for other in root.iterdir():
            if other.is_dir() and _is_abandoned(other):
                shutil.rmtree(other, ignore_errors=True)
        yield


def _is_abandoned(folder: Path) -> bool:
    with suppress(FileNotFoundError), (folder / ".lock").open("r+") as lock:
        return try_lock(lock)
    return True


def _file_name(address: str) -> str:
    """The object's name, which decoders and their messages show; another one where no file can have it."""
    name = address.rpartition("/")[2]
    usable = len(os.fsencode(name)) <= _NAME_BYTES and name not in (".", "..") and "\0" not in name
    return name if usable else f"video{Path(name).suffix[: _NAME_BYTES // 10]}"


def _gb(size: int) -> str:
    return f"{size / BYTES_PER_GB:.2f} GB"
