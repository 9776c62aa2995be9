"""Extraction on one device: decoder processes ahead, batches across videos, a writer thread behind.

    decoder pool ──▶ queue bounded in bytes ──▶ batches on the device ──▶ writer thread ──▶ NAME.h5

The calling thread feeds the device. Results are fetched one batch late, so that a GPU computes the next batch
meanwhile. An embedding does not depend on the other images of its batch, so a run that was killed and resumed
gives the same bytes as an uninterrupted one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import joblib
import numpy as np
import numpy.typing as npt

from extract.batches import EmbeddingBatches
from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.decode.pool import DecoderPool, Received
from extract.decode.worker import Failed, Finished, Job, Opened
from extract.encoder import FrameEncoder
from extract.fetched_videos import FetchedVideos, source_of
from extract.manifest import VideoRecord
from extract.pictures import PictureReceiver, Pictures
from extract.remote.path import AnyPath
from extract.retry_times import AT_ONCE_S, SOON_S
from extract.snippets import Picks
from extract.source import KnownDigest, SourceInfo
from extract.store import FeatureFileError, FeatureMeta, VideoFeatures

_QUEUE_BYTES = 256_000_000
_MESSAGE_TIMEOUT_S = 0.5


@dataclass(eq=False)
class _OpenVideo:
    """A video being extracted: the sums of its embeddings so far."""

    record: VideoRecord
    picks: Picks
    duration_s: float
    sums: npt.NDArray[np.float32]
    """(T, crops, 512)"""
    decoded: int = 0
    embedded: int = 0
    finished: Finished | None = None

    def add(self, picks: npt.NDArray[np.int64], embeddings: npt.NDArray[np.float32]) -> int:
        """Add (N, crops, 512) embeddings; returns the number of snippets that are complete with them.

        Picks arrive in order, so float sums are equal in every run.
        """
        snippets = self.picks.snippet[picks]
        if np.all(np.diff(snippets) > 0):
            self.sums[snippets] += embeddings
        else:  # several pictures of one snippet are added one after the other
            for snippet, embedding in zip(snippets, embeddings, strict=True):
                self.sums[snippet] += embedding
        self.embedded += len(picks)
        return int(np.count_nonzero(self.picks.last_in_snippet[picks]))

    @property
    def complete(self) -> bool:
        """True if the video is decoded to its end and every picture is embedded."""
        return self.finished is not None and self.embedded == self.decoded

    def features(self, encoder: EncoderFingerprint, config: ExtractConfig) -> VideoFeatures:
        """The mean embedding of each snippet; for a damaged video, of the snippets before the damage."""
        assert self.finished is not None, "called on complete videos only"
        snippets = len(self.finished.frame_index)
        counts = np.bincount(self.picks.snippet)[:snippets, None, None].astype(np.float32)
        means = self.sums[:snippets] / counts
        if config.normalise:
            means /= np.maximum(np.linalg.norm(means, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
        meta = FeatureMeta(
            source=self.finished.source,
            encoder=encoder,
            config=config,
            decoder=self.finished.decoder,
            decoder_reason=self.finished.decoder_reason,
        )
        return VideoFeatures(
            name=self.record.name,
            features=means.astype(np.float16),
            frame_index=self.finished.frame_index,
            time_s=self.finished.time_s,
            start_s=self.finished.start_s,
            end_s=self.finished.end_s,
            meta=meta,
        )


class Account(Protocol):
    """Receives what becomes of each video; `Outcomes` is one."""

    def opened(self, record: VideoRecord, snippets: int) -> None: ...

    def snippets_done(self, count: int) -> None: ...

    def written(self, record: VideoRecord, duration_s: float, timing: str) -> None: ...

    def failed(self, record: VideoRecord, failed: Failed) -> None: ...

    def report(self) -> None: ...


class FeatureFolder(Protocol):
    """Takes the features, and knows digests of videos; `FeatureIndex` is one."""

    def known_digest(self, path: AnyPath) -> KnownDigest | None: ...

    def remember_video(self, path: AnyPath, source: SourceInfo) -> None: ...

    def write(self, features: VideoFeatures) -> None: ...


@dataclass(frozen=True)
class OneDevice:
    """Extraction on the device of `encoder`, in this process."""

    index: FeatureFolder
    config: ExtractConfig
    runtime: ExtractRuntime
    encoder: FrameEncoder

    @property
    def fingerprint(self) -> EncoderFingerprint:
        return self.encoder.fingerprint

    def extract(self, videos: Iterable[VideoRecord], account: Account) -> None:
        """Extract the videos; the failures of single videos go into the account.

        A video is taken when a decoder is free: `videos` may be a generator that waits for others.
        """
        _Extraction(self, videos, account).execute()


class _Extraction:
    """One call of `OneDevice.extract`."""

    def __init__(self, device: OneDevice, videos: Iterable[VideoRecord], account: Account) -> None:
        self._index, self._config = device.index, device.config
        self._runtime, self._encoder = device.runtime, device.encoder
        self._workers = device.runtime.workers or joblib.cpu_count()
        self._videos = FetchedVideos(videos, device.runtime.cache_gb, self._workers)
        self._account = account
        self._records: dict[str, VideoRecord] = {}
        """The videos taken so far."""
        self._batches: EmbeddingBatches[_OpenVideo] = EmbeddingBatches(device.encoder, device.config.views)
        self._open: dict[str, _OpenVideo] = {}
        self._failed: set[str] = set()
        self._writer = ThreadPoolExecutor(1)
        self._writes: deque[tuple[_OpenVideo, Future[None]]] = deque()

    def execute(self) -> None:
        with self._writer:
            self._extract_all()
        self._videos.raise_error()

    def _extract_all(self) -> None:
        receiver = PictureReceiver(self._config.views, self._encoder.device)
        timeout_s = self._runtime.timeout_s
        pool = DecoderPool(self._jobs(), self._workers, timeout_s, _QUEUE_BYTES, receiver)
        with pool as decoders, self._videos:
            for item in decoders.messages(_MESSAGE_TIMEOUT_S):
                if item is None:  # decoding is slow at the moment: do not hold back a partial batch
                    self._embed_pending()
                else:
                    name, message = item
                    self._handle(self._records[name], message)
                    if isinstance(message, Finished | Failed):
                        self._videos.release(name)
                self._collect_writes(wait=False)
                self._account.report()
            self._embed_pending()
            self._collect_writes(wait=True)

    def _jobs(self) -> Iterator[tuple[str, Job | Failed]]:
        for record, file in self._videos:
            self._records[record.name] = record
            yield record.name, file if isinstance(file, Failed) else self._job(file)

    def _job(self, path: Path) -> Job:
        runtime = self._runtime
        known = self._index.known_digest(path)
        card = runtime.device if runtime.device.startswith("cuda") else "cuda"
        return Job(path, self._config.sampling, runtime.decoder, runtime.partial, known, card)

    def _handle(self, record: VideoRecord, message: Opened | Received[Pictures] | Finished | Failed) -> None:
        if record.name in self._failed:  # its other messages were on their way when it failed
            return
        if isinstance(message, Opened):
            self._open_video(record, message)
        elif isinstance(message, Received):
            video = self._open[record.name]
            video.decoded += len(message.picks)
            for _ in self._batches.add(video, message.picks, message.pictures):
                self._take_results(keep_in_flight=1)
        elif isinstance(message, Finished):
            source = source_of(record, message.source)
            self._open[record.name].finished = replace(message, source=source)
            self._index.remember_video(record.path, source)
            self._write_if_complete(self._open[record.name])
        else:
            self._open.pop(record.name, None)
            self._fail(record, message)

    def _open_video(self, record: VideoRecord, opened: Opened) -> None:
        shape = (opened.picks.n_snippets, self._config.crops, FEATURE_DIM)
        try:
            sums = np.zeros(shape, np.float32)
        except MemoryError:
            reason = f"its {opened.picks.n_snippets} snippets do not fit into the memory"
            self._fail(record, Failed(reason, first_wait_s=SOON_S))
            return
        self._open[record.name] = _OpenVideo(record, opened.picks, opened.duration_s, sums)
        self._account.opened(record, opened.picks.n_snippets)

    def _embed_pending(self) -> None:
        """Embed the pictures of a batch that is not full, and take all results."""
        self._batches.launch()
        self._take_results()

    def _take_results(self, *, keep_in_flight: int = 0) -> None:
        for video, picks, embeddings in self._batches.results(keep_in_flight=keep_in_flight):
            self._account.snippets_done(video.add(picks, embeddings))
            self._account.report()
            self._write_if_complete(video)

    def _write_if_complete(self, video: _OpenVideo) -> None:
        if not video.complete:
            return
        del self._open[video.record.name]
        features = video.features(self._encoder.fingerprint, self._config)
        self._writes.append((video, self._writer.submit(self._index.write, features)))

    def _collect_writes(self, *, wait: bool) -> None:
        while self._writes and (wait or self._writes[0][1].done()):
            video, write = self._writes.popleft()
            assert video.finished is not None, "only complete videos are written"
            try:
                write.result()
                self._account.written(video.record, video.duration_s, video.finished.source.timing)
            except (OSError, FeatureFileError, MemoryError) as error:
                cause = "out of memory" if isinstance(error, MemoryError) else error
                reason = f"the features can't be written: {cause}"
                self._fail(video.record, Failed(reason, first_wait_s=AT_ONCE_S))

    def _fail(self, record: VideoRecord, failed: Failed) -> None:
        self._failed.add(record.name)
        self._account.failed(record, failed)
