"""The library's tables. A change here needs a migration (`migrations/`); a test compares the two.

videos     one row per content (sha256): the same file under two names is one video; with its newest labels
locations  the files with that content
failed_probes  how often a video could not be read, and when it is tried again
labels     the label history: labels, person, source and time; the newest row holds, rows are never changed
features   the feature file of a video
scores     the scores of a video by each model version
"""

from datetime import datetime, timezone

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

CONSTRAINT_NAMES = {  # migrations refer to constraints by these names, in both databases
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """Current time in UTC."""
    return datetime.now(timezone.utc)


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC in both databases; SQLite stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=timezone.utc)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=CONSTRAINT_NAMES)


def _partial_index(name: str, *columns: str, where: str) -> Index:
    """An index of the rows with a condition; a query uses it if it has the same condition."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class VideoRow(Base):
    __tablename__ = "videos"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """sha256 of the file's bytes."""
    name: Mapped[str] = mapped_column(String(255), unique=True)
    """Name of its feature and score files."""
    split: Mapped[str] = mapped_column(String(5))
    """train, val, test or audit; a video never leaves `test` and `audit`."""
    problem: Mapped[str] = mapped_column(Text, default="")
    """Reason why it cannot be decoded; empty for a usable video."""
    first_seen: Mapped[datetime] = mapped_column(UtcTime, default=now)
    current_labels: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    """Labels of the newest row of its history: a question for many videos does not read the history."""

    labels: Mapped[list["LabelRow"]] = relationship(order_by="LabelRow.id")
    failed_probe: Mapped["FailedProbeRow | None"] = relationship()

    __table_args__ = (
        _partial_index("ix_videos_unlabelled", "name", where="current_labels = '' AND problem = ''"),
        _partial_index("ix_videos_labelled", "current_labels", "id", where="current_labels <> ''"),
        _partial_index("ix_videos_unusable", "id", where="problem <> ''"),
    )


class LocationRow(Base):
    __tablename__ = "locations"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), index=True)
    path: Mapped[str] = mapped_column(Text, unique=True)
    file_name: Mapped[str] = mapped_column(Text, index=True, server_default=text("''"))
    """The last part of the path, by which a video may be named."""
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    """Modification time. While it and the size stay the same, the content counts as unchanged."""
    seen: Mapped[datetime] = mapped_column(UtcTime, default=now)


class FailedProbeRow(Base):
    __tablename__ = "failed_probes"

    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    attempts: Mapped[int] = mapped_column(Integer)
    tried_at: Mapped[datetime] = mapped_column(UtcTime)
    next_at: Mapped[datetime] = mapped_column(UtcTime)


class LabelRow(Base):
    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), index=True)
    labels: Mapped[str] = mapped_column(Text)
    """Joined by `|`; `normal` for a video without anomalies; empty if the labels were cleared."""
    given_by: Mapped[str] = mapped_column(String(255))
    """The person, or `manifest`."""
    source: Mapped[str] = mapped_column(Text)
    """`manifest`, `command line` or the name of the imported file."""
    given_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class FeatureRow(Base):
    __tablename__ = "features"

    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    """Digest of the feature file's content."""
    encoder: Mapped[str] = mapped_column(String(16))
    """Digest of the encoder's fingerprint, shortened."""
    snippets: Mapped[int] = mapped_column(Integer)
    duration_s: Mapped[float] = mapped_column(Float)
    """Length of the video."""
    mean: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """Mean feature over snippets and crops, (D,) little-endian float32; NULL in rows of earlier versions."""
    made_with: Mapped[str | None] = mapped_column(String(16))
    """Digest of the extraction's settings with which the file was up to date; NULL if that is not known."""
    file_size: Mapped[int | None] = mapped_column(BigInteger)
    file_mtime_ns: Mapped[int | None] = mapped_column(BigInteger)
    """While size and modification time of the feature file stay the same, it is not read again."""


class ScoreRow(Base):
    __tablename__ = "scores"

    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    model: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Key of the model version, the name of its folder below `models/`."""
    anomaly: Mapped[float] = mapped_column(Float)
    """Anomaly score of the video: mean over the top snippets, in [0, 1]."""
    predicted: Mapped[str] = mapped_column(String(255))
    entropy: Mapped[float] = mapped_column("surprise", Float)
    """Entropy of the model's class belief, in bits. The column keeps its first name."""
    scored_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    made_from: Mapped[str | None] = mapped_column(String(64))
    """Digest of the content of the feature file that was scored; NULL in rows of earlier versions."""
    made_with: Mapped[str | None] = mapped_column(String(16))
    """Digest of the settings of the inference; NULL in rows of earlier versions."""

    __table_args__ = (Index("ix_scores_model_entropy", "model", "surprise", "video_id"),)
