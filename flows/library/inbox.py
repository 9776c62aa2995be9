"""Looking through the inbox folders: what has come, what is still on its way, what is known already.

A file counts as finished when the file system has not touched it for a while (the change time: unlike the
modification time no copying tool can set it back) and when it stayed the same while it was read.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extract.manifest import VIDEO_SUFFIXES
from flows.library.library import Library, Sighting
from flows.library.prober import why_unusable
from flows.workspace.workspace import file_digest


@dataclass
class Scan:
    """Names of the videos that are new; files that are known content, unreadable, or left for later."""

    new: list[str] = field(default_factory=list)
    known: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    left: list[Path] = field(default_factory=list)


def scan(library: Library, inboxes: Sequence[Path], settle_s: float) -> Scan:
    """Note every finished video file in and below the folders; returns what was found.

    `settle_s`: seconds for which a file must have been left alone. Raises FileNotFoundError for a folder
    that is not there.
    """
    result = Scan()
    for path in _files(inboxes):
        before = _status(path)
        if before is None or before.st_size == 0 or time.time() - before.st_ctime < settle_s:
            result.left.append(path)
        elif library.digest_at(path, before.st_size, before.st_mtime_ns):
            result.known.append(path)
        else:
            _take(library, path, before, result)
    return result


def sighting(library: Library, path: Path, known_digest: str | None = None) -> Sighting:
    """What is in a file: told by the library while size and time are those of last time, else read anew."""
    status = path.stat()
    digest = library.digest_at(path, status.st_size, status.st_mtime_ns) or known_digest or file_digest(path)
    assert digest is not None  # stat() would have raised
    return Sighting(path, digest, status.st_size, status.st_mtime_ns)


def _take(library: Library, path: Path, before: os.stat_result, result: Scan) -> None:
    digest = file_digest(path)
    known = digest is not None and library.knows(digest)
    problem = "" if known else why_unusable(path)
    after = _status(path)
    if digest is None or after is None or _changed(before, after):
        result.left.append(path)
        return
    found = Sighting(path, digest, after.st_size, after.st_mtime_ns)
    video = library.add(found, name=path.stem, split="train", problem=problem)
    if known:
        result.known.append(path)
    elif problem:
        result.unreadable[path] = problem
    else:
        result.new.append(video.name)


def _files(inboxes: Iterable[Path]) -> Iterator[Path]:
    """Video files below the folders, in order; what begins with a dot is some copying tool's own."""
    for inbox in inboxes:
        if not inbox.is_dir():
            raise FileNotFoundError(f"no inbox folder {inbox}; make it, or give another --inbox")
        for path in sorted(inbox.absolute().rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(inbox.absolute()).parts)
            if path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file():
                yield path


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # taken away meanwhile
        return None


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
