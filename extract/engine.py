"""The extraction run: decoder processes ahead, batches across videos, a writer thread behind.

    decoder pool ──▶ queue bounded in bytes ──▶ batches on the device ──▶ writer thread ──▶ NAME.h5

The calling thread feeds the device. Results are fetched one batch late, so that a GPU computes the next batch
meanwhile. An embedding does not depend on the other images of its batch, so a run that was killed and resumed
gives the same bytes as an uninterrupted one.
"""

import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt

from extract.batches import EmbeddingBatches
from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.decode.pool import DecoderPool
from extract.decode.process import Message, PictureData
from extract.decode.worker import Failed, Finished, Job, Opened
from extract.encoder import FrameEncoder, load_encoder
from extract.errors import InputError, MissingFileError
from extract.failures import Failure, append_failure, read_failures, write_failures
from extract.manifest import VideoRecord, check_name
from extract.progress import ExtractProgress, ProgressTracker
from extract.reuse import is_imported, is_up_to_date, locked_feature_folder
from extract.snippets import Picks
from extract.store import FeatureFileError, FeatureMeta, VideoFeatures, feature_path, write_features

_QUEUE_BYTES = 512_000_000
_MESSAGE_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class ExtractResult:
    """Names of the videos extracted and of those with up-to-date feature files, and the failures."""

    extracted: list[str]
    reused: list[str]
    failures: list[Failure]
    timing: dict[str, str] = field(default_factory=dict, repr=False)
    """Irregularities of extracted recordings by the video's name, for example pauses."""


def extract_videos(
    records: Sequence[VideoRecord],
    features_dir: Path,
    config: ExtractConfig,
    runtime: ExtractRuntime = ExtractRuntime(),  # noqa: B008  # frozen
    on_progress: Callable[[ExtractProgress], None] | None = None,
    *,
    encoder: FrameEncoder | None = None,
) -> ExtractResult:
    """Extract the features of videos: writes `features_dir/NAME.h5` per video, and `failures.csv`.

    Videos with an up-to-date feature file are skipped, so a repeated or interrupted run does only the rest. A
    video that can't be decoded does not end the run: it is listed in `failures.csv`.

    Args:
        records: The videos, with unique names; their labels and splits are not used.
        features_dir: Folder of the feature files; created if missing, locked during the run.
        config: Settings that determine the features.
        runtime: Device, decoder processes and error handling.
        on_progress: Called with the state of the run at most twice a second.
        encoder: Replaces the encoder that `config` and `runtime` select.

    Returns:
        The names of the videos extracted and reused, and the failures with their reasons.

    Raises:
        FileNotFoundError: There are no weights.
        InputError: The weights or the device are not usable, a name cannot be a file's, two videos have the
            same name, a video is gone whose features are outdated, the folder is not writable, or another
            extraction is running in it.

    Examples:
        >>> from pathlib import Path
        >>> from extract import ExtractConfig, extract_videos
        >>> from extract.manifest import VideoRecord
        >>> video = VideoRecord("video", Path("video.mp4"), ("normal",), "test")
        >>> extract_videos([video], Path("features"), ExtractConfig(weights="random"))
        ExtractResult(extracted=['video'], reused=[], failures=[])
    """
    _check_names(records)
    with _sigterm_as_exit(), locked_feature_folder(features_dir):
        if all(is_imported(record, features_dir) for record in records):
            return _only_reused(records, features_dir)  # needs no weights
        encoder = encoder or load_encoder(
            config.weights, runtime.device, config.precision, runtime.batch_size
        )
        fingerprint = encoder.fingerprint
        with ThreadPoolExecutor() as pool:
            done = list(
                pool.map(lambda r: is_up_to_date(r, features_dir, config, fingerprint, runtime), records)
            )
        todo = [record for record, up_to_date in zip(records, done, strict=True) if not up_to_date]
        _require_sources(todo, features_dir)
        reused = [record.name for record, up_to_date in zip(records, done, strict=True) if up_to_date]
        return _ExtractionRun(todo, reused, features_dir, config, runtime, encoder, on_progress).execute()


def _only_reused(records: Sequence[VideoRecord], features_dir: Path) -> ExtractResult:
    names = [record.name for record in records]
    write_failures(features_dir, [one for one in read_failures(features_dir) if one.name not in names])
    return ExtractResult([], names, [])


def _check_names(records: Sequence[VideoRecord]) -> None:
    for record in records:
        check_name(record.name)
    name, count = next(iter(Counter(record.name for record in records).most_common(1)), ("", 0))
    if count > 1:
        raise InputError(f"{count} videos are named {name!r}; names must be unique, feature files carry them")


def _require_sources(todo: Sequence[VideoRecord], features_dir: Path) -> None:
    """Raise MissingFileError for videos that are gone and have outdated features, before any is decoded.

    A video that is gone and has no features is a failure like others: its file may have been moved meanwhile.
    """
    gone = [r for r in todo if not r.path.exists() and feature_path(features_dir, r.name).is_file()]
    if gone:
        raise MissingFileError(
            f"{len(gone)} videos are gone whose features must be extracted again (made with other settings "
            f"or weights, or damaged), first: {gone[0].name}, {gone[0].path}; restore the videos, return to "
            f"the settings of the features, or delete the feature files in {features_dir} and the rows"
        )


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that the run is unwound; a handler of the program is kept.

    Only the main thread may set signal handlers; in another thread nothing is changed.
    """
    replace = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if replace:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        if replace:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


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

    def add(self, pick: int, embedding: npt.NDArray[np.float32]) -> None:
        """Add a (crops, 512) embedding. Picks arrive in order, so float sums are equal in every run."""
        self.sums[self.picks.snippet[pick]] += embedding
        self.embedded += 1

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


class _ExtractionRun:
    """One call of `extract_videos`, after the up-to-date videos were set aside."""

    def __init__(
        self,
        todo: Sequence[VideoRecord],
        reused: list[str],
        features_dir: Path,
        config: ExtractConfig,
        runtime: ExtractRuntime,
        encoder: FrameEncoder,
        on_progress: Callable[[ExtractProgress], None] | None,
    ) -> None:
        self._records = {record.name: record for record in todo}
        self._file_bytes = {record.name: _file_bytes(record) for record in todo}
        self._reused = reused
        self._features_dir = features_dir
        self._config = config
        self._runtime = runtime
        self._encoder = encoder
        self._progress = ProgressTracker(on_progress, self._file_bytes, len(reused))
        self._batches: EmbeddingBatches[tuple[_OpenVideo, int]] = EmbeddingBatches(encoder, config.views)
        self._open: dict[str, _OpenVideo] = {}
        self._writer = ThreadPoolExecutor(1)
        self._writes: deque[tuple[VideoRecord, Future[None]]] = deque()
        self._extracted: list[str] = []
        self._failures: dict[str, Failure] = {}
        self._timing: dict[str, str] = {}

    def execute(self) -> ExtractResult:
        names = {*self._records, *self._reused}
        self._other_failures = [f for f in read_failures(self._features_dir) if f.name not in names]
        self._progress.report(force=True)
        with self._writer:
            if self._records:
                self._extract_all()
        self._write_failures()
        self._progress.report(force=True)
        return ExtractResult(
            sorted(self._extracted), self._reused, list(self._failures.values()), self._timing
        )

    def _extract_all(self) -> None:
        jobs = self._jobs()
        workers = min(self._runtime.workers or joblib.cpu_count(), len(jobs))
        with DecoderPool(jobs, workers, self._runtime.timeout_s, _QUEUE_BYTES) as decoders:
            for item in decoders.messages(_MESSAGE_TIMEOUT_S):
                if item is None:  # decoding is slow at the moment: do not hold back a partial batch
                    self._embed_pending()
                else:
                    name, message = item
                    self._handle(self._records[name], message)
                self._collect_writes(wait=False)
                self._progress.report()
            self._embed_pending()
            self._collect_writes(wait=True)

    def _jobs(self) -> list[tuple[str, Job]]:
        """Jobs by size of the file, largest first: started last, it would leave the other decoders idle."""
        runtime = self._runtime
        return [
            (name, Job(record.path.absolute(), self._config.sampling, runtime.decoder, runtime.partial))
            for name, record in sorted(
                self._records.items(), key=lambda item: self._file_bytes[item[0]], reverse=True
            )
        ]

    def _handle(self, record: VideoRecord, message: Message) -> None:
        if record.name in self._failures:  # its other messages were on their way when it failed
            return
        if isinstance(message, Opened):
            self._open_video(record, message)
        elif isinstance(message, PictureData):
            video = self._open[record.name]
            video.decoded += 1
            if self._batches.add((video, message.pick), message.pixels):
                self._embed_pending(keep_in_flight=1)
        elif isinstance(message, Finished):
            self._open[record.name].finished = message
            if message.source.timing:
                self._timing[record.name] = message.source.timing
            self._write_if_complete(self._open[record.name])
        else:
            self._open.pop(record.name, None)
            self._fail(record, message)

    def _open_video(self, record: VideoRecord, opened: Opened) -> None:
        shape = (opened.picks.n_snippets, self._config.crops, FEATURE_DIM)
        try:
            sums = np.zeros(shape, np.float32)
        except MemoryError:
            self._fail(record, Failed(f"its {opened.picks.n_snippets} snippets do not fit into the memory"))
            return
        self._open[record.name] = _OpenVideo(record, opened.picks, opened.duration_s, sums)
        self._progress.video_opened(record.name, opened.picks.n_snippets)

    def _embed_pending(self, *, keep_in_flight: int = 0) -> None:
        """Launch the pending pictures, then fetch all batches except for the last `keep_in_flight`."""
        self._batches.launch()
        for (video, pick), embedding in self._batches.results(keep_in_flight=keep_in_flight):
            video.add(pick, embedding)
            if video.picks.last_in_snippet[pick]:
                self._progress.snippet_done()
            self._write_if_complete(video)

    def _write_if_complete(self, video: _OpenVideo) -> None:
        if not video.complete:
            return
        del self._open[video.record.name]
        features = video.features(self._encoder.fingerprint, self._config)
        path = feature_path(self._features_dir, video.record.name)
        self._writes.append((video.record, self._writer.submit(write_features, path, features)))
        self._progress.footage_done(video.duration_s)

    def _collect_writes(self, *, wait: bool) -> None:
        while self._writes and (wait or self._writes[0][1].done()):
            record, write = self._writes.popleft()
            try:
                write.result()
                self._extracted.append(record.name)
                self._progress.video_written()
            except (OSError, FeatureFileError) as error:
                self._fail(record, Failed(f"the features can't be written: {error}"))
            except MemoryError:
                self._fail(record, Failed("the features can't be written: out of memory"))

    def _fail(self, record: VideoRecord, failed: Failed) -> None:
        failure = Failure(record.name, record.path, failed.reason, failed.frame)
        self._failures[record.name] = failure
        self._progress.video_failed(record.name)
        with suppress(OSError, InputError):  # on a full disk, for example; `execute` writes the list again
            if record.path.is_file():  # the old features were made from another content or config
                feature_path(self._features_dir, record.name).unlink(missing_ok=True)
            if len(self._failures) == 1:  # the list of an earlier run may have rows of these videos
                self._write_failures()
            else:
                append_failure(self._features_dir, failure)

    def _write_failures(self) -> None:
        try:
            write_failures(self._features_dir, [*self._other_failures, *self._failures.values()])
        except OSError as error:
            first = next(iter(self._failures.values()), None)
            raise InputError(
                f"the failure list can't be written to {self._features_dir}: {error.strerror}; "
                f"{len(self._failures)} videos failed"
                + (f", {first.name} first: {first.reason}" if first else "")
            ) from error


def _file_bytes(record: VideoRecord) -> int:
    try:
        return record.path.stat().st_size
    except OSError:
        return 0  # the decoder meets the same error and reports it
