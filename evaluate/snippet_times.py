"""Times of snippets: from snippets and frames of one video to seconds of its recording.

The times are those of the recording where the score file has them; scores of imported features have none, and
their times follow from the frame rate.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluate.scores import VideoScores

PAUSE_S = 1.0
"""Seconds without a picture that count as a pause (and at least five frames), as in the extraction."""
Array = NDArray[Any]


class Span(NamedTuple):
    """Start and end of consecutive snippets."""

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    """Exclusive."""


class RecordedSpans(NamedTuple):
    """The part of each of T snippets that was recorded without a pause, around the frame of its features."""

    start_s_T: Array
    end_s_T: Array
    start_frame_T: Array
    end_frame_T: Array

    def join(self, start: int, stop: int) -> Span:
        """The span of the snippets [start, stop)."""
        return Span(
            float(self.start_s_T[start]),
            float(self.end_s_T[stop - 1]),
            int(self.start_frame_T[start]),
            int(self.end_frame_T[stop - 1]),
        )

    @property
    def first_after_pause(self) -> Array:
        """Indices of the snippets before which the recording pauses."""
        after: Array = np.flatnonzero(self.start_s_T[1:] > self.end_s_T[:-1] + 1e-6) + 1
        return after


def snippet_frame(scores: VideoScores, snippet: int) -> int:
    """Frame that represents a snippet: the one its features were computed from, else its middle frame."""
    if scores.frame_index_T is not None:
        return int(scores.frame_index_T[snippet])
    return min(snippet * scores.snippet_length + scores.snippet_length // 2, scores.n_frames - 1)


def seconds_at(scores: VideoScores, frame: int) -> float:
    """Time of a frame in seconds, from the times of its snippet; `n_frames` gives the end of the video.

    Without such times, as in imported features, frame / fps.
    """
    if frame >= scores.n_frames:
        return snippets_end(scores, len(scores.anomaly_T))
    snippet = min(frame // scores.snippet_length, len(scores.anomaly_T) - 1)
    start = snippets_start(scores, snippet)
    first = snippet * scores.snippet_length
    if (times := _known_times(scores)) is None:
        return start + (frame - first) / scores.fps
    known, time = int(times.frame_T[snippet]), float(times.time_s_T[snippet])
    if frame < known:
        return start + (time - start) * (frame - first) / (known - first)
    return min(time + (frame - known) * times.step_s, snippets_end(scores, snippet + 1))


def snippets_start(scores: VideoScores, snippet: int) -> float:
    """Seconds at which the first frame of a snippet begins."""
    if scores.start_s_T is not None:
        return float(scores.start_s_T[snippet])
    return _border(scores, snippet, after=True)


def snippets_end(scores: VideoScores, stop: int) -> float:
    """Seconds at which the last frame before the snippet `stop` (1 … T) ends."""
    if scores.end_s_T is not None:
        return float(scores.end_s_T[stop - 1])
    return _border(scores, stop, after=False)


def _border(scores: VideoScores, snippet: int, *, after: bool) -> float:
    """Time between the snippets `snippet` - 1 and `snippet`, for a file without starts and ends.

    It is interpolated between the times of the two; at a pause of the recording it is the pause's end
    (`after`) or its start.
    """
    last = len(scores.anomaly_T)
    frame = scores.n_frames if snippet == last else snippet * scores.snippet_length
    if (found := _known_times(scores)) is None:
        return frame / scores.fps
    known, times = found.frame_T, found.time_s_T
    if 0 < snippet < last:
        usual = (known[snippet] - known[snippet - 1]) * found.step_s
        if not found.even or times[snippet] - times[snippet - 1] <= usual + 1:
            return float(np.interp(frame, known, times))
    nearest = snippet if after else snippet - 1
    return max(0.0, float(times[nearest] + (frame - known[nearest]) * found.step_s))


def whole_span(scores: VideoScores, start: int, stop: int) -> Span:
    """The span of the snippets [start, stop), with the pauses in them."""
    reaches_end = stop == len(scores.anomaly_T)
    return Span(
        snippets_start(scores, start),
        snippets_end(scores, stop),
        start * scores.snippet_length,
        scores.n_frames if reaches_end else stop * scores.snippet_length,
    )


def recorded_spans(scores: VideoScores) -> RecordedSpans | None:
    """Spans of the snippets; before a pause of the recording, a span ends earlier than the next one starts.

    A score file has no time for a pause inside a snippet. Such a span has only frames that are certain: it
    ends with the frame of the features, or starts with it. None for a file without the times of snippets.
    """
    frame_T, time_T = scores.frame_index_T, scores.time_s_T
    if scores.start_s_T is None or scores.end_s_T is None or frame_T is None or time_T is None:
        return None
    step = 1 / scores.fps
    pause_s = max(PAUSE_S, 5 * step) - step
    start_frame_T = np.arange(len(frame_T)) * scores.snippet_length
    end_frame_T = np.append(start_frame_T[1:], scores.n_frames)
    before_T, usual_before_T = time_T - scores.start_s_T, (frame_T - start_frame_T) * step
    after_T, usual_after_T = scores.end_s_T - time_T, (end_frame_T - frame_T) * step
    # A low frame rate makes both halves longer, a pause one of them.
    paused_before_T = (before_T > usual_before_T + pause_s) & (after_T < 1.5 * usual_after_T)
    paused_after_T = (after_T > usual_after_T + pause_s) & (before_T < 1.5 * usual_before_T)
    return RecordedSpans(
        np.where(paused_before_T, time_T, scores.start_s_T),
        np.where(paused_after_T, time_T + step, scores.end_s_T),
        np.where(paused_before_T, frame_T, start_frame_T),
        np.where(paused_after_T, frame_T + 1, end_frame_T),
    )


def span_start(scores: VideoScores, snippet: int) -> float:
    """Seconds at which the interval of an alarm begins that begins with this snippet."""
    spans = recorded_spans(scores)
    return snippets_start(scores, snippet) if spans is None else float(spans.start_s_T[snippet])


class _KnownTimes(NamedTuple):
    """The frames of known time, and the seconds from frame to frame."""

    frame_T: Array
    time_s_T: Array
    step_s: float
    even: bool
    """True if most snippets agree on the step: then it is their median, else 1 / fps."""


def _known_times(scores: VideoScores) -> _KnownTimes | None:
    """None for scores without times, as of imported features."""
    frames, times = scores.frame_index_T, scores.time_s_T
    if frames is None or times is None:
        return None
    steps = np.diff(times) / np.maximum(np.diff(frames), 1)
    median = float(np.median(steps)) if len(steps) else 0.0
    even = median > 0 and bool((np.abs(steps - median) <= 0.1 * median).mean() > 0.5)
    return _KnownTimes(frames, times, median if even else 1 / scores.fps, even)
