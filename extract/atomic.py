"""Files that are complete or not there: written under a temporary name, flushed to disk, renamed."""

import os
from collections.abc import Callable
from pathlib import Path

PART_SUFFIX = ".part"


def write_atomically(path: Path, data: bytes, check: Callable[[Path], object] = lambda part: None) -> None:
    """Replace `path` by `data`, after `check` has looked at the temporary file.

    Raises OSError where the disk refuses, and what `check` raises; no temporary file stays behind then.
    """
    part = path.with_name(f".{path.name}{PART_SUFFIX}")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        check(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
