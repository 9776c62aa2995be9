"""Videos in, feature files out: decoder processes ahead, batches across videos, a writer behind.

    decoder processes ──lanes──▶ bounded queue ──▶ batches on the device ──▶ writer thread ──▶ *.h5

The calling thread feeds the device. Results are fetched one batch late, so that on a GPU the next
batch is under way meanwhile. An embedding does not depend on what else was in its batch, so a run
that was killed and resumed ends with the bytes of an uninterrupted one.
"""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.decode.pool import Lanes, Message, PictureData
from extract.decode.worker import Failed, Finished, Job, Opened
from extract.encoder import Batches, FrameEncoder, load_encoder
from extract.failures import Failure, read_failures, write_failures
from extract.manifest import VideoRecord
from extract.reuse import feature_folder, is_done
from extract.snippets import Picks
from extract.store import FeatureFileError, FeatureMeta, VideoFeatures, feature_path, write_features

_QUEUE_BYTES = 512_000_000
_IDLE_S = 0.5


@dataclass
class ExtractProgress:
    """State of a run. Videos count as done with their file written, reused or given up."""

    videos_done: int
    videos_total: int
    snippets_done: int
    snippets_total: int
    """An estimate until every video has been opened."""
    footage_s_done: float
    failures: int
    elapsed_s: float


@dataclass(frozen=True)
class ExtractResult:
    """Names of the videos with new files, of those whose files were already right, and the failures."""

    extracted: list[str]
    reused: list[str]
    failures: list[Failure]


def extract_videos(
    records: Sequence[VideoRecord],
    features_dir: Path,
    config: ExtractConfig,
    runtime: ExtractRuntime = ExtractRuntime(),  # noqa: B008  # frozen
    on_progress: Callable[[ExtractProgress], None] | None = None,
    *,
    encoder: FrameEncoder | None = None,
) -> ExtractResult:
    """Write `features_dir/<name>.h5` for every video that has none yet, and `failures.csv`.

    A bad video is never fatal: it is skipped and listed. Raises ValueError or FileNotFoundError
    where nothing can be done at all: no weights, a folder that can't be written or is in use.
    `encoder` replaces the one that `config` and `runtime` ask for.
    """
    with _sigterm_interrupts(), feature_folder(features_dir):
        encoder = encoder or load_encoder(
            config.weights, runtime.device, config.precision, runtime.batch_size
        )
        with ThreadPoolExecutor() as pool:
            done = list(
                pool.map(lambda r: is_done(r, features_dir, config, encoder.fingerprint, runtime), records)
            )
        todo = [record for record, is_there in zip(records, done, strict=True) if not is_there]
        reused = [record.name for record, is_there in zip(records, done, strict=True) if is_there]
        return _Run(todo, reused, features_dir, config, runtime, encoder, on_progress).execute()


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM unwinds the run as Ctrl-C does, unless the program has a way of its own.

    Signals belong to the main thread: nothing is changed in another one.
    """
    ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if ours:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@dataclass(eq=False)
class _Video:
    """A video under way: sums of its embeddings, (T, crops, 512) float32, and how many picks are in."""

    record: VideoRecord
    picks: Picks
    footage_s: float
    sums: npt.NDArray[np.float32]
    sent: int = 0
    embedded: int = 0
    finished: Finished | None = None

    def add(self, pick: int, embedding: npt.NDArray[np.float32]) -> None:
        """Picks of a video come in order, so sums of floats are the same in every run."""
        self.sums[self.picks.snippet[pick]] += embedding
        self.embedded += 1

    @property
    def complete(self) -> bool:
        return self.finished is not None and self.embedded == self.sent

    def features(self, encoder: EncoderFingerprint, config: ExtractConfig) -> VideoFeatures:
        """Means over each snippet's picks; with a damaged place, of the snippets before it."""
        assert self.finished is not None
        snippets = len(self.finished.frame_index)
        counts = np.bincount(self.picks.snippet)[:snippets, None, None]
        meta = FeatureMeta(
            source=self.finished.source,
            encoder=encoder,
            config=config,
            decoder=self.finished.decoder,
            decoder_reason=self.finished.decoder_reason,
        )
        return VideoFeatures(
            name=self.record.name,
            features=(self.sums[:snippets] / counts.astype(np.float32)).astype(np.float16),
            frame_index=self.finished.frame_index,
            time_s=self.finished.time_s,
            meta=meta,
        )


@dataclass(eq=False)
class _Run:
    todo: Sequence[VideoRecord]
    reused: list[str]
    features_dir: Path
    config: ExtractConfig
    runtime: ExtractRuntime
    encoder: FrameEncoder
    on_progress: Callable[[ExtractProgress], None] | None
    _videos: dict[str, _Video] = field(default_factory=dict)
    _writes: deque[tuple[VideoRecord, Future[None]]] = field(default_factory=deque)
    _extracted: list[str] = field(default_factory=list)
    _failures: dict[str, Failure] = field(default_factory=dict)
    _opened_bytes: int = 0
    _snippets_opened: int = 0
    _snippets_done: int = 0
    _footage_s: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _reported: float = 0.0

    def __post_init__(self) -> None:
        self._batches: Batches[tuple[_Video, int]] = Batches(self.encoder, self.config.crops)
        self._unopened = {record.name: _file_bytes(record) for record in self.todo}

    def execute(self) -> ExtractResult:
        names = {record.name for record in self.todo} | set(self.reused)
        self._earlier = [f for f in read_failures(self.features_dir) if f.name not in names]
        self._report(force=True)
        if self.todo:
            self._extract_all()
        self._list_failures()
        self._report(force=True)
        return ExtractResult(sorted(self._extracted), self.reused, list(self._failures.values()))

    def _extract_all(self) -> None:
        records = {record.name: record for record in self.todo}
        # The largest first: begun last, it would keep one decoder busy and leave the others idle.
        jobs = [
            (r.name, Job(r.path.absolute(), self.config.sampling, self.runtime.decoder, self.runtime.partial))
            for r in sorted(self.todo, key=lambda r: self._unopened[r.name], reverse=True)
        ]
        count = min(self.runtime.workers or os.cpu_count() or 1, len(jobs))
        with (
            ThreadPoolExecutor(1) as writer,
            Lanes(jobs, count, self.runtime.timeout_s, _QUEUE_BYTES) as lanes,
        ):
            self._writer = writer
            under_way = len(jobs)
            while under_way:
                item = lanes.get(_IDLE_S)
                if item is None:  # the decoders are slow just now: what is there need not wait for them
                    self._embed_pending()
                else:
                    self._handle(records[item[0]], item[1])
                    under_way -= isinstance(item[1], Finished | Failed)
                self._collect_writes(wait=False)
                self._report()
            self._embed_pending()
            self._collect_writes(wait=True)

    def _handle(self, record: VideoRecord, message: Message) -> None:
        if isinstance(message, Opened):
            shape = (message.picks.n_snippets, self.config.crops, FEATURE_DIM)
            self._videos[record.name] = _Video(
                record, message.picks, message.duration_s, np.zeros(shape, np.float32)
            )
            self._opened_bytes += self._unopened.pop(record.name)
            self._snippets_opened += message.picks.n_snippets
        elif isinstance(message, PictureData):
            video = self._videos[record.name]
            video.sent += 1
            if self._batches.add((video, message.pick), message.pixels):
                self._embed_pending(leave=1)
        elif isinstance(message, Finished):
            self._videos[record.name].finished = message
            self._write_if_complete(self._videos[record.name])
        else:
            self._unopened.pop(record.name, None)
            self._videos.pop(record.name, None)
            self._fail(record, message)

    def _embed_pending(self, *, leave: int = 0) -> None:
        """Start what is pending, then take in what the device has finished, all but `leave` batches."""
        self._batches.start()
        for (video, pick), embedding in self._batches.results(leave=leave):
            video.add(pick, embedding)
            self._snippets_done += int(video.picks.completes[pick])
            self._write_if_complete(video)

    def _write_if_complete(self, video: _Video) -> None:
        if not video.complete:
            return
        del self._videos[video.record.name]
        features = video.features(self.encoder.fingerprint, self.config)
        path = feature_path(self.features_dir, video.record.name)
        self._writes.append((video.record, self._writer.submit(write_features, path, features)))
        self._footage_s += video.footage_s

    def _collect_writes(self, *, wait: bool) -> None:
        while self._writes and (wait or self._writes[0][1].done()):
            record, write = self._writes.popleft()
            try:
                write.result()
                self._extracted.append(record.name)
            except (OSError, FeatureFileError) as error:
                self._fail(record, Failed(f"the features can't be written: {error}"))

    def _fail(self, record: VideoRecord, failed: Failed) -> None:
        self._failures[record.name] = Failure(record.name, record.path, failed.reason, failed.frame)
        with suppress(OSError, ValueError):  # a full disk, say; `execute` tries once more at the end
            if record.path.is_file():  # what features there are, are of an earlier content or config
                feature_path(self.features_dir, record.name).unlink(missing_ok=True)
            self._list_failures()

    def _list_failures(self) -> None:
        try:
            write_failures(self.features_dir, [*self._earlier, *self._failures.values()])
        except OSError as error:
            first = next(iter(self._failures.values()), None)
            raise ValueError(
                f"the list of failures can't be written to {self.features_dir}: {error.strerror}; "
                f"{len(self._failures)} videos failed"
                + (f", {first.name} first: {first.reason}" if first else "")
            ) from error

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self.on_progress is None or (not force and now < self._reported + _IDLE_S):
            return
        self._reported = now
        done = len(self._extracted) + len(self._failures)
        per_byte = self._snippets_opened / self._opened_bytes if self._opened_bytes else 0
        self.on_progress(
            ExtractProgress(
                videos_done=done + len(self.reused),
                videos_total=len(self.todo) + len(self.reused),
                snippets_done=self._snippets_done,
                snippets_total=self._snippets_opened + round(per_byte * sum(self._unopened.values())),
                footage_s_done=self._footage_s,
                failures=len(self._failures),
                elapsed_s=now - self._started,
            )
        )


def _file_bytes(record: VideoRecord) -> int:
    try:
        return record.path.stat().st_size
    except OSError:
        return 0  # its decoder meets the same error, and names it
