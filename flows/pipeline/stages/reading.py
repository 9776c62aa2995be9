"""Files that must be read to know their content, with a progress display: each is read once in its life."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from extract.manifest import VideoRecord
from extract.store import FeatureFileError
from flows.progress import stage_progress
from flows.workspace.run import Run, recorded_digest

Item = TypeVar("Item")
log = logging.getLogger(__name__)

MANY = 1000
"""Files from which a log line says why they are read."""


def read_new_features(run: Run) -> None:
    """Read the feature files that the index does not know in their present state."""
    names = [record.name for record in run.records if not run.index.is_known(record.name)]
    _read(names, run.index.features_digest, "feature files")


def read_changed_videos(run: Run) -> None:
    """Read the videos whose features may be those of another content: other times, but the same size."""
    changed = [record for record in run.records if _may_be_unchanged(run, record)]
    _read([record.path for record in changed], run.index.read_video, "videos")


def read_failed_videos(run: Run) -> None:
    """Read the videos without features that are not known: what is decoded is read, they are not."""
    failed = [record for record in run.without_features() if recorded_digest(record, run.index) is None]
    _read([record.path for record in failed], run.index.read_video, "videos")


def _may_be_unchanged(run: Run, record: VideoRecord) -> bool:
    if recorded_digest(record, run.index) is not None:
        return False
    try:
        return run.index.read_meta(record.name).source.size == record.path.stat().st_size
    except (OSError, FeatureFileError):
        return False


def _read(files: Sequence[Item], read: Callable[[Item], object], unit: str) -> None:
    """Read files in threads; one that cannot be read stays unknown, and the extraction reports it."""
    if len(files) >= MANY:
        log.info(
            "%-9s %s %s are read; as long as they stay the same, only once", "index", f"{len(files):,}", unit
        )
    if not files:
        return

    def attempt(file: Item) -> None:
        with suppress(OSError):
            read(file)

    with ThreadPoolExecutor() as pool, stage_progress("index", unit) as report:
        for done, _ in enumerate(pool.map(attempt, files), start=1):
            report(done, len(files), "")
