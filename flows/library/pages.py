"""Reading the library in pages: a few short queries for many videos, in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from flows.library.records import Video, split_labels
from flows.library.tables import LabelRow, LocationRow, VideoRow

Item = TypeVar("Item")

PAGE = 1000
"""Rows of one query."""

VIDEO_COLUMNS = (VideoRow.id, VideoRow.name, VideoRow.digest, VideoRow.split, VideoRow.problem)

_LATEST_LABELS = select(func.max(LabelRow.id)).group_by(LabelRow.video_id)
HAS_LABELS: ColumnElement[bool] = VideoRow.id.in_(
    select(LabelRow.video_id).where(LabelRow.id.in_(_LATEST_LABELS), LabelRow.labels != "")
)
"""True for a video whose newest labels are not cleared."""


def in_pages(items: Iterable[Item], size: int = PAGE) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def labels_in_use() -> Select[tuple[str]]:
    """Query of the different labels that videos have now, joined by `|` as in the table."""
    return select(LabelRow.labels).where(LabelRow.id.in_(_LATEST_LABELS), LabelRow.labels != "").distinct()


def video_page(
    session: Session, after: int, *conditions: ColumnElement[bool], size: int = PAGE
) -> tuple[list[Video], int]:
    """The next videos by the number of their row, and the number of the last one; empty at the end.

    Rows that are added or renamed between two pages neither repeat nor hide others.
    """
    rows = session.execute(
        select(*VIDEO_COLUMNS).where(VideoRow.id > after, *conditions).order_by(VideoRow.id).limit(size)
    ).all()
    return read_videos(session, rows), rows[-1].id if rows else after


def read_videos(session: Session, rows: Sequence[Any]) -> list[Video]:
    """Videos with their labels and files; `rows` have the VIDEO_COLUMNS, at most a page of them."""
    ids = [row.id for row in rows]
    labels: dict[int, str] = {}
    paths: dict[int, list[Path]] = {}
    found = select(LabelRow.video_id, LabelRow.labels).where(LabelRow.video_id.in_(ids))
    for video_id, text in session.execute(found.order_by(LabelRow.id)):
        labels[video_id] = text  # the newest entry is the last
    files = select(LocationRow.video_id, LocationRow.path).where(LocationRow.video_id.in_(ids))
    for video_id, path in session.execute(files.order_by(LocationRow.id.desc())):
        paths.setdefault(video_id, []).append(Path(path))
    return [
        Video(
            name=row.name,
            digest=row.digest,
            split=row.split,
            labels=split_labels(labels.get(row.id, "")) or None,
            problem=row.problem,
            paths=tuple(paths.get(row.id, ())),
        )
        for row in rows
    ]


def row_ids(session: Session, digests: Sequence[str]) -> dict[str, int]:
    """Number of the row of each of these videos."""
    rows = session.execute(select(VideoRow.digest, VideoRow.id).where(VideoRow.digest.in_(digests)))
    return dict(rows.tuples().all())
