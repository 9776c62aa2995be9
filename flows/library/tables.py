"""The library's tables. A change here needs a migration (`migrations/`); a test compares the two.

videos     one row a content, by its sha256: the same file under two names is one video
locations  where that content lies
labels     what was said of it, by whom, from where and when; the newest row counts, none is ever changed
features   its feature file
scores     what each model made of it
"""

from datetime import datetime, timezone

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMES = {  # so that migrations can name what they change, in both databases alike
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)


class UtcTime(TypeDecorator[datetime]):
    """A moment, in UTC in both databases: SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=timezone.utc)


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=NAMES)


class VideoRow(Base):
    __tablename__ = "videos"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """sha256 of the file's bytes."""
    name: Mapped[str] = mapped_column(String(255), unique=True)
    """Of its feature and score files."""
    split: Mapped[str] = mapped_column(String(5))
    """train, val or test; who is once in `test` stays there."""
    problem: Mapped[str] = mapped_column(Text, default="")
    """Why it is no use: it can't be opened as a video. Else empty."""
    first_seen: Mapped[datetime] = mapped_column(UtcTime, default=now)

    locations: Mapped[list["LocationRow"]] = relationship(order_by="LocationRow.id", lazy="selectin")
    labels: Mapped[list["LabelRow"]] = relationship(order_by="LabelRow.id", lazy="selectin")
    features: Mapped["FeatureRow | None"] = relationship()


class LocationRow(Base):
    __tablename__ = "locations"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), index=True)
    path: Mapped[str] = mapped_column(Text, unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    """With the size: while both are the same, so is the content."""
    seen: Mapped[datetime] = mapped_column(UtcTime, default=now)


class LabelRow(Base):
    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), index=True)
    labels: Mapped[str] = mapped_column(Text)
    """Joined by `|`, `normal` for none."""
    given_by: Mapped[str] = mapped_column(String(255))
    """The person, or the program that asked on nobody's behalf."""
    source: Mapped[str] = mapped_column(Text)
    """What it came from: `manifest`, `command line`, the name of a file."""
    given_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class FeatureRow(Base):
    __tablename__ = "features"

    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    """Of the feature file's content."""
    encoder: Mapped[str] = mapped_column(String(16))
    """Short name of the encoder's fingerprint."""
    snippets: Mapped[int] = mapped_column(Integer)
    duration_s: Mapped[float] = mapped_column(Float)
    """Of the video."""


class ScoreRow(Base):
    __tablename__ = "scores"

    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id"), primary_key=True)
    model: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Key of the model's version, as its folder is called."""
    anomaly: Mapped[float] = mapped_column(Float)
    """Mean of the top snippets, in [0, 1]."""
    predicted: Mapped[str] = mapped_column(String(255))
    surprise: Mapped[float] = mapped_column(Float)
    """Bits that a label is expected to tell: the entropy of what the model believes."""
    scored_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
