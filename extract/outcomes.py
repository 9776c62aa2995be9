"""The outcomes of the videos of a run: counted, reported as progress, and listed in `failures.csv`."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from extract.decode.worker import Failed
from extract.errors import InputError
from extract.manifest import VideoRecord
from extract.progress import ExtractProgress, ProgressTracker
from extract.remembered import FailureLog, file_stamp
from extract.store import feature_path


class Outcomes:
    """The outcomes of the videos in `todo`; `already_done` others need no work."""

    def __init__(
        self,
        todo: Iterable[VideoRecord],
        already_done: int,
        features_dir: Path,
        failures: FailureLog,
        on_progress: Callable[[ExtractProgress], None] | None,
        on_written: Callable[[Path], None] | None = None,
    ) -> None:
        self._files = {record.name: file_stamp(record.path) for record in todo}
        """State of each video before it is decoded."""
        self._file_bytes = {name: size or 0 for name, (size, *_) in self._files.items()}
        self._features_dir = features_dir
        self._failures = failures
        self._on_written = on_written
        self._progress = ProgressTracker(on_progress, self._file_bytes, already_done)
        self.extracted: list[str] = []
        self.timing: dict[str, str] = {}
        """Irregularities of the recordings, for example pauses."""

    def largest_first(self, videos: Iterable[VideoRecord]) -> list[VideoRecord]:
        """These videos of `todo`, the largest file first: started last, it would keep the run waiting."""
        return sorted(videos, key=lambda record: self._file_bytes[record.name], reverse=True)

    def opened(self, record: VideoRecord, snippets: int) -> None:
        self._progress.video_opened(record.name, snippets)

    def snippets_done(self, count: int) -> None:
        self._progress.snippets_done(count)

    def written(self, record: VideoRecord, duration_s: float, timing: str) -> None:
        """The feature file of a video is complete."""
        self.extracted.append(record.name)
        if timing:
            self.timing[record.name] = timing
        self._progress.footage_done(duration_s)
        self._progress.video_written()
        if self._on_written is not None:
            self._on_written(feature_path(self._features_dir, record.name))

    def failed(self, record: VideoRecord, failed: Failed) -> None:
        """A video gets no features: list it, and remove features of an earlier content."""
        self._progress.video_failed(record.name)
        with suppress(OSError, InputError):  # on a full disk, for example; `finish` writes the list again
            if record.path.is_file():  # the old features were made from another content or config
                feature_path(self._features_dir, record.name).unlink(missing_ok=True)
            self._failures.add(record, failed, self._files[record.name])

    def report(self, *, force: bool = False) -> None:
        """Report the progress, at most twice a second unless `force` is set."""
        self._progress.report(force=force)

    def finish(self) -> None:
        """Write the failure list. Raises InputError if the disk refuses."""
        self._failures.write()
        self.report(force=True)
