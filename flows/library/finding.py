"""The part of the library that finds videos by name, path, file name or digest, by the database's indexes."""

import string
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from extract.display import MOST_NAMES
from flows.library.pages import VIDEO_COLUMNS, in_pages, read_videos
from flows.library.records import MIN_DIGEST_LENGTH, Video, VideoIndex, path_meant
from flows.library.tables import LocationRow, VideoRow
from flows.library.transactions import Transactions

REFERENCES_AT_ONCE = 200
"""References of one query."""


class Finding(Transactions):
    """Looks videos up."""

    def index_of(self, references: Iterable[str]) -> VideoIndex:
        """An index of the videos that these references may mean; it finds each as one of all videos would."""
        found: dict[int, Video] = {}
        for page in in_pages(references, REFERENCES_AT_ONCE):
            with self._session() as session:
                ids = {video_id for query in _queries(page) for video_id in session.scalars(query)}
                for some in in_pages(ids - found.keys()):
                    rows = session.execute(select(*VIDEO_COLUMNS).where(VideoRow.id.in_(some))).all()
                    videos = read_videos(session, rows)
                    found.update((row.id, video) for row, video in zip(rows, videos, strict=True))
        return VideoIndex(found[video_id] for video_id in sorted(found))

    def with_digests(self, digests: Iterable[str]) -> Iterator[Video]:
        """Those of these videos that are recorded, in the same order."""
        return self._with(VideoRow.digest, digests)

    def with_names(self, names: Iterable[str]) -> Iterator[Video]:
        """The videos that have these names, in the same order."""
        return self._with(VideoRow.name, names)

    def _with(self, column: InstrumentedAttribute[str], values: Iterable[str]) -> Iterator[Video]:
        for page in in_pages(values):
            with self._session() as session:
                rows = session.execute(select(*VIDEO_COLUMNS).where(column.in_(page))).all()
                videos = read_videos(session, rows)
            found = {getattr(row, column.key): video for row, video in zip(rows, videos, strict=True)}
            yield from (found[value] for value in page if value in found)

    def find(self, reference: str) -> Video:
        """`VideoIndex.find` among all videos."""
        return self.index_of([reference]).find(reference)


def _queries(references: Sequence[str]) -> Iterator[Select[tuple[int]]]:
    """Queries of the numbers of the videos that have these names, paths, file names or digests."""
    yield select(VideoRow.id).where(VideoRow.name.in_(references))
    paths = {path for one in references for path in (one, str(path_meant(one)))}
    yield select(LocationRow.video_id).where(LocationRow.path.in_(paths))
    yield _by_file_name(references)
    digests = [one.lower() for one in references if _is_digest(one)]
    if digests:
        yield select(VideoRow.id).where(or_(*map(_begins_with, digests)))


def _by_file_name(references: Sequence[str]) -> Select[tuple[int]]:
    """Of a file name that many videos share, as many as a message names and one more."""
    of_name = (
        select(LocationRow.file_name, LocationRow.video_id)
        .where(LocationRow.file_name.in_(references))
        .distinct()
        .subquery()
    )
    place = func.row_number().over(partition_by=of_name.c.file_name, order_by=of_name.c.video_id)
    numbered = select(of_name.c.video_id, place.label("place")).subquery()
    return select(numbered.c.video_id).where(numbered.c.place <= MOST_NAMES + 1)


def _is_digest(reference: str) -> bool:
    return len(reference) >= MIN_DIGEST_LENGTH and set(reference) <= set(string.hexdigits)


def _begins_with(digits: str) -> ColumnElement[bool]:
    """A range, which every index serves; `LIKE` is served by those of some collations only."""
    return and_(VideoRow.digest >= digits, VideoRow.digest < f"{digits}g")
