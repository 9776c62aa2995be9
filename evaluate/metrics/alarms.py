"""Alarms at every threshold at once: which alarms exist, and how many false ones there are an hour.

An alarm is a run of snippets whose score reaches the threshold. When the threshold falls, alarms appear, grow
and merge, so a video of T snippets has at most T different alarms over all thresholds. Each of them exists
for one range of thresholds; sorted by these ranges they give the number of false alarms at every threshold,
without cutting the scores again for each. The definitions of the figures stand in `evaluate.metrics.events`.

Shapes: T snippets, A alarms, V videos, K changes of the number of false alarms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluate.scores import VideoScores
from evaluate.snippet_times import recorded_spans

Array = NDArray[Any]
LASTING_ALARM_S = 60.0
"""Each full minute of normal footage under one alarm counts as a false alarm."""


class Alarms(NamedTuple):
    """The different alarms of one video. Each exists at the thresholds t with low < t <= high."""

    start_A: Array
    """First snippet."""
    stop_A: Array
    """Last snippet + 1."""
    low_A: Array
    high_A: Array


class Footage(NamedTuple):
    """Frames and duration of each of the T snippets of a video, as `anomalous_intervals` counts them."""

    start_frame_T: Array
    end_frame_T: Array
    """Exclusive. Frames beside a pause inside the snippet are left out."""
    seconds_T: Array
    """From the times of the score file if it has them (a pause is no footage), else from the frame rate."""
    after_pause: list[int]
    """Indices of the snippets before which the recording pauses: an alarm ends there, and another begins."""


def footage(scores: VideoScores) -> Footage:
    """The footage of one video."""
    if (spans := recorded_spans(scores)) is not None:
        seconds_T = spans.end_s_T - spans.start_s_T
        pauses = spans.first_after_pause.tolist()
        return Footage(spans.start_frame_T, spans.end_frame_T, seconds_T, pauses)
    start_T = np.arange(len(scores.anomaly_T)) * scores.snippet_length
    end_T = np.append(start_T[1:], scores.n_frames)
    if scores.start_s_T is None or scores.end_s_T is None:
        seconds_T = (end_T - start_T) / scores.fps
    else:
        seconds_T = scores.end_s_T - scores.start_s_T
    return Footage(start_T, end_T, seconds_T, [])


def all_alarms(scores_T: Array, after_pause: Sequence[int] = ()) -> Alarms:
    """The alarms of one video at all thresholds: each run of snippets that is bounded by lower scores.

    A run also ends before each of the snippets `after_pause`. The open runs are kept on a stack, lowest score
    first. A snippet with a lower score closes those above it.
    """
    found: list[tuple[float, ...]] = []
    open_runs: list[tuple[int, float]] = [(0, -1.0)]
    values = scores_T.tolist()
    parts = pairwise([0, *after_pause, len(values)])
    for first, last in parts:
        for snippet, score in enumerate([*values[first:last], -1.0], first):
            start = snippet
            while open_runs[-1][1] > score:
                start, high = open_runs.pop()
                found.append((start, snippet, max(open_runs[-1][1], score), high))
            if open_runs[-1][1] < score:
                open_runs.append((start, score))
    columns = np.array(found).T
    return Alarms(*columns[:2].astype(np.int64), *columns[2:])


def normal_seconds(shown: Footage, events_F: Array) -> tuple[Array, Array]:
    """(T,) seconds of normal footage in each snippet, and (T,) True for snippets with a frame of an event.

    `events_F` is True for the frames of events.
    """
    before = np.concatenate([[0], np.cumsum(events_F)])
    frames_T = before[shown.end_frame_T] - before[shown.start_frame_T]
    share_T = 1 - frames_T / (shown.end_frame_T - shown.start_frame_T)
    return shown.seconds_T * share_T, frames_T > 0


def false_alarm_counts(alarms: Alarms, normal_s_T: Array, events_T: Array) -> Array:
    """(A,) how many false alarms each alarm counts for.

    Args:
        alarms: The alarms of one video.
        normal_s_T: Seconds of normal footage in each snippet.
        events_T: True for snippets with a frame of an event.
    """
    normal_s, events = (np.concatenate([[0], np.cumsum(values)]) for values in (normal_s_T, events_T))
    lasting_A = (normal_s[alarms.stop_A] - normal_s[alarms.start_A]) / LASTING_ALARM_S
    meets_none_A = events[alarms.stop_A] == events[alarms.start_A]
    counts: Array = np.maximum(np.floor(lasting_A + 1e-6), meets_none_A)
    return counts


@dataclass(frozen=True, eq=False)
class FalseAlarms:
    """The number of false alarms of a set of videos as a function of the threshold.

    At the threshold t it is the sum of the changes whose score is at least t.
    """

    score_K: Array
    """In descending order."""
    change_K: Array
    video_K: Array
    hours_V: Array
    """Hours of normal footage of each video."""

    @classmethod
    def from_videos(cls, alarms: Sequence[tuple[Alarms, Array]], hours: Sequence[float]) -> "FalseAlarms":
        """From the alarms of each video with the number of false alarms that each is, and the hours."""
        score, change, video = [], [], []
        for index, (found, counts_A) in enumerate(alarms):
            false = counts_A > 0
            score += [found.high_A[false], found.low_A[false]]
            change += [counts_A[false], -counts_A[false]]
            video.append(np.full(2 * false.sum(), index))
        score_K, change_K, video_K = (np.concatenate(parts) for parts in (score, change, video))
        order = np.argsort(-score_K)
        return cls(score_K[order], change_K[order], video_K[order], np.array(hours))

    def counts_at(self, thresholds: Array) -> Array:
        """Number of false alarms at each threshold."""
        totals = np.concatenate([[0], np.cumsum(self.change_K)])
        counts: Array = totals[np.searchsorted(-self.score_K, -thresholds.astype(np.float32), side="right")]
        return counts

    def bound(self, rate: float, weights_V: Array | None = None) -> float:
        """The highest score that is too low a threshold; -1 if none is.

        At every threshold above it there are at most `rate` false alarms an hour of normal footage. With
        `weights_V` a video counts as often as its weight says.
        """
        weights_V = np.ones(len(self.hours_V)) if weights_V is None else weights_V
        allowed = rate * float(self.hours_V @ weights_V) * (1 + 1e-9)
        count = 0.0
        for first, ends in self._blocks:
            part = slice(first, int(ends[-1]) + 1)
            counts = count + np.cumsum(self.change_K[part] * weights_V[self.video_K[part]])[ends - first]
            if (over := counts > allowed).any():
                return float(self.score_K[ends[over.argmax()]])
            count = counts[-1]
        return -1.0

    @cached_property
    def _blocks(self) -> list[tuple[int, Array]]:
        """First entry and ends of the groups of equal scores, in blocks of doubling size.

        The bootstrap looks for a bound thousands of times, and the first few blocks usually hold it.
        """
        if not len(self.score_K):
            return []
        ends = np.append(np.flatnonzero(np.diff(self.score_K)), len(self.score_K) - 1)
        borders = [0, *(2**power for power in range(8, 64) if 2**power < len(ends)), len(ends)]
        parts = [ends[first:last] for first, last in pairwise(borders)]
        firsts = [0, *(int(part[-1]) + 1 for part in parts[:-1])]
        return list(zip(firsts, parts, strict=True))
