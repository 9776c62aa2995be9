"""The video that features were made from: what is kept of it, and its digest.

Plain Python, for decoder processes start with it: neither pydantic nor h5py.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_READ_BYTES = 1 << 22


@dataclass(frozen=True)
class SourceInfo:
    """The video a feature file was made from."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  # pydantic's name, where a file is read

    file_name: str
    sha256: str
    size: int
    mtime_ns: int
    codec: str
    fps: float
    """Average frame rate, frames a second."""
    n_frames: int
    width: int
    height: int
    """Of the frames as shown, after rotation."""
    duration_s: float
    damage: str = ""
    """Why the file holds only the snippets before a damaged place (`partial`), else empty."""


def file_digest(path: Path, tick: Callable[[], None] = lambda: None) -> str:
    """sha256 of a file's bytes; `tick` is called now and then."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            tick()
    return digest.hexdigest()
