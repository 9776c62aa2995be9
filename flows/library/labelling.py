"""The part of the library about labels: their history, the newest ones, and the videos that wait for some."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, insert, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from flows.library.pages import (
    HAS_LABELS,
    PAGE,
    UNLABELLED,
    VIDEO_COLUMNS,
    in_pages,
    read_videos,
    row_ids,
)
from flows.library.records import LabelEntry, Score, Video, split_labels
from flows.library.results import SCORE_COLUMNS, score_of
from flows.library.tables import LabelRow, ScoreRow, VideoRow
from flows.library.transactions import Transactions


class Labelling(Transactions):
    """The labels of videos, by the digest of the video."""

    def add_labels(self, labels: Mapping[str, tuple[str, ...]], *, by: str, source: str) -> set[str]:
        """Append to the label histories of videos; returns the digests of those that had other labels.

        Empty labels clear: the video then has none.
        """
        changed: set[str] = set()
        for page in in_pages(labels):
            with self._writing() as session:
                ids, now_have = row_ids(session, page), _current_labels(session, page)
                texts = {digest: "|".join(labels[digest]) for digest in page}
                new = {ids[d]: text for d, text in texts.items() if now_have[d] != text}
                changed.update(digest for digest in page if ids[digest] in new)
                _append(session, new, by, source)
        return changed

    def newest_labels(self, digests: Iterable[str], source: str) -> dict[str, tuple[str, ...]]:
        """The newest labels that this source gave to each of these videos, if it gave any."""
        found: dict[str, tuple[str, ...]] = {}
        for page in in_pages(digests):
            with self._session() as session:
                rows = session.execute(
                    select(VideoRow.digest, LabelRow.labels)
                    .join(LabelRow)
                    .where(VideoRow.digest.in_(page), LabelRow.source == source)
                    .order_by(LabelRow.id)
                )
                found.update((digest, split_labels(text)) for digest, text in rows)
        return found

    def label_history(self, digest: str) -> list[LabelEntry]:
        """All label entries of a video, the oldest first. The last one holds."""
        with self._session() as session:
            rows = session.scalars(
                select(LabelRow).join(VideoRow).where(VideoRow.digest == digest).order_by(LabelRow.id)
            )
            return [_label_entry(row) for row in rows]

    def labels_in_use(self) -> set[str]:
        """Every label that at least one video has."""
        with self._session() as session:
            return {label for text in session.scalars(_texts_in_use()) for label in split_labels(text)}

    def unlabelled(
        self, model: str | None, most: int | None = None, after: Video | None = None
    ) -> Iterator[tuple[Video, Score | None]]:
        """The usable videos without labels, `most` of those behind `after`, with their score by this version.

        Videos without a score come first, in order of the name; then those with a score by decreasing
        entropy, of the same entropy the latest first. Each page is a transaction of its own.
        """
        left = most
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            with self._session() as session:
                page = _queue_page(session, model or "", after, size)
            yield from page
            if len(page) < size:
                return
            after, left = page[-1][0], left if left is None else left - size

    def count_unlabelled(self) -> int:
        """Number of the usable videos without labels."""
        with self._session() as session:
            return session.scalar(select(func.count()).select_from(VideoRow).where(UNLABELLED)) or 0


def _append(session: Session, texts: Mapping[int, str], by: str, source: str) -> None:
    """Add to the histories, and note the newest labels with the videos, by the number of their row."""
    if not texts:
        return
    facts = {"given_by": by, "source": source}
    rows = [{"video_id": video_id, "labels": text, **facts} for video_id, text in texts.items()]
    session.execute(insert(LabelRow), rows)
    of_text: dict[str, list[int]] = {}
    for video_id, text in texts.items():
        of_text.setdefault(text, []).append(video_id)
    for text, ids in of_text.items():
        session.execute(update(VideoRow).where(VideoRow.id.in_(ids)).values(current_labels=text))


def _current_labels(session: Session, digests: Sequence[str]) -> dict[str, str]:
    rows = select(VideoRow.digest, VideoRow.current_labels).where(VideoRow.digest.in_(digests))
    return dict(session.execute(rows).tuples().all())


def _texts_in_use() -> Select[tuple[str]]:
    """The different labels that videos have now, each found by one look into the index."""
    first = select(func.min(VideoRow.current_labels).label("text")).where(HAS_LABELS).cte(recursive=True)
    following = select(func.min(VideoRow.current_labels)).where(
        HAS_LABELS, VideoRow.current_labels > first.c.text
    )
    texts = first.union_all(
        select(following.correlate(first).scalar_subquery()).where(first.c.text.is_not(None))
    )
    return select(texts.c.text).where(texts.c.text.is_not(None))


def _queue_page(
    session: Session, model: str, after: Video | None, size: int
) -> list[tuple[Video, Score | None]]:
    """The next videos of the label queue: of those without a score, then of those with one."""
    last = None if after is None else _queue_place(session, model, after)
    rows: list[Any] = []
    if last is None or last.anomaly is None:
        rows += session.execute(_unscored(model, last.name if last else "", size))
        last = None
    if len(rows) < size:
        rows += session.execute(_scored(model, last, size - len(rows)))
    scores = [score_of(row) if hasattr(row, "anomaly") else None for row in rows]
    return list(zip(read_videos(session, rows), scores, strict=True))


def _queue_place(session: Session, model: str, video: Video) -> Any:
    score = (ScoreRow.video_id == VideoRow.id) & (ScoreRow.model == model)
    return session.execute(
        select(VideoRow.id, VideoRow.name, *SCORE_COLUMNS)
        .outerjoin(ScoreRow, score)
        .where(VideoRow.digest == video.digest)
    ).one()


def _unscored(model: str, after: str, size: int) -> Select[Any]:
    query = select(*VIDEO_COLUMNS).where(UNLABELLED, VideoRow.name > after)
    if model:
        scored = aliased(ScoreRow)
        query = query.where(
            ~select(scored.model).where(scored.video_id == VideoRow.id, scored.model == model).exists()
        )
    return query.order_by(VideoRow.name).limit(size)


def _scored(model: str, last: Any, size: int) -> Select[Any]:
    query = (
        select(*VIDEO_COLUMNS, *SCORE_COLUMNS)
        .join(ScoreRow, ScoreRow.video_id == VideoRow.id)
        .where(ScoreRow.model == model, UNLABELLED)
    )
    if last is not None:
        place: ColumnElement[bool] = tuple_(ScoreRow.entropy, ScoreRow.video_id) < tuple_(
            last.entropy, last.id
        )
        query = query.where(place)
    return query.order_by(ScoreRow.entropy.desc(), ScoreRow.video_id.desc()).limit(size)


def _label_entry(row: LabelRow) -> LabelEntry:
    at = row.given_at.isoformat(timespec="seconds")
    return LabelEntry(split_labels(row.labels), by=row.given_by, source=row.source, at=at)
