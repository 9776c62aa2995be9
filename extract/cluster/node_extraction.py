"""Extraction on a Ray cluster, seen from a node: decodes and encodes as on one device, and keeps nothing."""

import queue
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extract.cluster.messages import Done, Item, Note, Taken
from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.decode.worker import Failed
from extract.encoder import FrameEncoder, load_encoder
from extract.errors import InputError
from extract.extraction import OneDevice
from extract.manifest import VideoRecord
from extract.remote.path import AnyPath
from extract.retry_times import AT_ONCE_S
from extract.source import KnownDigest, SourceInfo
from extract.store import VideoFeatures, feature_image, parse_features

_OUTBOX_MESSAGES = 64
_IDLE_S = 0.5


@dataclass(frozen=True)
class Video:
    """A video for a node."""

    record: VideoRecord
    size: int | None
    """Bytes, as the machine that hands out the videos sees it."""
    known: KnownDigest | None


@dataclass(frozen=True)
class VideoOpened:
    name: str
    snippets: int


@dataclass(frozen=True)
class SnippetsDone:
    count: int


@dataclass(frozen=True)
class Written:
    image: bytes
    """The feature file."""
    duration_s: float
    timing: str
    host: str


@dataclass(frozen=True)
class NotWritten:
    failed: Failed
    host: str
    missing: bool
    """The node does not find the file."""


@dataclass(frozen=True)
class ExtractionWork:
    """The work, as `extract.cluster.messages.Work`."""

    config: ExtractConfig
    runtime: ExtractRuntime
    weights: Path | None

    @property
    def files(self) -> Mapping[str, Path]:
        return {} if self.weights is None else {f"weights{self.weights.suffix}": self.weights}

    def content(self, value: Any) -> Any:
        return value

    def load(
        self, files: Mapping[str, Path], device: str, cores: int, like: EncoderFingerprint | None
    ) -> "_NodeExtraction":
        """The precision of the first node is that of all."""
        weights = str(next(iter(files.values()), self.config.weights))
        precision = self.config.precision if like is None else like.precision
        encoder = load_encoder(weights, device, precision, self.runtime.batch_size)
        if like is not None and encoder.fingerprint != like:
            raise InputError(
                f"{socket.gethostname()} has loaded another encoder than the first node of the Ray cluster "
                f"({encoder.fingerprint.digest}, {like.digest}); install the same dsanet on every node"
            )
        runtime = self.runtime.model_copy(update={"runner": "local", "device": device, "workers": cores})
        return _NodeExtraction(self.config, runtime, encoder)


@dataclass(frozen=True)
class _NodeExtraction:
    """The encoder of a process on a node."""

    config: ExtractConfig
    runtime: ExtractRuntime
    encoder: FrameEncoder

    @property
    def description(self) -> EncoderFingerprint:
        return self.encoder.fingerprint

    def run(self, items: Iterable[Item]) -> Iterator[Taken | Note | Done | None]:
        outbox = _Outbox([item.value for item in items])
        device = OneDevice(outbox, self.config, self.runtime, self.encoder)
        thread = threading.Thread(target=outbox.fill, args=(device,), name="extraction", daemon=True)
        thread.start()
        yield from outbox.messages()


class _Outbox:
    """Takes the place of the feature folder and of the account of videos: sends everything as messages."""

    def __init__(self, videos: Sequence[Video]) -> None:
        self._videos = videos
        self._known = {str(video.record.path): video.known for video in videos}
        self._images: dict[str, bytes] = {}
        self._queue: queue.Queue[Taken | Note | Done | BaseException | None] = queue.Queue(_OUTBOX_MESSAGES)
        self._snippets = 0
        self._host = socket.gethostname()

    def fill(self, device: OneDevice) -> None:
        """Extract the videos; the last message is None, or the error that ended the extraction."""
        try:
            device.extract(self._take(), self)
        except BaseException as error:
            self._queue.put(error)
        else:
            self.report()
            self._queue.put(None)

    def messages(self) -> Iterator[Taken | Note | Done | None]:
        while True:
            try:
                message = self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                yield None
                continue
            if message is None:
                return
            if isinstance(message, BaseException):
                raise message
            yield message

    def _take(self) -> Iterator[VideoRecord]:
        """The videos, except those that are another file here."""
        for video in self._videos:
            self._queue.put(Taken(video.record.name))
            here = file_size(video.record.path)
            if None in (here, video.size) or here == video.size:
                yield video.record
            else:
                reason = f"node {self._host} has another file at its path: {here} bytes, not {video.size}"
                self.failed(video.record, Failed(reason, first_wait_s=AT_ONCE_S))

    # --- as a feature folder --------------------------------------------------------------------------------

    def known_digest(self, path: AnyPath) -> KnownDigest | None:
        return self._known.get(str(path))

    def remember_video(self, path: AnyPath, source: SourceInfo) -> None:
        """The feature file says it, too."""

    def write(self, features: VideoFeatures) -> None:
        """Keep the feature file until `written`. Raises FeatureFileError for one that can't be read."""
        image = feature_image(features)
        parse_features(Path(features.name), image)
        self._images[features.name] = image

    # --- as an account --------------------------------------------------------------------------------------

    def opened(self, record: VideoRecord, snippets: int) -> None:
        self._queue.put(Note(VideoOpened(record.name, snippets)))

    def snippets_done(self, count: int) -> None:
        self._snippets += count

    def written(self, record: VideoRecord, duration_s: float, timing: str) -> None:
        result = Written(self._images.pop(record.name), duration_s, timing, self._host)
        self._queue.put(Done(record.name, result))

    def failed(self, record: VideoRecord, failed: Failed) -> None:
        missing = not record.path.exists()
        if missing:
            failed = replace(failed, reason=f"{failed.reason} (on node {self._host} of the Ray cluster)")
        self._queue.put(Done(record.name, NotWritten(failed, self._host, missing)))

    def report(self) -> None:
        if self._snippets:
            self._queue.put(Note(SnippetsDone(self._snippets)))
            self._snippets = 0


def file_size(path: AnyPath) -> int | None:
    """Bytes of a file; None for one that can't be reached."""
    try:
        return path.stat().st_size
    except OSError:
        return None
