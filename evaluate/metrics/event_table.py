"""Events and false alarms of a test set at every threshold: the table behind `evaluate.metrics.events`.

The definitions stand there. Everything here is found once, for all thresholds.

Shapes: T snippets, F frames, V videos, E events, S snippets of one event, A alarms, P ranges of thresholds,
D distinct scores.

Scores are float32, and thresholds are compared with them in float32, as `alarm_runs` does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import Segment, VideoTruth, frame_labels, merge_overlaps
from evaluate.evaluated_videos import EvaluatedVideo
from evaluate.metrics.alarms import (
    Alarms,
    FalseAlarms,
    Footage,
    all_alarms,
    false_alarm_counts,
    footage,
    normal_seconds,
)
from evaluate.predictions import held_scores
from evaluate.scores import VideoScores
from evaluate.snippet_times import seconds_at, span_start

Array = NDArray[Any]
EVENT_IOU = 0.3
"""Least IoU of an alarm with an event that it finds by `found_iou`."""


@dataclass(frozen=True, eq=False)
class Event:
    """One event, and the thresholds at which alarms find it."""

    segment: Segment
    video: int
    """Index of its video."""
    scores: VideoScores
    snippets: range
    """Its S snippets; none for an event of a few frames beside a pause of the recording."""
    reached_S: Array
    """Highest score up to each of its snippets: the first alarm begins where it reaches the threshold."""
    low_P: Array
    """At thresholds in one of the ranges (low, high], an alarm with an IoU of at least EVENT_IOU exists."""
    high_P: Array

    def delay_s(self, threshold: float) -> float | None:
        """Seconds until the first alarm; None if there is none."""
        alarm = int(np.searchsorted(self.reached_S, np.float32(threshold)))
        if alarm == len(self.snippets):
            return None
        start = seconds_at(self.scores, self.segment.start_frame)
        return max(0.0, span_start(self.scores, self.snippets[alarm]) - start)


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events and false alarms of a test set, for all thresholds."""

    events: tuple[Event, ...]
    false_alarms: FalseAlarms
    score_D: Array
    """The distinct scores of all snippets, in descending order: all thresholds that make a difference."""
    release: float

    @cached_property
    def peaks(self) -> Array:
        """(E,) highest score in each event: it is found at thresholds up to that."""
        return np.array([event.reached_S.max(initial=-1) for event in self.events])

    @cached_property
    def videos(self) -> Array:
        """(E,) index of the video of each event."""
        return np.array([event.video for event in self.events], dtype=np.int64)

    def thresholds(self, rate: float) -> tuple[float, float] | None:
        """The range (low, high] of thresholds of the operating point, all with the same alarms.

        `high` is a score, `low` the next lower one (-1 if there is none). None if there is no such point.
        """
        above = int(np.searchsorted(-self.score_D, -self.false_alarms.bound(rate)))
        if not above:
            return None
        low = float(self.score_D[above]) if above < len(self.score_D) else -1.0
        return low, float(self.score_D[above - 1])

    def found(self, rate: float, weights_V: Array) -> float:
        """Share of the events that are found at the operating point, if videos count by their weights.

        The threshold is chosen anew with these weights. NaN if no event or no normal footage counts.
        """
        weights_E = weights_V[self.videos]
        total = weights_E.sum()
        if not total or not self.false_alarms.hours_V @ weights_V:
            return math.nan
        return float(weights_E @ (self.peaks > self.false_alarms.bound(rate, weights_V)) / total)


def event_table(videos: Sequence[EvaluatedVideo], release: float) -> EventTable | None:
    """The table of a test set; None without frame labels. `release`: see `held_scores`."""
    if any(video.labels_F is None for video in videos):
        return None
    held = [held_scores(video.scores.anomaly_T, release) for video in videos]
    events: list[Event] = []
    alarms, hours = [], []
    for index, video in enumerate(videos):
        scores, held_T = video.scores, held[index]
        segments = event_segments(video.truth, scores.n_frames)
        shown = footage(scores)
        found = all_alarms(held_T, shown.after_pause)
        normal_s_T, events_T = normal_seconds(shown, frame_labels(segments, scores.n_frames))
        alarms.append((found, false_alarm_counts(found, normal_s_T, events_T)))
        hours.append(float(normal_s_T.sum()) / 3600)
        for segment in segments:
            snippets, low_P, high_P = _meeting(segment, shown, found)
            reached_S = np.maximum.accumulate(held_T[snippets.start : snippets.stop])
            events.append(Event(segment, index, scores, snippets, reached_S, low_P, high_P))
    return EventTable(
        events=tuple(events),
        false_alarms=FalseAlarms.from_videos(alarms, hours),
        score_D=np.unique(np.concatenate(held))[::-1],
        release=release,
    )


def event_segments(truth: VideoTruth, n_frames: int) -> list[Segment]:
    """The events of one video: its segments, overlapping ones of a label united, up to the last frame."""
    segments = truth.segments or truth.frames or ()
    inside = [s._replace(end_frame=min(s.end_frame, n_frames)) for s in segments if s.start_frame < n_frames]
    return merge_overlaps(inside)


def matches_at(events: Sequence[Event], thresholds: Array) -> Array:
    """Number of the events that an alarm of IoU >= EVENT_IOU finds, at each threshold."""
    begun = _reaching(np.concatenate([event.high_P for event in events]), thresholds)
    return begun - _reaching(np.concatenate([event.low_P for event in events]), thresholds)


def _reaching(values: Array, thresholds: Array) -> Array:
    """Number of values that are at least each threshold."""
    return len(values) - np.searchsorted(np.sort(values), thresholds.astype(np.float32))


def _meeting(segment: Segment, shown: Footage, alarms: Alarms) -> tuple[range, Array, Array]:
    """The snippets of an event, and the thresholds at which an alarm has enough IoU with it."""
    _, start, end = segment
    first = np.searchsorted(shown.end_frame_T, start, side="right")
    stop = np.searchsorted(shown.start_frame_T, end)
    alarm_start, alarm_end = shown.start_frame_T[alarms.start_A], shown.end_frame_T[alarms.stop_A - 1]
    shared = np.minimum(alarm_end, end) - np.maximum(alarm_start, start)
    near = shared >= EVENT_IOU * (alarm_end - alarm_start + end - start - shared)
    return range(int(first), int(stop)), *_united(alarms.low_A[near], alarms.high_A[near])


def _united(low: Array, high: Array) -> tuple[Array, Array]:
    """Ranges (low, high] that cover the same thresholds and do not overlap, in descending order."""
    if not len(low):
        return low, high
    order = np.argsort(-high)
    low, high = np.minimum.accumulate(low[order]), high[order]
    begins = np.append(True, high[1:] <= low[:-1])
    return low[np.append(begins[1:], True)], high[begins]
