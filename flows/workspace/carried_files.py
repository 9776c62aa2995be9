"""The files of a workspace that an object store has too, and the order in which they are uploaded.

Not carried: locks, temporary files, indexes, journals and the bags of a training, which mean nothing on
another machine or can be made again.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dsanet.checkpoint_info import DRAFT, INFO_FILE
from evaluate.report.files import METRICS_FILE
from extract.atomic import PART_SUFFIX
from extract.digest_index import INDEX_FILE
from flows.workspace.copy_record import RECORD_FILE, LocalState

FEATURES = "features"
_FEATURE_FILE = re.compile(r"features/[^/]+\.h5")
_OWN_NAMES = (".lock", ".sync.lock", ".restored", ".", "..", "")
_OWN_SUFFIXES = (PART_SUFFIX, "-journal", "-wal", "-shm")
_OWN_PREFIXES = (INDEX_FILE, RECORD_FILE)
_BAGS = f"/{DRAFT}/bags-"
"""The bag file of a training: a cache, up to gigabytes."""
_DATABASES = (".db", ".sqlite")
MARKERS = (INFO_FILE, METRICS_FILE, "measured.json", "training.json", "workspace.json")
"""Files that are written last: they say that the other files of their folder are complete."""
_LAST_OF_THE_REGISTRY = "models/name"
"""Says that `mlflow.db` exists."""


def is_carried(key: str) -> bool:
    """False for files of one machine only, and for keys that are no path below the workspace."""
    return not any(_is_own(part) for part in key.split("/")) and "\0" not in key and _BAGS not in key


def _is_own(part: str) -> bool:
    return part in _OWN_NAMES or part.startswith(_OWN_PREFIXES) or part.endswith(_OWN_SUFFIXES)


def is_feature_file(key: str) -> bool:
    return _FEATURE_FILE.fullmatch(key) is not None


def is_database(key: str) -> bool:
    return key.endswith(_DATABASES)


def is_marker(key: str) -> bool:
    """True for a file that says that others are complete: deleted before they change, and written last."""
    folder, _, name = key.rpartition("/")
    return (name in MARKERS and bool(folder)) or _is_cache_record(key)


def _is_cache_record(key: str) -> bool:
    return ".cache" in key.split("/")[:-1]


def in_order(keys: Iterable[str]) -> Iterator[list[str]]:
    """The keys in groups; each group may be uploaded when the one before is complete."""
    groups: list[list[str]] = [[], [], [], []]
    for key in keys:
        groups[_group(key)].append(key)
    return (sorted(group) for group in groups if group)


def _group(key: str) -> int:
    if _is_cache_record(key):
        return 3
    if key.rpartition("/")[2] in MARKERS or key == _LAST_OF_THE_REGISTRY:
        return 2
    return 1 if is_database(key) else 0


def local_files(root: Path, *, feature_files: bool = True) -> dict[str, LocalState]:
    """The carried files below a folder, by key. Without `feature_files`, `features/` is not listed.

    Its other files, `failures.csv` for example, are then left out too, except the failure list.
    """
    found: dict[str, LocalState] = {}
    folders = [""]
    while folders:
        prefix = folders.pop()
        for entry in _entries(root / prefix):
            key = prefix + entry.name
            if not is_carried(key) or not _is_utf8(key):
                continue
            if entry.is_dir(follow_symlinks=False):
                if feature_files or key != FEATURES:
                    folders.append(f"{key}/")
            elif (state := _state(entry)) is not None:
                found[key] = state
    if not feature_files and (state := local_state(root / FEATURES / "failures.csv")) is not None:
        found[f"{FEATURES}/failures.csv"] = state
    return found


def local_state(path: Path) -> LocalState | None:
    """The state of a file; None if there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return LocalState(status.st_size, status.st_mtime_ns)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _state(entry: os.DirEntry[str]) -> LocalState | None:
    try:
        if not entry.is_file():
            return None
        status = entry.stat()
    except FileNotFoundError:  # removed meanwhile, or a broken link
        return None
    return LocalState(status.st_size, status.st_mtime_ns)


def _is_utf8(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
