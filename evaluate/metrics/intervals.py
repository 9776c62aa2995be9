"""Anomalous intervals of one video: when, which class, how sure. This is what `dsanet score` prints."""

from dataclasses import dataclass

import numpy as np

from evaluate.predictions import ANOMALOUS
from evaluate.scores import VideoScores


@dataclass(frozen=True)
class Interval:
    """Neighbouring snippets at or above the threshold; times in seconds, the end frame exclusive."""

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    label: str  # anomaly class with the highest mean belief over the interval, or ANOMALOUS
    score: float  # mean anomaly score
    peak: float  # highest anomaly score
    peak_frame: int  # middle frame of the first snippet with that score


def anomalous_intervals(scores: VideoScores, threshold: float = 0.5) -> list[Interval]:
    """The intervals in time order; an empty list where no snippet reaches the threshold."""
    above = np.pad(scores.anomaly_T >= threshold, 1)
    edges = np.flatnonzero(above[1:] != above[:-1])
    return [
        _interval(scores, int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def _interval(scores: VideoScores, start: int, end: int) -> Interval:
    start_frame = start * scores.snippet_length
    last = end == len(scores.anomaly_T)
    end_frame = scores.n_frames if last else end * scores.snippet_length
    inside = scores.anomaly_T[start:end]
    return Interval(
        start_s=seconds_at(scores, start_frame),
        end_s=seconds_at(scores, end_frame),
        start_frame=start_frame,
        end_frame=end_frame,
        label=_label(scores, start, end),
        score=float(inside.mean()),
        peak=float(inside.max()),
        peak_frame=snippet_frame(scores, start + int(inside.argmax())),
    )


def _label(scores: VideoScores, start: int, end: int) -> str:
    if scores.classes_TC is None:
        return ANOMALOUS
    return scores.classes[1 + int(scores.classes_TC[start:end, 1:].mean(axis=0).argmax())]


def snippet_frame(scores: VideoScores, snippet: int) -> int:
    """The frame that stands for a snippet: the one the features were made of, else its middle."""
    if scores.frame_index_T is not None:
        return int(scores.frame_index_T[snippet])
    return min(snippet * scores.snippet_length + scores.snippet_length // 2, scores.n_frames - 1)


def seconds_at(scores: VideoScores, frame: int) -> float:
    """Time of a frame: along the known times of the snippets (variable frame rates), else frame / fps."""
    if scores.time_s_T is None or scores.frame_index_T is None:
        return frame / scores.fps
    known, times = scores.frame_index_T, scores.time_s_T
    beyond = min(frame - known[0], 0) + max(frame - known[-1], 0)
    return max(0.0, float(np.interp(frame, known, times) + beyond / scores.fps))
