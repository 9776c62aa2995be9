"""Atomic file writes: written under a temporary name, flushed to disk, then renamed into place.

Standard library only, so that every package can use it (`evaluate` included).
"""

import os
from collections.abc import Callable
from pathlib import Path

PART_SUFFIX = ".part"
"""Suffix of the temporary file: `.NAME.part` in the folder of `NAME`."""


def write_atomically(
    path: Path, content: bytes | str, check: Callable[[Path], object] = lambda part: None
) -> None:
    """Replace `path` by `content` (text is stored as UTF-8); readers see the old file or the whole new one.

    `check` is called with the temporary file before the rename and may raise to reject it. The folder must
    exist. Raises OSError if the disk refuses, and whatever `check` raises; the temporary file is then
    removed and `path` is unchanged.
    """
    part = path.with_name(f".{path.name}{PART_SUFFIX}")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        check(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the directory entry to disk; otherwise a power failure can undo the rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
