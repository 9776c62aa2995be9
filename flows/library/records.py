"""The values that the library takes and returns, and looking a video up among them."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extract.display import shortened
from extract.errors import InputError
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.remote.path import AnyPath, as_path

HELD_OUT = ("test", "audit")
"""Splits that are never trained on. A video never leaves them, and its labels are the manifest's."""
MIN_DIGEST_LENGTH = 8
"""Hexadecimal digits of a digest that identify a video."""


@dataclass(frozen=True)
class FileRecord:
    """A video file. `digest` is the sha256 of its bytes."""

    path: AnyPath
    digest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class NewFile:
    """A file to record. New content becomes a video with this name, if it is free, split and problem."""

    file: FileRecord
    name: str
    split: str
    problem: str = ""


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
    paths: tuple[AnyPath, ...]

    @property
    def path(self) -> AnyPath:
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


@dataclass(frozen=True)
class Features:
    """A feature file: digests of its content and its encoder, number of snippets, length of the video."""

    digest: str
    encoder: str
    snippets: int
    duration_s: float
    mean: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """(D,) mean feature over snippets and crops; None where it was not asked for."""
    made_with: str | None = field(default=None, compare=False)
    """Digest of the extraction's settings with which the file was up to date; None if that is not known."""
    file_size: int | None = field(default=None, compare=False)
    file_mtime_ns: int | None = field(default=None, compare=False)
    """State of the feature file when it was read."""


class RecordedFeatures(NamedTuple):
    """The recorded state of a video's features, by which a plan is made; None for each fact not known."""

    video: str
    """Digest of the video."""
    name: str
    usable: bool
    digest: str | None
    made_with: str | None
    file_size: int | None
    file_mtime_ns: int | None
    has_mean: bool


class RecordedScore(NamedTuple):
    """What a video's recorded score was made from, and what it has to be made from; None if not known."""

    video: str
    """Digest of the video."""
    name: str
    features: str
    """Digest of its features now."""
    made_from: str | None
    made_with: str | None


class ScoredVideo(NamedTuple):
    """A video with features, with the values of its score by one version; a library may have a million."""

    digest: str
    name: str
    split: str
    labelled: bool
    anomaly: float
    predicted: str
    entropy: float


@dataclass(frozen=True)
class Score:
    """A model's result for a video: anomaly score in [0, 1], predicted class, entropy in bits.

    `made_from` is the digest of the content of the feature file that was scored; empty if it is not known.
    """

    anomaly: float
    predicted: str
    entropy: float
    made_from: str = ""


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
        self._by_text: dict[str | AnyPath, list[Video]] = {}
        self._by_digest = sorted((video.digest, place, video) for place, video in enumerate(videos))
        for _, _, video in sorted(self._by_digest, key=lambda entry: entry[1]):
            texts: set[str | AnyPath] = {video.name, *video.paths, *(path.name for path in video.paths)}
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
        yield from self._by_text.get(path_meant(reference), ())
        if len(reference) >= MIN_DIGEST_LENGTH:
            digits = reference.lower()
            for digest, _, video in self._by_digest[bisect_left(self._by_digest, (digits,)) :]:
                if not digest.startswith(digits):
                    break
                yield video


def path_meant(reference: str) -> AnyPath:
    """The file that a reference means if it is a path or an address."""
    try:
        return as_path(reference).absolute()
    except InputError:  # a name that begins like an address
        return Path(reference).absolute()


def split_labels(labels: str) -> tuple[str, ...]:
    """The labels of a text in which `|` joins them."""
    return tuple(labels.split("|")) if labels else ()


def find_video(videos: Iterable[Video], reference: str) -> Video:
    """`VideoIndex(videos).find(reference)`, for a single look-up."""
    return VideoIndex(videos).find(reference)
