"""Reading the library in pages: a few short queries for many videos, in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.orm import Session

from extract.remote.path import AnyPath, as_path
from flows.library.records import Video, split_labels
from flows.library.tables import LocationRow, VideoRow

Item = TypeVar("Item")

PAGE = 1000
"""Rows of one query."""

VIDEO_COLUMNS = (
    VideoRow.id,
    VideoRow.name,
    VideoRow.digest,
    VideoRow.split,
    VideoRow.problem,
    VideoRow.current_labels,
)

# An index of a part of the rows serves only a query that has the same condition, without parameters.
_NONE: ColumnElement[str] = literal_column("''")
HAS_LABELS: ColumnElement[bool] = VideoRow.current_labels != _NONE
"""True for a video whose newest labels are not cleared."""
USABLE: ColumnElement[bool] = VideoRow.problem == _NONE
UNUSABLE: ColumnElement[bool] = VideoRow.problem != _NONE
UNLABELLED: ColumnElement[bool] = (VideoRow.current_labels == _NONE) & USABLE
"""True for a usable video that waits for labels."""


def in_pages(items: Iterable[Item], size: int = PAGE) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


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
    paths: dict[int, list[AnyPath]] = {}
    files = select(LocationRow.video_id, LocationRow.path).where(
        LocationRow.video_id.in_([row.id for row in rows])
    )
    for video_id, path in session.execute(files.order_by(LocationRow.id.desc())):
        paths.setdefault(video_id, []).append(as_path(path))
    return [
        Video(
            name=row.name,
            digest=row.digest,
            split=row.split,
            labels=split_labels(row.current_labels) or None,
            problem=row.problem,
            paths=tuple(paths.get(row.id, ())),
        )
        for row in rows
    ]


def row_ids(session: Session, digests: Sequence[str]) -> dict[str, int]:
    """Number of the row of each of these videos."""
    rows = session.execute(select(VideoRow.digest, VideoRow.id).where(VideoRow.digest.in_(digests)))
    return dict(rows.tuples().all())
