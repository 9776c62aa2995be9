"""Progress of an extraction: counts of videos, snippets and seconds of footage, reported to a callback."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_REPORT_INTERVAL_S = 0.5


@dataclass
class ExtractProgress:
    """State of a run. A video counts as done when its file is written or reused, or the video has failed."""

    videos_done: int
    videos_total: int
    snippets_done: int
    snippets_total: int
    """Estimated from file sizes until every video has been opened."""
    footage_s_done: float
    failures: int
    elapsed_s: float


class ProgressTracker:
    """Counts the events of a run and reports them at most twice a second."""

    def __init__(
        self,
        callback: Callable[[ExtractProgress], None] | None,
        file_bytes: Mapping[str, int],
        already_done: int,
    ) -> None:
        """`file_bytes` maps each video to extract to its size; `already_done` others need no work."""
        self._callback = callback
        self._unopened_bytes = dict(file_bytes)
        self._opened_bytes = 0
        self._opened_snippets = 0
        self._snippets_done = 0
        self._footage_s = 0.0
        self._total = len(file_bytes) + already_done
        self._done = already_done
        self._failures = 0
        self._started = time.monotonic()
        self._reported = 0.0

    def video_opened(self, name: str, snippets: int) -> None:
        size = self._unopened_bytes.pop(name, None)
        if size is not None:  # not opened before by a process that was killed
            self._opened_bytes += size
            self._opened_snippets += snippets

    def snippets_done(self, count: int) -> None:
        self._snippets_done += count

    def footage_done(self, seconds: float) -> None:
        self._footage_s += seconds

    def video_written(self) -> None:
        self._done += 1

    def video_failed(self, name: str) -> None:
        self._unopened_bytes.pop(name, None)
        self._done += 1
        self._failures += 1

    def report(self, *, force: bool = False) -> None:
        """Call the callback with the current counts; without `force`, at most twice a second."""
        now = time.monotonic()
        if self._callback is None or (not force and now < self._reported + _REPORT_INTERVAL_S):
            return
        self._reported = now
        snippets_per_byte = self._opened_snippets / self._opened_bytes if self._opened_bytes else 0
        estimate = round(snippets_per_byte * sum(self._unopened_bytes.values()))
        total = self._opened_snippets + estimate
        self._callback(
            ExtractProgress(
                videos_done=self._done,
                videos_total=self._total,
                # Of a killed process's unfinished videos, snippets are counted twice.
                snippets_done=min(self._snippets_done, total),
                snippets_total=total,
                footage_s_done=self._footage_s,
                failures=self._failures,
                elapsed_s=now - self._started,
            )
        )
