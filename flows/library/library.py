"""The library of a workspace: its videos with files, labels, features and scores, in a SQL database.

Every method is one transaction; `transaction` combines several. A killed process leaves no half-written
change.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from flows.library.database import database_url, open_database
from flows.library.records import (
    HELD_OUT,
    MIN_DIGEST_LENGTH,
    Features,
    FileRecord,
    LabelEntry,
    Problem,
    Score,
    Video,
    next_try,
)
from flows.library.tables import FailedProbeRow, FeatureRow, LabelRow, LocationRow, ScoreRow, VideoRow, now


class Library:
    """Reads and writes the library's tables. Videos are addressed by their digest (sha256)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._current: Session | None = None

    @classmethod
    @contextmanager
    def open(cls, root: Path, setting: str = "") -> Iterator["Library"]:
        """Open the library of the workspace `root`; a missing one is created, an older one migrated.

        `setting` is a database URL; DSANET_LIBRARY_URL replaces it. Raises ValueError for a database that
        cannot be used.
        """
        root.mkdir(parents=True, exist_ok=True)
        engine = open_database(database_url(root, setting))
        try:
            yield cls(engine)
        finally:
            engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the calls inside one transaction. Other processes wait for it: keep it short."""
        with Session(self._engine) as session, session.begin():
            self._current = session
            try:
                yield
            finally:
                self._current = None

    @contextmanager
    def _session(self) -> Iterator[Session]:
        if self._current is not None:
            yield self._current
            return
        with Session(self._engine) as session, session.begin():
            yield session

    # --- videos and their files -----------------------------------------------------------------------------

    def videos(self) -> list[Video]:
        """All videos, sorted by name."""
        with self._session() as session:
            rows = session.scalars(select(VideoRow).order_by(VideoRow.name)).all()
            return [_video(row) for row in rows]

    def recorded_digest(self, path: Path, size: int, mtime_ns: int) -> str | None:
        """Digest of a recorded file; None if it is not recorded with this size and modification time."""
        with self._session() as session:
            location = select(LocationRow.video_id).where(
                LocationRow.path == str(path), LocationRow.size == size, LocationRow.mtime_ns == mtime_ns
            )
            return session.scalar(select(VideoRow.digest).where(VideoRow.id.in_(location)))

    def has_video(self, digest: str) -> bool:
        """True if a video with this content is recorded, under any name."""
        with self._session() as session:
            return session.scalar(select(VideoRow.id).where(VideoRow.digest == digest)) is not None

    def add_file(
        self, file: FileRecord, *, name: str, split: str, problem: str = "", rename_existing: bool = False
    ) -> Video:
        """Record a file. A known content is not changed; a new content becomes a video.

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
            session.flush()
            session.refresh(row)
            return _video(row)

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
        with self._session() as session:
            rows = session.scalars(select(VideoRow).where(VideoRow.problem != "").order_by(VideoRow.name))
            return [_problem(row) for row in rows]

    # --- labels ---------------------------------------------------------------------------------------------

    def add_labels(self, digest: str, labels: tuple[str, ...], *, by: str, source: str) -> bool:
        """Append to a video's label history; returns False if it has these labels already.

        Empty `labels` clear: the video then has none.
        """
        with self._session() as session:
            row = _row(session, digest)
            if (row.labels[-1].labels if row.labels else "") == "|".join(labels):
                return False
            session.add(LabelRow(video_id=row.id, labels="|".join(labels), given_by=by, source=source))
            return True

    def label_history(self, digest: str) -> list[LabelEntry]:
        """All label entries of a video, the oldest first. The last one holds."""
        with self._session() as session:
            return [_label_entry(row) for row in _row(session, digest).labels]

    # --- features and scores --------------------------------------------------------------------------------

    def write_features(self, features: Mapping[str, Features]) -> None:
        """Record feature files by the digest of their video."""
        with self._session() as session:
            for digest, one in features.items():
                session.merge(FeatureRow(video_id=_row(session, digest).id, **vars(one)))

    def features(self) -> dict[str, Features]:
        """The recorded feature files by the digest of their video."""
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, FeatureRow).join(FeatureRow, FeatureRow.video_id == VideoRow.id)
            )
            return {
                digest: Features(row.digest, row.encoder, row.snippets, row.duration_s)
                for digest, row in rows
            }

    def write_scores(self, model: str, scores: Mapping[str, Score]) -> None:
        """Record the scores of a model version (its key) by the digest of the video."""
        with self._session() as session:
            for digest, one in scores.items():
                session.merge(ScoreRow(video_id=_row(session, digest).id, model=model, **vars(one)))

    def scores(self, model: str) -> dict[str, Score]:
        """The recorded scores of a model version (its key) by the digest of the video."""
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, ScoreRow)
                .join(ScoreRow, ScoreRow.video_id == VideoRow.id)
                .where(ScoreRow.model == model)
            )
            return {digest: Score(row.anomaly, row.predicted, row.entropy) for digest, row in rows}


def _row(session: Session, digest: str) -> VideoRow:
    return session.scalars(select(VideoRow).where(VideoRow.digest == digest)).one()


def _record_failure(session: Session, row: VideoRow, problem: str) -> None:
    attempts, at = (row.failed_probe.attempts if row.failed_probe else 0) + 1, now()
    row.problem = problem
    session.merge(
        FailedProbeRow(video_id=row.id, attempts=attempts, tried_at=at, next_at=next_try(at, attempts))
    )


def _problem(row: VideoRow) -> Problem:
    failed = row.failed_probe
    if failed is None:  # recorded before failed probes were counted: one try, and due at once
        return Problem(_video(row), attempts=1, tried_at=row.first_seen, next_at=row.first_seen)
    return Problem(_video(row), failed.attempts, failed.tried_at, failed.next_at)


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


def _video(row: VideoRow) -> Video:
    return Video(
        name=row.name,
        digest=row.digest,
        split=row.split,
        labels=_split_labels(row.labels[-1].labels) or None if row.labels else None,
        problem=row.problem,
        paths=tuple(Path(location.path) for location in reversed(row.locations)),
    )


def _label_entry(row: LabelRow) -> LabelEntry:
    at = row.given_at.isoformat(timespec="seconds")
    return LabelEntry(_split_labels(row.labels), by=row.given_by, source=row.source, at=at)


def _split_labels(labels: str) -> tuple[str, ...]:
    return tuple(labels.split("|")) if labels else ()
