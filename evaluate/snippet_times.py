"""Times of snippets: from snippets and frames of one video to seconds of its recording.

The times are those of the recording where the score file has them; scores of imported features have none, and
their times follow from the frame rate.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluate.scores import VideoScores

Array = NDArray[Any]


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
