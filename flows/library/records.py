"""The values that the library takes and returns, and looking a video up among them."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from extract.display import shortened
from extract.errors import InputError
from extract.labels import NORMAL
from extract.manifest import VideoRecord

HELD_OUT = ("test", "audit")
"""Splits that are never trained on. A video never leaves them, and its labels are the manifest's."""
FIRST_RETRY, LONGEST_RETRY = timedelta(hours=1), timedelta(days=30)
"""Time until a video that could not be read is tried again; it doubles with every failed try."""
MIN_DIGEST_LENGTH = 8
"""Hexadecimal digits of a digest that identify a video."""


@dataclass(frozen=True)
class FileRecord:
    """A video file. `digest` is the sha256 of its bytes."""

    path: Path
    digest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Video:
    """One video, identified by its content.

    `labels` is None until labels are given; `problem` is empty for a video that can be decoded; `paths` are
    the files with this content, the latest first.
    """

    name: str
    digest: str
    split: str
    labels: tuple[str, ...] | None
    problem: str
    paths: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """The latest file that still exists; the latest known path if none does."""
        latest = next(iter(self.paths), Path(self.name))
        return next((path for path in self.paths if path.is_file()), latest)

    @property
    def held_out(self) -> bool:
        """True for a video that is never trained on and whose labels are the manifest's."""
        return self.split in HELD_OUT

    def manifest_record(self) -> VideoRecord:
        """The video as a manifest row. An unlabelled video gets the label `normal`: never train on it."""
        return VideoRecord(self.name, self.path, self.labels or (NORMAL,), self.split)


@dataclass(frozen=True)
class Problem:
    """A video that could not be read, with the reason in `video.problem`. Times are in UTC."""

    video: Video
    attempts: int
    tried_at: datetime
    next_at: datetime


def next_try(tried_at: datetime, attempts: int) -> datetime:
    """Time of the next try after this many failed ones."""
    doublings = min(attempts - 1, 20)  # more would exceed the range of a time span
    return tried_at + min(FIRST_RETRY * 2**doublings, LONGEST_RETRY)


@dataclass(frozen=True)
class Features:
    """A feature file: digests of its content and its encoder, number of snippets, length of the video."""

    digest: str
    encoder: str
    snippets: int
    duration_s: float


@dataclass(frozen=True)
class Score:
    """A model's result for a video: anomaly score in [0, 1], predicted class, entropy in bits."""

    anomaly: float
    predicted: str
    entropy: float


@dataclass(frozen=True)
class LabelEntry:
    """An entry of a label history: who gave the labels, from which source, when (ISO 8601, UTC).

    `labels` is empty if the labels were cleared.
    """

    labels: tuple[str, ...]
    by: str
    source: str
    at: str


class VideoIndex:
    """Finds videos by name, path, file name or first digits of the digest, without searching all of them."""

    def __init__(self, videos: Iterable[Video]) -> None:
        self._by_text: dict[str | Path, list[Video]] = {}
        self._by_digest = sorted((video.digest, place, video) for place, video in enumerate(videos))
        for _, _, video in sorted(self._by_digest, key=lambda entry: entry[1]):
            texts: set[str | Path] = {video.name, *video.paths, *(path.name for path in video.paths)}
            for text in texts:
                self._by_text.setdefault(text, []).append(video)

    def find(self, reference: str) -> Video:
        """The video that `reference` names; at least 8 digits of a digest are needed.

        Raises ValueError if no video or several match.
        """
        found = list(dict.fromkeys(self._matches(reference)))
        if not found:
            raise InputError(
                f"no video {reference!r} in the library; expected a name, a path or the first "
                f"{MIN_DIGEST_LENGTH} digits of a sha256"
            )
        if len(found) > 1:
            names = shortened([video.name for video in found])
            raise InputError(f"{reference!r} matches {names}; give a full name")
        return found[0]

    def _matches(self, reference: str) -> Iterator[Video]:
        yield from self._by_text.get(reference, ())
        yield from self._by_text.get(Path(reference).absolute(), ())
        if len(reference) >= MIN_DIGEST_LENGTH:
            digits = reference.lower()
            for digest, _, video in self._by_digest[bisect_left(self._by_digest, (digits,)) :]:
                if not digest.startswith(digits):
                    break
                yield video


def find_video(videos: Iterable[Video], reference: str) -> Video:
    """`VideoIndex(videos).find(reference)`, for a single look-up."""
    return VideoIndex(videos).find(reference)


def all_labels(videos: Iterable[Video]) -> set[str]:
    """Every label that at least one video has."""
    return {label for video in videos for label in video.labels or ()}
