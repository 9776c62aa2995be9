"""Scan the inbox folders for video files and record them in the library.

A file counts as finished if its change time (ctime, which unlike the modification time no copying tool sets
back) is old enough and the file did not change while it was read. Objects in a store are complete from the
first moment, and have the time of their upload.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from extract.display import NOT_UTF8
from extract.errors import MissingFileError
from extract.manifest import VIDEO_SUFFIXES
from extract.remote.cache import ChangedError, local_copy
from extract.remote.path import AnyPath, RemotePath, files_below
from extract.remote.store import Store, StoreError
from extract.source import file_digest
from flows.library.library import Library
from flows.library.pages import in_pages
from flows.library.prober import Prober
from flows.library.records import FileRecord, NewFile

Digest = Callable[[AnyPath], str]

RECORDED_AT_ONCE, RECORDED_AFTER_S = 1000, 10.0
"""Files that are recorded in one transaction, and the longest time that one waits for others."""


@dataclass
class Scan:
    """The outcome of a scan.

    `new` has the names of new videos, `known` the files whose content was recorded before, `unreadable` the
    files that cannot be read, with the reason, and `deferred` the unfinished files, left for the next scan.
    """

    new: list[str] = field(default_factory=list)
    known: list[AnyPath] = field(default_factory=list)
    unreadable: dict[AnyPath, str] = field(default_factory=dict)
    deferred: list[AnyPath] = field(default_factory=list)


def _digest(path: AnyPath) -> str:
    with local_copy(path) as file:
        return file_digest(file)


def scan(library: Library, inboxes: Sequence[AnyPath], settle_s: float, digest_of: Digest = _digest) -> Scan:
    """Record every finished video file in the folders and below, as an unlabelled training video.

    A file is finished if it has not changed for `settle_s` seconds. `digest_of` gives the sha256 of a new
    one; its OSError is a reason why the file cannot be used. Raises FileNotFoundError for a missing folder,
    and StoreError for an object store that does not answer; what was read before is recorded then too.
    """
    with Prober() as prober:
        scanning = _Scanning(library, settle_s, digest_of, prober)
        try:
            for page in in_pages(_video_files(inboxes)):
                scanning.look_at(page)
        except StoreError:
            scanning.record()
            raise
        scanning.record()
    return scanning.result


def _is_utf8(path: AnyPath) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


class _Scanning:
    """A scan under way. New files are recorded in groups."""

    def __init__(self, library: Library, settle_s: float, digest_of: Digest, prober: Prober) -> None:
        self._library, self._settle_s, self._digest_of, self._prober = library, settle_s, digest_of, prober
        self.result = Scan()
        self._found: list[NewFile] = []
        """Files that are not recorded yet."""
        self._new: set[str] = set()
        """Digests of those that are new videos."""
        self._recorded_at = time.monotonic()

    def look_at(self, page: Sequence[AnyPath]) -> None:
        """Compare some files with the library, and read those that are new or have changed."""
        recorded = self._library.recorded_files(path for path in page if _is_utf8(path))
        for path in page:
            self._look_at(path, recorded.get(path))

    def _look_at(self, path: AnyPath, recorded: FileRecord | None) -> None:
        if recorded is None and not _is_utf8(path):
            self.result.unreadable[path] = NOT_UTF8
            return
        status = _status(path)
        if status is None or status.st_size == 0 or time.time() - status.st_ctime < self._settle_s:
            self.result.deferred.append(path)
        elif recorded is not None and (recorded.size, recorded.mtime_ns) == (
            status.st_size,
            status.st_mtime_ns,
        ):
            self.result.known.append(path)
        else:
            self._read(path, status)

    def _read(self, path: AnyPath, before: os.stat_result) -> None:
        """Read a file that is not recorded yet, to be recorded unless it changes meanwhile."""
        try:
            with local_copy(path) as copy:  # of an object, one for both
                digest = self._digest_of(path)
                known = digest in self._new or self._library.has_video(digest)
                problem = "" if known else self._prober.unusable_reason(copy)
        except (FileNotFoundError, ChangedError):  # removed or replaced during the scan
            self.result.deferred.append(path)
            return
        except OSError as error:  # no permission, or the disk fails; tried again by the next scan
            self.result.unreadable[path] = f"the file cannot be read: {error.strerror}"
            return
        after = _status(path)
        if after is None or _changed(before, after):
            self.result.deferred.append(path)
            return
        file = FileRecord(path, digest, after.st_size, after.st_mtime_ns)
        self._found.append(NewFile(file, path.stem, "train", problem))
        if known:
            self.result.known.append(path)
        elif problem:
            self.result.unreadable[path] = problem
        else:
            self._new.add(digest)
        waited = time.monotonic() - self._recorded_at
        if len(self._found) >= RECORDED_AT_ONCE or waited > RECORDED_AFTER_S:
            self.record()

    def record(self) -> None:
        """Record what was found since the last time."""
        names = self._library.add_files(self._found)
        new = zip(names, self._found, strict=True)
        self.result.new += dict.fromkeys(name for name, one in new if one.file.digest in self._new)
        self._found, self._new = [], set()
        self._recorded_at = time.monotonic()


def check_inboxes(inboxes: Iterable[AnyPath]) -> None:
    """Raises FileNotFoundError for a missing folder or bucket."""
    for inbox in inboxes:
        if isinstance(inbox, RemotePath):
            if not Store(inbox.address).has_bucket():
                raise MissingFileError(f"no bucket for the inbox {inbox}; create it, or give another --inbox")
        elif not inbox.is_dir():
            raise MissingFileError(f"no inbox folder {inbox}; create it, or give another --inbox")


def _video_files(inboxes: Sequence[AnyPath]) -> Iterator[AnyPath]:
    """Video files in the folders and below, sorted; hidden ones are temporary files of copying tools."""
    check_inboxes(inboxes)
    for inbox in inboxes:
        if isinstance(inbox, RemotePath):
            yield from filter(_is_video, files_below(inbox))
        else:
            yield from _video_files_below(inbox.absolute())


def _is_video(file: RemotePath) -> bool:
    """True for an object with the suffix of a video that is neither hidden nor in a hidden folder."""
    hidden = any(part.startswith(".") for part in PurePosixPath(file.address).parts)
    return file.suffix.lower() in VIDEO_SUFFIXES and not hidden


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


def _status(path: AnyPath) -> os.stat_result | None:
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
