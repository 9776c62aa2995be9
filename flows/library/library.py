"""The library of a workspace: its videos with files, labels, features and scores, in a SQL database.

Every method is one transaction; `transaction` combines several. A killed process leaves no half-written
change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, and_, func, not_, select
from sqlalchemy.orm import Session

from extract.retry_times import next_try
from flows.library.pages import (
    HAS_LABELS,
    VIDEO_COLUMNS,
    in_pages,
    labels_in_use,
    read_videos,
    row_ids,
    video_page,
)
from flows.library.records import (
    HELD_OUT,
    MIN_DIGEST_LENGTH,
    FileRecord,
    LabelEntry,
    Problem,
    Score,
    Video,
    split_labels,
)
from flows.library.results import SCORE_COLUMNS, Results, score_of
from flows.library.tables import FailedProbeRow, LabelRow, LocationRow, ScoreRow, VideoRow, now


class Library(Results):
    """Reads and writes the library's tables. Videos are addressed by their digest (sha256)."""

    # --- videos and their files -----------------------------------------------------------------------------

    def videos(self) -> list[Video]:
        """All videos, sorted by name."""
        return sorted(self._videos(), key=lambda video: video.name)

    def _videos(self, *conditions: ColumnElement[bool]) -> Iterator[Video]:
        """Videos in the order in which they were added. Each page is a transaction of its own."""
        last = 0
        while True:
            with self._session() as session:
                page, last = video_page(session, last, *conditions)
            if not page:
                return
            yield from page

    def recorded_files(self, paths: Iterable[Path]) -> dict[Path, FileRecord]:
        """The recorded ones of these files, as they were when they were recorded."""
        found = {}
        columns = (LocationRow.path, VideoRow.digest, LocationRow.size, LocationRow.mtime_ns)
        for page in in_pages(map(str, paths)):
            with self._session() as session:
                rows = session.execute(select(*columns).join(VideoRow).where(LocationRow.path.in_(page)))
                for path, digest, size, mtime_ns in rows:
                    found[Path(path)] = FileRecord(Path(path), digest, size, mtime_ns)
        return found

    def has_video(self, digest: str) -> bool:
        """True if a video with this content is recorded, under any name."""
        return bool(self.splits([digest]))

    def splits(self, digests: Iterable[str]) -> dict[str, str]:
        """Split by digest of those of these videos that are recorded."""
        found: dict[str, str] = {}
        for page in in_pages(digests):
            with self._session() as session:
                rows = select(VideoRow.digest, VideoRow.split).where(VideoRow.digest.in_(page))
                found.update((digest, split) for digest, split in session.execute(rows))
        return found

    def usable_names(self, names: Iterable[str]) -> set[str]:
        """Those of these names that are of videos without a problem."""
        found: set[str] = set()
        for page in in_pages(names):
            with self._session() as session:
                found.update(
                    session.scalars(
                        select(VideoRow.name).where(VideoRow.name.in_(page), VideoRow.problem == "")
                    )
                )
        return found

    def add_file(
        self, file: FileRecord, *, name: str, split: str, problem: str = "", rename_existing: bool = False
    ) -> str:
        """Record a file; returns the name of its video. A known content is not changed, a new one is a video.

        On a name collision the new video's name gets its digest as a suffix; with `rename_existing` the
        existing one's does.
        """
        with self._session() as session:
            row = session.scalar(select(VideoRow).where(VideoRow.digest == file.digest))
            if row is None:
                name = _free_name(session, name, file.digest, rename_existing)
                row = VideoRow(digest=file.digest, name=name, split=split)
                session.add(row)
                session.flush()
                if problem:
                    _record_failure(session, row, problem)
            location = session.scalar(select(LocationRow).where(LocationRow.path == str(file.path)))
            location = location or LocationRow(path=str(file.path))
            location.video_id, location.size, location.mtime_ns = row.id, file.size, file.mtime_ns
            session.add(location)
            return row.name

    def set_split(self, digest: str, split: str) -> None:
        """Move a video to another split. A test video stays in `test`, an audit video in `audit`."""
        with self._session() as session:
            row = _row(session, digest)
            if row.split not in HELD_OUT:
                row.split = split

    # --- videos that could not be read ----------------------------------------------------------------------

    def record_probe(self, digest: str, problem: str) -> None:
        """Record the result of a probe: why the video cannot be read, or empty if it can be."""
        with self._session() as session:
            row = _row(session, digest)
            if problem:
                _record_failure(session, row, problem)
                return
            row.problem = ""
            if row.failed_probe is not None:
                session.delete(row.failed_probe)

    def problems(self) -> list[Problem]:
        """The videos that could not be read, sorted by name."""
        videos = sorted(self._videos(VideoRow.problem != ""), key=lambda video: video.name)
        columns = (FailedProbeRow.attempts, FailedProbeRow.tried_at, FailedProbeRow.next_at)
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, VideoRow.first_seen, *columns)
                .outerjoin(FailedProbeRow, FailedProbeRow.video_id == VideoRow.id)
                .where(VideoRow.problem != "")
            )
            # Recorded before failed probes were counted: one try, and due at once.
            tries = {d: (n or 1, tried or seen, due or seen) for d, seen, n, tried, due in rows}
        return [Problem(video, *tries[video.digest]) for video in videos if video.digest in tries]

    # --- labels ---------------------------------------------------------------------------------------------

    def add_labels(self, labels: Mapping[str, tuple[str, ...]], *, by: str, source: str) -> set[str]:
        """Append to the label histories of videos; returns the digests of those that had other labels.

        Empty labels clear: the video then has none.
        """
        changed: set[str] = set()
        for page in in_pages(labels):
            with self._session() as session:
                ids, now_have = row_ids(session, page), _newest_labels(session, page)
                texts = {digest: "|".join(labels[digest]) for digest in page}
                new = [digest for digest in page if now_have.get(digest, "") != texts[digest]]
                changed.update(new)
                session.add_all(
                    LabelRow(video_id=ids[digest], labels=texts[digest], given_by=by, source=source)
                    for digest in new
                )
        return changed

    def newest_labels(self, digests: Iterable[str], source: str) -> dict[str, tuple[str, ...]]:
        """The newest labels that this source gave to each of these videos, if it gave any."""
        found: dict[str, tuple[str, ...]] = {}
        for page in in_pages(digests):
            with self._session() as session:
                newest = _newest_labels(session, page, LabelRow.source == source)
            found.update({digest: split_labels(text) for digest, text in newest.items()})
        return found

    def label_history(self, digest: str) -> list[LabelEntry]:
        """All label entries of a video, the oldest first. The last one holds."""
        with self._session() as session:
            return [_label_entry(row) for row in _row(session, digest).labels]

    def labels_in_use(self) -> set[str]:
        """Every label that at least one video has."""
        with self._session() as session:
            return {label for text in session.scalars(labels_in_use()) for label in split_labels(text)}

    def unlabelled(self, model: str | None, most: int | None) -> list[tuple[Video, Score | None]]:
        """The first `most` usable videos without labels, None for all, with their score by this version.

        Videos without a score come first, then those with the highest entropy; the same in order of the name.
        """
        query = (
            select(*VIDEO_COLUMNS, *SCORE_COLUMNS)
            .outerjoin(ScoreRow, and_(ScoreRow.video_id == VideoRow.id, ScoreRow.model == (model or "")))
            .where(VideoRow.problem == "", not_(HAS_LABELS))
            .order_by(ScoreRow.entropy.is_not(None), ScoreRow.entropy.desc(), VideoRow.name)
            .limit(most)
        )
        with self._session() as session:
            rows = session.execute(query).all()
            videos = [video for page in in_pages(rows) for video in read_videos(session, page)]
        return [(video, score_of(row)) for video, row in zip(videos, rows, strict=True)]

    def count_unlabelled(self) -> int:
        """Number of the usable videos without labels."""
        with self._session() as session:
            unlabelled = select(func.count(VideoRow.id)).where(VideoRow.problem == "", not_(HAS_LABELS))
            return session.scalar(unlabelled) or 0


def _newest_labels(
    session: Session, digests: Sequence[str], *conditions: ColumnElement[bool]
) -> dict[str, str]:
    """The newest labels of each of these videos that has some, joined by `|` as in the table."""
    rows = session.execute(
        select(VideoRow.digest, LabelRow.labels)
        .join(LabelRow)
        .where(VideoRow.digest.in_(digests), *conditions)
        .order_by(LabelRow.id)
    )
    return dict(rows.tuples().all())


def _row(session: Session, digest: str) -> VideoRow:
    return session.scalars(select(VideoRow).where(VideoRow.digest == digest)).one()


def _record_failure(session: Session, row: VideoRow, problem: str) -> None:
    attempts, at = (row.failed_probe.attempts if row.failed_probe else 0) + 1, now()
    row.problem = problem
    session.merge(
        FailedProbeRow(video_id=row.id, attempts=attempts, tried_at=at, next_at=next_try(at, attempts))
    )


def _free_name(session: Session, name: str, digest: str, rename_existing: bool) -> str:
    """A name for new content that no other video has."""
    existing = session.scalar(select(VideoRow).where(VideoRow.name == name))
    if existing is None:
        return name
    if not rename_existing:
        return _name_with_digest(name, digest)
    existing.name = _name_with_digest(name, existing.digest)
    session.flush()
    return name


def _name_with_digest(name: str, digest: str) -> str:
    return f"{name}-{digest[:MIN_DIGEST_LENGTH]}"


def _label_entry(row: LabelRow) -> LabelEntry:
    at = row.given_at.isoformat(timespec="seconds")
    return LabelEntry(split_labels(row.labels), by=row.given_by, source=row.source, at=at)
