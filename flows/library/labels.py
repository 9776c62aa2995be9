"""Give videos labels, one by one or from a CSV file, and list the videos that need labels."""

import csv
import getpass
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL
from extract.manifest import parse_labels
from flows.library.library import Library
from flows.library.records import Score, Video, all_labels, find_video

COLUMNS = ("video", "labels")


@dataclass
class ImportResult:
    """Names of the videos of a label file, by what the import did."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    """Test videos, which keep the labels of the manifest."""


@dataclass(frozen=True)
class QueueItem:
    """A video without labels, and the champion's score of it (None if it has not been scored)."""

    video: Video
    score: Score | None


def set_labels(
    library: Library,
    reference: str,
    labels: str,
    *,
    allowed: Collection[str] | None,
    by: str | None = None,
) -> tuple[Video, bool]:
    """Label the video that `reference` (name, path or digest) finds; False if it has these labels already.

    `labels` are joined by `|`; `allowed` are the classes that they may name, None any. `by` defaults to the
    current user. Raises ValueError for an unknown or unusable video, a test video and a label that is not
    allowed.
    """
    video = _find_usable(library.videos(), reference)
    if video.split == "test":
        raise InputError(
            f"{video.name} is a test video: its labels are the manifest's, and it is never trained on"
        )
    parsed = _parse(labels, allowed)
    return video, library.add_labels(video.digest, parsed, by=by or current_user(), source="command line")


def import_labels(
    library: Library, csv_path: Path, *, allowed: Collection[str] | None, by: str | None = None
) -> ImportResult:
    """Label the videos of a CSV with the columns `video` (name, path or digest) and `labels` (joined by `|`).

    Arguments and errors as in `set_labels`; an error names the row, and then no row is imported. Raises
    FileNotFoundError for a missing file. Test videos are skipped.
    """
    rows, result = _read_rows(csv_path, library.videos(), allowed), ImportResult()
    with library.transaction():
        for video, labels in rows:
            if video.split == "test":
                result.test.append(video.name)
            elif library.add_labels(video.digest, labels, by=by or current_user(), source=csv_path.name):
                result.changed.append(video.name)
            else:
                result.unchanged.append(video.name)
    return result


def label_queue(library: Library, model: str | None) -> list[QueueItem]:
    """The usable videos without labels: first those without a score, then by decreasing entropy of the score.

    `model` is the key of the version whose scores count, None for none.
    """
    scores = library.scores(model) if model else {}
    items = [
        QueueItem(video, scores.get(video.digest))
        for video in library.videos()
        if video.labels is None and not video.problem
    ]
    return sorted(
        items, key=lambda item: (item.score is not None, -item.score.entropy if item.score else 0.0)
    )


def known_classes(library: Library, configured: Collection[str]) -> set[str]:
    """`normal`, the configured classes and every label of a video."""
    return {NORMAL, *configured, *all_labels(library.videos())}


def current_user() -> str:
    """Current operating-system user, `unknown` if the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # for example a container's numeric user
        return "unknown"


def _read_rows(
    csv_path: Path, videos: Sequence[Video], allowed: Collection[str] | None
) -> list[tuple[Video, tuple[str, ...]]]:
    if not csv_path.is_file():
        raise MissingFileError(f"no file {csv_path}; expected a CSV with the columns {', '.join(COLUMNS)}")
    with csv_path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise InputError(f"{csv_path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        rows = []
        for row in reader:
            try:
                video = _find_usable(videos, row["video"] or "")
                rows.append((video, _parse(row["labels"] or "", allowed)))
            except ValueError as error:
                raise InputError(f"{csv_path}, row {reader.line_num}: {error}") from None
    return rows


def _find_usable(videos: Sequence[Video], reference: str) -> Video:
    video = find_video(videos, reference)
    if video.problem:
        raise InputError(f"{video.name} is not a usable video ({video.problem})")
    return video


def _parse(labels: str, allowed: Collection[str] | None) -> tuple[str, ...]:
    parsed = parse_labels(labels)
    if allowed is not None and (unknown := sorted(set(parsed) - set(allowed))):
        raise InputError(
            f"no video has the label {', '.join(unknown)} yet; known are {', '.join(sorted(allowed))} "
            "(--new-class allows another)"
        )
    return parsed
