"""Events found against false alarms an hour: the figures of a person who answers the alarms.

Alarm
    Consecutive snippets whose anomaly score reaches the threshold: an interval of `dsanet score`, from the
    same functions (`evaluate.predictions.held_scores` and `alarm_runs`). With `release` below 1 it goes on
    until the score is below `release` times the threshold (hysteresis). At a pause of the recording it ends,
    and another begins. The class that an alarm names does not matter.
Event
    An annotated segment. Overlapping segments of one label are one event; of different labels, an event each.
Found
    At least one alarm shares a frame with the event (`found`), or has an IoU of at least 0.3 with it, in
    frames (`found_iou`). An alarm that spans several events finds each of them.
Normal footage
    The frames of no event, in normal videos and in anomalous ones. Its hours are those of the recording
    (pauses left out) where the score files have starts and ends of snippets, else frames / fps.
False alarm
    An alarm that shares no frame with an event. An alarm that lasts counts again: each full minute of normal
    footage in it is one false alarm, also if it meets an event. Otherwise a detector that never stops its
    alarm would find every event at one false alarm a video.
Operating point
    For a rate of r false alarms an hour, the lowest threshold at which there are at most r, and at every
    higher threshold as well. If the highest score of all is too low, there is no threshold, and no event is
    found. With less than 1 / r hours of normal footage, no false alarm is permitted.
Delay
    Seconds from the start of an event to the start of its first alarm; 0 if that began before the event. It
    is a time in the recording: that a snippet must end before it is scored, and that a detector looks ahead,
    is not in it. An event that is not found has no delay: median and 90th percentile are those of the found
    events, but the share found within 5 s is a share of all events.

Shapes: D distinct scores, P points of the curve.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.metrics.event_table import Event, EventTable, matches_at

Array = NDArray[Any]
RATES = (0.1, 1.0, 10.0)
"""False alarms an hour of normal footage at the operating points."""
WITHIN_S = 5.0


@dataclass(frozen=True)
class EventFigures:
    """Figures of a set of events at one operating point; shares are fractions in [0, 1]."""

    found: float
    """Share of the events that any alarm meets."""
    found_iou: float
    """Share of the events with an alarm of IoU >= EVENT_IOU."""
    found_within_5s: float
    """Share of the events found at most WITHIN_S after their start."""
    delay_median_s: float | None
    """Median delay of the found events; None if none is found."""
    delay_p90_s: float | None
    """90th percentile of the same delays."""


@dataclass(frozen=True)
class OperatingPoint:
    """The alarms at the threshold that keeps to `rate` false alarms an hour."""

    rate: float
    threshold: float | None
    """For `dsanet score --threshold`: the decimal with the fewest digits that gives these alarms. None if the
    highest score gives too many false alarms."""
    false_alarms: int
    false_alarms_per_hour: float
    figures: EventFigures
    per_class: dict[str, EventFigures]
    """By label of the events, for the labels that occur."""


@dataclass(frozen=True, eq=False)
class EventCurve:
    """The best operating point of each rate that the false alarms reach, by ascending rate."""

    threshold: Array
    false_alarms_per_hour: Array
    """The highest rate at this threshold and all higher ones."""
    found: Array
    found_iou: Array


@dataclass(frozen=True, eq=False)
class EventMetrics:
    """Events found against false alarms; see the module for the definitions."""

    events: dict[str, int]
    """Number of events by label, in the order of the classes."""
    normal_hours: float
    points: tuple[OperatingPoint, ...]
    """One for each of RATES."""
    curve: EventCurve
    release: float = 1.0


def event_key(rate: float) -> str:
    """Name of the share of events found at this rate, among the metrics: `events_at_0.1`."""
    return f"events_at_{rate:g}"


def event_metrics(table: EventTable, classes: Sequence[str]) -> EventMetrics | None:
    """Curve and operating points; None without events or without normal footage."""
    hours = float(table.false_alarms.hours_V.sum())
    if not table.events or not hours:
        return None
    labels = [event.segment.label for event in table.events]
    order = [label for label in dict.fromkeys([*classes, *labels]) if label in labels]
    return EventMetrics(
        events={label: labels.count(label) for label in order},
        normal_hours=hours,
        points=tuple(_point(table, order, rate, hours) for rate in RATES),
        curve=_curve(table, hours),
        release=table.release,
    )


def _point(table: EventTable, labels: Sequence[str], rate: float, hours: float) -> OperatingPoint:
    found = table.thresholds(rate)
    below, threshold = found or (math.inf, math.inf)
    false_alarms = int(table.false_alarms.counts_at(np.array([threshold]))[0])
    own = {label: [event for event in table.events if event.segment.label == label] for label in labels}
    return OperatingPoint(
        rate=rate,
        threshold=shortest_decimal(below, threshold) if found else None,
        false_alarms=false_alarms,
        false_alarms_per_hour=false_alarms / hours,
        figures=_figures(table.events, threshold),
        per_class={label: _figures(events, threshold) for label, events in own.items()},
    )


def _figures(events: Sequence[Event], threshold: float) -> EventFigures:
    delays = [delay for event in events if (delay := event.delay_s(threshold)) is not None]
    median, p90 = np.percentile(delays, (50, 90)).tolist() if delays else (None, None)
    return EventFigures(
        found=len(delays) / len(events),
        found_iou=float(matches_at(events, np.array([threshold]))[0]) / len(events),
        found_within_5s=sum(delay <= WITHIN_S for delay in delays) / len(events),
        delay_median_s=median,
        delay_p90_s=p90,
    )


def _curve(table: EventTable, hours: float) -> EventCurve:
    highest_D = np.maximum.accumulate(table.false_alarms.counts_at(table.score_D))
    last = np.append(np.flatnonzero(np.diff(highest_D)), len(highest_D) - 1)
    thresholds = table.score_D[last]
    return EventCurve(
        threshold=thresholds,
        false_alarms_per_hour=highest_D[last] / hours,
        found=(table.peaks >= thresholds[:, None]).mean(axis=1),
        found_iou=matches_at(table.events, thresholds) / len(table.events),
    )


def shortest_decimal(above: float, up_to: float) -> float:
    """The number with the fewest decimal places in (above, up_to], compared as scores are (float32)."""
    for places in range(1, 9):
        for value in (round(up_to, places), math.floor(up_to * 10**places) / 10**places):
            if np.float32(above) < np.float32(value) <= np.float32(up_to):
                return value
    return up_to
