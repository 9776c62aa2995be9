"""What the library is asked and told.

Each method is one transaction, unless `at_once` makes several one: a killed run leaves no half.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from extract.labels import NORMAL
from extract.manifest import VideoRecord
from flows.library.database import database_url, open_database
from flows.library.tables import FeatureRow, LabelRow, LocationRow, ScoreRow, VideoRow

SHORTEST_DIGEST = 8


@dataclass(frozen=True)
class Sighting:
    """A file and what is in it: `digest` is the sha256 of its bytes."""

    path: Path
    digest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Video:
    """One video of the library. `labels` is None until somebody has given some; `paths` newest first."""

    name: str
    digest: str
    split: str
    labels: tuple[str, ...] | None
    problem: str
    paths: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """Where it is; where it was last, if it is nowhere any more (or other content lies there now)."""
        last = next(iter(self.paths), Path(self.name))
        return next((path for path in self.paths if path.is_file()), last)

    def record(self, split: str | None = None) -> VideoRecord:
        """As the stages want it; without labels it goes as `normal`, so never among the training videos."""
        return VideoRecord(self.name, self.path, self.labels or (NORMAL,), split or self.split)


@dataclass(frozen=True)
class Features:
    """What is known of a feature file: its content's digest, its encoder's short name, how much footage."""

    digest: str
    encoder: str
    snippets: int
    duration_s: float


@dataclass(frozen=True)
class Score:
    """What a model makes of a video: anomaly score in [0, 1], class, and the surprise (bits) in its label."""

    anomaly: float
    predicted: str
    surprise: float


@dataclass(frozen=True)
class Said:
    """One entry of a video's labels: who gave them, from where, when (ISO 8601, UTC)."""

    labels: tuple[str, ...]
    by: str
    source: str
    at: str


class Library:
    """The videos of one workspace."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._current: Session | None = None

    @classmethod
    @contextmanager
    def of(cls, root: Path, setting: str = "") -> Iterator["Library"]:
        """The library of the workspace `root`, made or brought up to date where it has to be.

        `setting` is a database URL, which the environment's replaces. Raises ValueError where the database
        can't be used.
        """
        root.mkdir(parents=True, exist_ok=True)
        engine = open_database(database_url(root, setting))
        try:
            yield cls(engine)
        finally:
            engine.dispose()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """All that is done inside happens together, or not at all. Others wait meanwhile: be quick."""
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

    def videos(self) -> list[Video]:
        """All of them, by name."""
        with self._session() as session:
            rows = session.scalars(select(VideoRow).order_by(VideoRow.name)).all()
            return [_video(row) for row in rows]

    def digest_at(self, path: Path, size: int, mtime_ns: int) -> str | None:
        """The digest of a file seen before, while size and modification time say that it is the same."""
        with self._session() as session:
            place = select(LocationRow.video_id).where(
                LocationRow.path == str(path), LocationRow.size == size, LocationRow.mtime_ns == mtime_ns
            )
            return session.scalar(select(VideoRow.digest).where(VideoRow.id.in_(place)))

    def knows(self, digest: str) -> bool:
        """True if this content has been seen before, under any name."""
        with self._session() as session:
            return session.scalar(select(VideoRow.id).where(VideoRow.digest == digest)) is not None

    def add(
        self, sighting: Sighting, *, name: str, split: str, problem: str = "", insist: bool = False
    ) -> Video:
        """Note a file. Content seen before stays the video that it is.

        New content gets `name`, or where another video has it, one that is nearly so; with `insist` it is
        the other that gives way.
        """
        with self._session() as session:
            row = session.scalar(select(VideoRow).where(VideoRow.digest == sighting.digest))
            if row is None:
                other = session.scalar(select(VideoRow).where(VideoRow.name == name))
                if other is not None and insist:
                    other.name = _variant(name, other.digest)
                    session.flush()
                elif other is not None:
                    name = _variant(name, sighting.digest)
                row = VideoRow(digest=sighting.digest, name=name, split=split, problem=problem)
                session.add(row)
                session.flush()
            place = session.scalar(select(LocationRow).where(LocationRow.path == str(sighting.path)))
            place = place or LocationRow(path=str(sighting.path))
            place.video_id, place.size, place.mtime_ns = row.id, sighting.size, sighting.mtime_ns
            session.add(place)
            session.flush()
            session.refresh(row)
            return _video(row)

    def move(self, digest: str, split: str) -> None:
        """Put a video into another split. Nothing ever leaves `test`."""
        with self._session() as session:
            row = _row(session, digest)
            if row.split != "test":
                row.split = split

    def label(self, digest: str, labels: tuple[str, ...], *, by: str, source: str) -> bool:
        """Note what somebody says of a video; False (and no entry) where that is what holds already."""
        with self._session() as session:
            row = _row(session, digest)
            if row.labels and row.labels[-1].labels == "|".join(labels):
                return False
            session.add(LabelRow(video_id=row.id, labels="|".join(labels), given_by=by, source=source))
            return True

    def history(self, digest: str) -> list[Said]:
        """All that was ever said of a video, the oldest first."""
        with self._session() as session:
            return [
                Said(_split(row.labels), row.given_by, row.source, row.given_at.isoformat(timespec="seconds"))
                for row in _row(session, digest).labels
            ]

    def note_features(self, features: dict[str, Features]) -> None:
        """Note the feature files of videos, by digest of the video."""
        with self._session() as session:
            for digest, one in features.items():
                session.merge(FeatureRow(video_id=_row(session, digest).id, **vars(one)))

    def features(self) -> dict[str, Features]:
        """What is known of the feature files, by digest of the video."""
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, FeatureRow).join(FeatureRow, FeatureRow.video_id == VideoRow.id)
            )
            return {
                digest: Features(row.digest, row.encoder, row.snippets, row.duration_s)
                for digest, row in rows
            }

    def note_scores(self, model: str, scores: dict[str, Score]) -> None:
        """Note what the version `model` makes of videos, by digest of the video."""
        with self._session() as session:
            for digest, one in scores.items():
                session.merge(ScoreRow(video_id=_row(session, digest).id, model=model, **vars(one)))

    def scores(self, model: str) -> dict[str, Score]:
        """What the version `model` makes of the videos that it has scored, by digest of the video."""
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, ScoreRow)
                .join(ScoreRow, ScoreRow.video_id == VideoRow.id)
                .where(ScoreRow.model == model)
            )
            return {digest: Score(row.anomaly, row.predicted, row.surprise) for digest, row in rows}


def _row(session: Session, digest: str) -> VideoRow:
    return session.scalars(select(VideoRow).where(VideoRow.digest == digest)).one()


def _video(row: VideoRow) -> Video:
    return Video(
        name=row.name,
        digest=row.digest,
        split=row.split,
        labels=_split(row.labels[-1].labels) if row.labels else None,
        problem=row.problem,
        paths=tuple(Path(place.path) for place in reversed(row.locations)),
    )


def _split(labels: str) -> tuple[str, ...]:
    return tuple(labels.split("|"))


def find(videos: Iterable[Video], what: str) -> Video:
    """A video by its name, by the path or name of a file, or by the beginning of its digest (8 or more).

    Raises ValueError where none or several answer to it.
    """
    absolute = Path(what).absolute()

    def answers(video: Video) -> bool:
        by_digest = len(what) >= SHORTEST_DIGEST and video.digest.startswith(what.lower())
        return by_digest or what == video.name or any(p == absolute or p.name == what for p in video.paths)

    found = [video for video in videos if answers(video)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(
            f"the library knows no video {what!r}; expected its name, its path or the first "
            f"{SHORTEST_DIGEST} digits of its sha256"
        )
    raise ValueError(f"{what!r} may be {' or '.join(video.name for video in found)}: say which")


def _variant(name: str, digest: str) -> str:
    """A name that nobody else has, the same in every run."""
    return f"{name}-{digest[:SHORTEST_DIGEST]}"


def all_labels(videos: Iterable[Video]) -> set[str]:
    """Every label that some video has."""
    return {label for video in videos for label in video.labels or ()}
