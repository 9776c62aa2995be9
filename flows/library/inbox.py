"""Scan the inbox folders for video files and record them in the library.

A file counts as finished if its change time (ctime, which unlike the modification time no copying tool sets
back) is old enough and the file did not change while it was read.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extract.display import NOT_UTF8, encodable
from extract.errors import MissingFileError
from extract.manifest import VIDEO_SUFFIXES
from extract.source import file_digest
from flows.library.library import Library
from flows.library.pages import in_pages
from flows.library.prober import unusable_reason
from flows.library.records import FileRecord

Digest = Callable[[Path], str]


@dataclass
class Scan:
    """The outcome of a scan.

    `new` has the names of new videos, `known` the files whose content was recorded before, `unreadable` the
    files that cannot be read, with the reason, and `deferred` the unfinished files, left for the next scan.
    """

    new: list[str] = field(default_factory=list)
    known: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    deferred: list[Path] = field(default_factory=list)


def scan(library: Library, inboxes: Sequence[Path], settle_s: float, digest_of: Digest = file_digest) -> Scan:
    """Record every finished video file in the folders and below, as an unlabelled training video.

    A file is finished if it has not changed for `settle_s` seconds. `digest_of` gives the sha256 of a new
    one; its OSError is a reason why the file cannot be used. Raises FileNotFoundError for a missing folder.
    """
    result = Scan()
    for page in in_pages(_video_files(inboxes)):
        recorded = library.recorded_files(path for path in page if _is_utf8(path))
        for path in page:
            _scan_file(library, path, recorded.get(path), settle_s, digest_of, result)
    return result


def _is_utf8(path: Path) -> bool:
    return encodable(str(path)) == str(path)


def _scan_file(
    library: Library,
    path: Path,
    recorded: FileRecord | None,
    settle_s: float,
    digest_of: Digest,
    result: Scan,
) -> None:
    if not _is_utf8(path):
        result.unreadable[path] = NOT_UTF8
        return
    status = _status(path)
    if status is None or status.st_size == 0 or time.time() - status.st_ctime < settle_s:
        result.deferred.append(path)
    elif recorded is not None and (recorded.size, recorded.mtime_ns) == (status.st_size, status.st_mtime_ns):
        result.known.append(path)
    else:
        _add(library, path, status, digest_of, result)


def _add(library: Library, path: Path, before: os.stat_result, digest_of: Digest, result: Scan) -> None:
    """Read a file that is not recorded yet and record it, unless it changes meanwhile."""
    try:
        digest = digest_of(path)
    except FileNotFoundError:  # removed during the scan
        result.deferred.append(path)
        return
    except OSError as error:  # no permission, or the disk fails; tried again by the next scan
        result.unreadable[path] = f"the file cannot be read: {error.strerror}"
        return
    known = library.has_video(digest)
    problem = "" if known else unusable_reason(path)
    after = _status(path)
    if after is None or _changed(before, after):
        result.deferred.append(path)
        return
    file = FileRecord(path, digest, after.st_size, after.st_mtime_ns)
    name = library.add_file(file, name=path.stem, split="train", problem=problem)
    if known:
        result.known.append(path)
    elif problem:
        result.unreadable[path] = problem
    else:
        result.new.append(name)


def check_inboxes(inboxes: Iterable[Path]) -> None:
    """Raises FileNotFoundError for a missing folder."""
    for inbox in inboxes:
        if not inbox.is_dir():
            raise MissingFileError(f"no inbox folder {inbox}; create it, or give another --inbox")


def _video_files(inboxes: Sequence[Path]) -> Iterator[Path]:
    """Video files in the folders and below, sorted; hidden ones are temporary files of copying tools."""
    check_inboxes(inboxes)
    for inbox in inboxes:
        yield from _video_files_below(inbox.absolute())


def _video_files_below(folder: Path) -> Iterator[Path]:
    """One folder is in memory at a time, not the whole tree."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry for entry in listing if entry.name[0] != "."), key=lambda e: e.name)
    except OSError:  # removed during the scan, or it cannot be read
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _video_files_below(folder / entry.name)
        elif Path(entry.name).suffix.lower() in VIDEO_SUFFIXES and _is_file(entry):
            yield folder / entry.name


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle
        return False


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # removed during the scan, or its folder cannot be read
        return None


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
