"""The source video of a feature file: its recorded properties and its digest.

Standard library only: decoder processes import this module, and pydantic or h5py would delay their start.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_READ_BYTES = 1 << 22


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
