"""Give videos labels, one by one or from a CSV file, and list the videos that need labels."""

import getpass
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from extract.errors import InputError
from extract.labels import NORMAL
from extract.manifest import parse_labels
from extract.tables import Row, read_table
from flows.library.library import Library
from flows.library.records import Score, Video, VideoIndex

COLUMNS = ("video", "labels")
COMMAND_LINE = "command line"
"""`source` of labels that a command has given or cleared."""


@dataclass
class ImportResult:
    """Names of the videos of a label file, by what the import did."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    """Test and audit videos, which keep the labels of the manifest."""


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
    current user. Raises ValueError for an unknown or unusable video, a test or audit video and a label that
    is not allowed.
    """
    video = _find_usable(library.index_of([reference]), reference)
    _refuse_held_out(video)
    parsed = _parse(labels, allowed)
    changed = library.add_labels({video.digest: parsed}, by=by or current_user(), source=COMMAND_LINE)
    return video, bool(changed)


def clear_labels(library: Library, references: Iterable[str], *, by: str | None = None) -> list[Video]:
    """Take the labels of these videos back; returns those that had some. They are not trained on any more.

    The label history keeps the earlier labels. Raises ValueError for an unknown, a test or an audit video;
    then nothing is changed.
    """
    references = list(references)
    videos = library.index_of(references)
    found = [videos.find(reference) for reference in references]
    for video in found:
        _refuse_held_out(video)
    none: dict[str, tuple[str, ...]] = {video.digest: () for video in found}
    with library.transaction():
        changed = library.add_labels(none, by=by or current_user(), source=COMMAND_LINE)
    return [video for video in dict.fromkeys(found) if video.digest in changed]


def import_labels(
    library: Library, csv_path: Path, *, allowed: Collection[str] | None, by: str | None = None
) -> ImportResult:
    """Label the videos of a CSV with the columns `video` (name, path or digest) and `labels` (joined by `|`).

    Arguments and errors as in `set_labels`; an error names the line, and then no row is imported. Two rows of
    one video must have the same labels. Raises FileNotFoundError for a missing file. Test and audit videos
    are skipped.
    """
    table = list(read_table(csv_path, COLUMNS))
    videos = library.index_of(row["video"] for row in table)
    rows, result = _label_rows(table, videos, allowed), ImportResult()
    given = {video.digest: labels for video, labels in rows if not video.held_out}
    with library.transaction():
        changed = library.add_labels(given, by=by or current_user(), source=csv_path.name)
    for video, _ in rows:
        if video.held_out:
            result.test.append(video.name)
        elif video.digest in changed:
            result.changed.append(video.name)
        else:
            result.unchanged.append(video.name)
    return result


def label_queue(
    library: Library, model: str | None, most: int | None = None, after: str | None = None
) -> list[QueueItem]:
    """The usable videos without labels: first those without a score, then by decreasing entropy of the score.

    `model` is the key of the version whose scores count, None for none; `most` limits the list, which begins
    behind the video `after` (name, path or digest). Raises ValueError if there is no such video.
    """
    last = None if after is None else library.find(after)
    return [QueueItem(video, score) for video, score in library.unlabelled(model, most, last)]


def known_classes(library: Library, configured: Collection[str]) -> set[str]:
    """`normal`, the configured classes and every label of a video."""
    return {NORMAL, *configured, *library.labels_in_use()}


def current_user() -> str:
    """Current operating-system user, `unknown` if the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # for example a container's numeric user
        return "unknown"


def _label_rows(
    table: Iterable[Row], videos: VideoIndex, allowed: Collection[str] | None
) -> list[tuple[Video, tuple[str, ...]]]:
    """Videos and labels of the rows of a label file, each video once."""
    labels_of: dict[Video, tuple[str, ...]] = {}
    first: dict[Video, Row] = {}
    for row in table:
        try:
            video, labels = _find_usable(videos, row["video"]), _parse(row["labels"], allowed)
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from None
        if set(labels_of.setdefault(video, labels)) != set(labels):
            raise InputError(
                f"{row.where}: {video.name} has the labels {row['labels']!r} here and "
                f"{first[video]['labels']!r} in line {first[video].line}; keep one of the two rows"
            )
        first.setdefault(video, row)
    return list(labels_of.items())


def _refuse_held_out(video: Video) -> None:
    if video.held_out:
        kind = "a test video" if video.split == "test" else "an audit video"
        raise InputError(f"{video.name} is {kind}: its labels are the manifest's, and it is never trained on")


def _find_usable(videos: VideoIndex, reference: str) -> Video:
    video = videos.find(reference)
    if video.problem:
        raise InputError(
            f"{video.name} is not a usable video ({video.problem}); `dsanet library recheck` tries it again"
        )
    return video


def _parse(labels: str, allowed: Collection[str] | None) -> tuple[str, ...]:
    parsed = parse_labels(labels)
    if any(mark in label for label in parsed for mark in ",;"):
        raise InputError(f"labels are {labels!r}; join several labels by `|`")
    if allowed is not None and (unknown := sorted(set(parsed) - set(allowed))):
        raise InputError(
            f"no video has the label {', '.join(unknown)} yet; known are {', '.join(sorted(allowed))} "
            "(--new-class allows another)"
        )
    return parsed
