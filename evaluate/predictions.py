"""Predictions for one video from its scores: video score, class, anomalous intervals.

Video-level predictions use the top-k snippets by anomaly score, k = floor(T / 16) + 1, as in training (paper,
section 3).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.scores import VideoScores
from evaluate.snippet_times import Span, recorded_spans, snippet_frame, whole_span
from extract.errors import InputError

Array = NDArray[Any]
ANOMALOUS = "anomalous"
"""Predicted class of an anomalous video or interval if the detector has no classes."""


@dataclass(frozen=True)
class Interval:
    """An alarm: consecutive snippets with a score at or above the threshold, recorded without a pause."""

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    """Exclusive."""
    label: str
    """Anomaly class with the highest mean score in the interval, or ANOMALOUS."""
    score: float
    """Mean anomaly score, in [0, 1]."""
    peak: float
    """Highest anomaly score, in [0, 1]."""
    peak_frame: int
    """Frame of the first snippet with that score."""


def top_snippets(scores: VideoScores) -> Array:
    """(k,) indices of the snippets with the highest anomaly scores, in descending order."""
    k = len(scores.anomaly_T) // 16 + 1
    return np.argsort(-scores.anomaly_T, kind="stable")[:k]


def video_score(scores: VideoScores) -> float:
    """Mean anomaly score of the top-k snippets, in [0, 1]."""
    return float(scores.anomaly_T[top_snippets(scores)].mean())


def likeliest_anomaly(scores: VideoScores) -> str:
    """Anomaly class with the highest mean score over the top-k snippets, or ANOMALOUS."""
    return _likeliest(scores, top_snippets(scores))


def predicted_class(scores: VideoScores, threshold: float) -> str:
    """The normal class if the video score is below `threshold`, else the likeliest anomaly class.

    The highest of all class scores would nearly always be normal: belief modulation divides the anomalous
    share among the anomaly classes (13 on UCF-Crime).
    """
    return likeliest_anomaly(scores) if video_score(scores) >= threshold else scores.classes[0]


def held_scores(anomaly_T: Array, release: float) -> Array:
    """(T,) scores whose runs at or above a threshold are the alarms with hysteresis.

    An alarm begins where the score reaches the threshold, and ends where it is below `release` times the
    threshold. So a snippet is in the alarm if its score reaches the threshold, or if the snippet before is in
    it and its score reaches `release` times the threshold. Without hysteresis (`release` 1): the scores.
    Raises InputError for a `release` that is not in (0, 1].
    """
    if not 0 < release <= 1:
        raise InputError(f"the release is {release:g}, expected a share of the threshold in (0, 1]")
    if release == 1:
        return anomaly_T
    held_T: Array = anomaly_T.copy()
    kept_T = anomaly_T / np.float32(release)
    for snippet in range(1, len(held_T)):
        held_T[snippet] = max(held_T[snippet], min(held_T[snippet - 1], kept_T[snippet]))
    return held_T


def alarm_runs(held_T: Array, threshold: float) -> Array:
    """(A, 2): first snippet and last snippet + 1 of each alarm, in time order."""
    above = np.pad(held_T >= threshold, 1)
    edges: Array = np.flatnonzero(above[1:] != above[:-1])
    return edges.reshape(len(edges) // 2, 2)


def anomalous_intervals(scores: VideoScores, threshold: float = 0.5, release: float = 1.0) -> list[Interval]:
    """The alarms of one video, in time order; empty if no snippet reaches `threshold`.

    An interval ends before the first snippet below `release` times the threshold (`held_scores`). An alarm
    that goes on after a pause of the recording becomes two intervals.
    """
    runs = alarm_runs(held_scores(scores.anomaly_T, release), threshold).tolist()
    spans = recorded_spans(scores)
    if spans is None:
        return [_interval(scores, whole_span(scores, *run), *run) for run in runs]
    pieces = (piece for start, stop in runs for piece in _split(start, stop, spans.first_after_pause))
    return [_interval(scores, spans.join(*piece), *piece) for piece in pieces]


def _split(start: int, stop: int, borders: Array) -> Iterable[tuple[int, int]]:
    """The parts of [start, stop) between the borders inside it."""
    return pairwise([start, *borders[(borders > start) & (borders < stop)].tolist(), stop])


def _interval(scores: VideoScores, span: Span, start: int, stop: int) -> Interval:
    """The interval of the snippets [start, stop)."""
    inside = scores.anomaly_T[start:stop]
    return Interval(
        **span._asdict(),
        label=_likeliest(scores, np.arange(start, stop)),
        score=float(inside.mean()),
        peak=float(inside.max()),
        peak_frame=snippet_frame(scores, start + int(inside.argmax())),
    )


def _likeliest(scores: VideoScores, snippets: Array) -> str:
    """Anomaly class with the highest mean score over `snippets`, or ANOMALOUS."""
    if scores.classes_TC is None:
        return ANOMALOUS
    mean_C = scores.classes_TC[snippets].mean(axis=0)
    return scores.classes[1 + int(mean_C[1:].argmax())]
