"""Bring a working copy to the state of its store: one listing, then only what differs."""

import hashlib
import logging
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from extract.display import shortened
from extract.errors import InputError, MissingFileError
from extract.feature_index import FeatureIndex
from extract.manifest import VIDEO_SUFFIXES
from extract.remote.store import ObjectState, Store
from extract.store import FeatureFileError
from flows.progress import Report, stage_progress
from flows.workspace.carried_files import (
    FEATURES,
    is_carried,
    is_feature_file,
    local_files,
    local_state,
)
from flows.workspace.copy_record import CopyRecord, Entry, LocalState

log = logging.getLogger(__name__)

THREADS = 16
INPUTS_FILE = "workspace.json"
DEMO = "footage-"
"""Begin of the folder of the demo's clips, which are written before `workspace.json`."""


@dataclass
class Differences:
    """What has changed in the store or in the copy since the last synchronisation."""

    download: dict[str, ObjectState] = field(default_factory=dict)
    delete: list[str] = field(default_factory=list)
    """Local files whose object was deleted."""
    upload: list[str] = field(default_factory=list)
    """Local files that have changed, or are new; their object is as it was."""
    conflicts: list[str] = field(default_factory=list)
    """Of the first two: files that have changed here too."""


def pull(
    store: Store,
    root: Path,
    record: CopyRecord,
    *,
    feature_files: bool,
) -> list[str]:
    """Make the copy equal to the store; returns the keys of files that are to be uploaded.

    What has changed here only stays. Where both have changed, the store's version replaces the local one, and
    a log line names the files. Without `feature_files`, those in `features/` are left as they are.
    """
    listed = store.list()
    _refuse_footage(store, listed)
    objects = {
        key: state
        for key, state in listed.items()
        if is_carried(key) and (feature_files or not is_feature_file(key))
    }
    local = local_files(root, feature_files=feature_files)
    entries = {key: e for key, e in record.entries().items() if feature_files or not is_feature_file(key)}
    found = compare(objects, local, entries)
    same = {key for key in found.conflicts if _is_equal(root / key, objects.get(key))}
    for key in same:
        record.put(key, Entry(found.download.pop(key), local[key]))
    _delete(root, record, found.delete)
    if found.download:
        with stage_progress("download", "files") as report:
            _download(store, root, record, found.download, report)
    if found.download or found.delete:
        counts = (f"{len(found.download):,}", f"{len(found.delete):,}")
        log.info("%-9s %s files downloaded, %s deleted, as in %s", "store", *counts, store)
    if conflicts := [key for key in found.conflicts if key not in same]:
        log.warning(
            "%d files had changed in %s and in the copy on this machine; the store's are used: %s",
            *(len(conflicts), store, shortened(conflicts)),
        )
    return found.upload


def _refuse_footage(store: Store, keys: Collection[str]) -> None:
    """Raise InputError for a folder of videos that is no workspace: all of them would be downloaded."""
    if INPUTS_FILE in keys:
        return
    videos = (key for key in keys if key.lower().endswith(VIDEO_SUFFIXES) and not key.startswith(DEMO))
    if (video := next(videos, None)) is not None:
        raise InputError(f"{store} is no workspace but holds videos ({video}); give a prefix of its own")


def compare(
    objects: Mapping[str, ObjectState], local: Mapping[str, LocalState], entries: Mapping[str, Entry]
) -> Differences:
    """What each side has changed since the recorded state. A local file that was deleted comes back."""
    found = Differences()
    for key in sorted({*objects, *local, *entries}):
        there, here, entry = objects.get(key), local.get(key), entries.get(key)
        changed_there = there != (entry.remote if entry else None)
        changed_here = here != (entry.local if entry else None)
        if changed_there and here is not None and changed_here:
            found.conflicts.append(key)
        if there is not None and (changed_there or here is None):
            found.download[key] = there
        elif there is None and (changed_there or here is None):
            found.delete.append(key)
        elif changed_here:
            found.upload.append(key)
    return found


def _is_equal(path: Path, there: ObjectState | None) -> bool:
    """True if the file surely has the object's content: the tag of a plain upload is the MD5."""
    if there is None or there.size != path.stat().st_size or not there.tag:
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest() == there.tag.strip('"')


def _delete(root: Path, record: CopyRecord, keys: list[str]) -> None:
    for key in keys:
        (root / key).unlink(missing_ok=True)
        record.remove(key)


def _download(
    store: Store, root: Path, record: CopyRecord, objects: Mapping[str, ObjectState], report: Report
) -> None:
    damaged: list[str] = []

    def fetch(key: str) -> None:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if is_feature_file(key):
                index.accept(path.stem, store.read(key))
            else:
                store.download(key, path)
                os.utime(path, ns=(objects[key].mtime_ns, objects[key].mtime_ns))
        except MissingFileError:  # deleted since the listing
            return
        except FeatureFileError:
            damaged.append(key)
            return
        if (state := local_state(path)) is not None:
            record.put(key, Entry(objects[key], state))

    with (
        closing(FeatureIndex(root / FEATURES)) as index,
        ThreadPoolExecutor(THREADS, "dsanet-pull") as pool,
    ):
        pending = [pool.submit(fetch, key) for key in objects]
        try:
            for done, future in enumerate(as_completed(pending), start=1):
                future.result()
                report(done, len(objects), "")
        finally:
            pool.shutdown(cancel_futures=True)
    if damaged:
        log.warning(
            "%d feature files in %s are damaged; they are extracted again: %s",
            *(len(damaged), store, shortened(damaged)),
        )
