"""Labels: given one by one or in a file, and the queue of those that are missing."""

import csv
import getpass
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extract.labels import NORMAL
from extract.manifest import parse_labels
from flows.library.library import Library, Score, Video, all_labels, find

COLUMNS = ("video", "labels")


@dataclass
class Given:
    """What became of the rows of a file: names of the videos."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    """Left as they are: the truth of the test split is the manifest's."""


@dataclass(frozen=True)
class Waiting:
    """A video without labels, and what the model in service makes of it, if it has scored it."""

    video: Video
    score: Score | None


def set_labels(
    library: Library, what: str, labels: str, *, known: Collection[str] | None, by: str | None = None
) -> tuple[Video, bool]:
    """Label one video, found by name, path or digest; False where it had these labels already.

    `known` are the classes there are: another label is refused, unless it is None. Raises ValueError where
    nothing was changed.
    """
    video = _checked(library.videos(), what)
    if video.split == "test":
        raise ValueError(f"{video.name} is a test video: its labels are the manifest's, and it never trains")
    parsed = _parsed(labels, known)
    return video, library.label(video.digest, parsed, by=by or whoami(), source="command line")


def import_labels(
    library: Library, csv_path: Path, *, known: Collection[str] | None, by: str | None = None
) -> Given:
    """Label the videos of a CSV with the columns video (name, path or digest) and labels (joined by `|`).

    All rows count or none does. Raises FileNotFoundError, or ValueError naming the row.
    """
    rows, result = _read(csv_path, library.videos(), known), Given()
    with library.at_once():
        for video, labels in rows:
            if video.split == "test":
                result.test.append(video.name)
            elif library.label(video.digest, labels, by=by or whoami(), source=csv_path.name):
                result.changed.append(video.name)
            else:
                result.unchanged.append(video.name)
    return result


def queue(library: Library, model: str | None) -> list[Waiting]:
    """The videos without labels: those that nothing has scored yet, then the most surprising first."""
    scores = library.scores(model) if model else {}
    waiting = [
        Waiting(video, scores.get(video.digest))
        for video in library.videos()
        if video.labels is None and not video.problem
    ]
    return sorted(waiting, key=lambda one: (one.score is not None, -one.score.surprise if one.score else 0))


def known_labels(library: Library, classes: Collection[str]) -> set[str]:
    """Every class there is: the configured ones, and those of any video."""
    return {NORMAL, *classes, *all_labels(library.videos())}


def whoami() -> str:
    """Who is at the keyboard, as the system calls them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _read(
    csv_path: Path, videos: Sequence[Video], known: Collection[str] | None
) -> list[tuple[Video, tuple[str, ...]]]:
    if not csv_path.is_file():
        raise FileNotFoundError(f"no file {csv_path}; expected a CSV with the columns {', '.join(COLUMNS)}")
    with csv_path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise ValueError(f"{csv_path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        found = []
        for row in reader:
            try:
                found.append((_checked(videos, row["video"] or ""), _parsed(row["labels"] or "", known)))
            except ValueError as error:
                raise ValueError(f"{csv_path}, row {reader.line_num}: {error}") from None
    return found


def _checked(videos: Sequence[Video], what: str) -> Video:
    video = find(videos, what)
    if video.problem:
        raise ValueError(f"{video.name} is no usable video ({video.problem})")
    return video


def _parsed(labels: str, known: Collection[str] | None) -> tuple[str, ...]:
    parsed = parse_labels(labels)
    if known is not None and (unknown := sorted(set(parsed) - set(known))):
        raise ValueError(
            f"no video has the label {', '.join(unknown)} yet; there are {', '.join(sorted(known))} "
            "(--new-class allows another)"
        )
    return parsed
