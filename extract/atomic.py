"""Atomic file writes: written under a temporary name, flushed to disk, then renamed into place.

Standard library only, so that every package can use it (`evaluate` included).
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PART_SUFFIX = ".part"
"""Suffix of the temporary file: `.NAME.part` in the folder of `NAME`."""
_NAME_BYTES = 200
"""Bytes of `NAME` in the temporary name, which must not exceed the 255 that file systems allow."""


def write_atomically(
    path: Path, content: bytes | str, check: Callable[[Path], object] = lambda part: None
) -> None:
    """Replace `path` by `content` (text is stored as UTF-8); readers see the old file or the whole new one.

    Threads and processes that write the same file at the same time take turns, and the last one wins. `check`
    is called with the temporary file before the rename and may raise to reject it. The folder must exist.
    Raises OSError if the disk refuses, and whatever `check` raises; the temporary file is then removed and
    `path` is unchanged.
    """
    part = part_path(path)
    with _locked_part(part) as file:
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            check(part)
            part.replace(path)
            fcntl.flock(
                file, fcntl.LOCK_UN
            )  # at once: the lock is now on `path`, and HDF5 locks what it reads
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def part_path(path: Path) -> Path:
    """The temporary file of `path`; its name is fixed, so the next writer overwrites a killed one's rest."""
    if not path.name:  # "." or "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES])}{PART_SUFFIX}")


@contextmanager
def _locked_part(part: Path) -> Iterator[IO[bytes]]:
    """The temporary file, empty and locked: another writer of the same file waits until it is released."""
    while True:
        with part.open("ab") as file:  # not "wb": without the lock, this would truncate another writer's file
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, part):
                file.truncate(0)
                yield file
                return


def _is_at(file: IO[bytes], path: Path) -> bool:
    """False if the writer that held the lock before has renamed or removed the file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Flush the directory entries to disk; otherwise a power failure can undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
