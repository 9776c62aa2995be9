"""Alarms of a stream, found while it runs: the rule of `evaluate.predictions`, one snippet at a time.

An alarm begins where the score reaches the threshold and ends where it is below `release` times the threshold
(hysteresis). Alarms with a short gap between them are merged, and then short ones are dropped. Without both,
the alarms of a whole video are those of `anomalous_intervals`.

An alarm is reported when nothing that may still come can change it: the snippet after it has arrived, or with
`merge_gap_s` a snippet that begins later than that. `AlarmStream.current` has the alarm before that.

C classes (0 = normal).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluate.predictions import ANOMALOUS
from extract.errors import InputError


@dataclass(frozen=True)
class AlarmRule:
    """When an alarm begins, when it ends, and which alarms count.

    Raises InputError for a value out of its range.
    """

    threshold: float
    """Anomaly score at which an alarm begins, in [0, 1]."""
    release: float = 1.0
    """Share of the threshold, in (0, 1], below which it ends."""
    shortest_s: float = 0.0
    """Alarms that last less are dropped, after merging."""
    merge_gap_s: float = 0.0
    """Alarms with at most this between them are one; its snippets are those of the alarms, not of the gap."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InputError(f"the threshold is {self.threshold:g}, expected a score in [0, 1]")
        if not 0 < self.release <= 1:
            raise InputError(f"the release is {self.release:g}, expected a share of the threshold in (0, 1]")
        if not (self.shortest_s >= 0 and self.merge_gap_s >= 0):
            raise InputError("the shortest alarm and the gap to merge are in seconds, at least 0")


@dataclass(frozen=True)
class Snippet:
    """The scores of one snippet and its place in the stream."""

    start_s: float
    end_s: float
    anomaly: float
    classes_C: NDArray[np.float32] | None = None
    """Class distribution; None from a detector without anomaly classes."""
    after_pause: bool = False
    """The stream has paused before it: an alarm that goes on becomes a new one."""


@dataclass
class StreamAlarm:
    """One alarm: the snippets that are in it so far."""

    start_s: float
    end_s: float
    peak: float
    """Highest anomaly score."""
    peak_s: float
    """Start of the first snippet with that score."""
    snippets: int = 0
    _anomaly: float = field(default=0.0, repr=False)
    _classes_C: NDArray[np.float64] | None = field(default=None, repr=False)

    @classmethod
    def starting_with(cls, snippet: Snippet) -> "StreamAlarm":
        alarm = cls(snippet.start_s, snippet.end_s, snippet.anomaly, snippet.start_s)
        alarm.add(snippet)
        return alarm

    def add(self, snippet: Snippet) -> None:
        self.end_s = snippet.end_s
        if snippet.anomaly > self.peak:
            self.peak, self.peak_s = snippet.anomaly, snippet.start_s
        self.snippets += 1
        self._anomaly += snippet.anomaly
        if snippet.classes_C is not None:
            classes_C = snippet.classes_C.astype(np.float64)
            self._classes_C = classes_C if self._classes_C is None else self._classes_C + classes_C

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s

    @property
    def score(self) -> float:
        """Mean anomaly score."""
        return self._anomaly / self.snippets

    @property
    def classes_C(self) -> NDArray[np.float64] | None:  # noqa: N802
        """Mean class distribution; None from a detector without anomaly classes."""
        return None if self._classes_C is None else self._classes_C / self.snippets

    def label(self, classes: Sequence[str]) -> str:
        """The anomaly class with the highest mean score, or ANOMALOUS."""
        return ANOMALOUS if self._classes_C is None else classes[1 + int(self._classes_C[1:].argmax())]


class AlarmStream:
    """The alarms of one camera. Memory does not grow with the stream.

    Examples:
        >>> stream = AlarmStream(AlarmRule(threshold=0.5))
        >>> for second, score in enumerate([0.1, 0.8, 0.9, 0.2]):
        ...     for alarm in stream.push(Snippet(second, second + 1, score)):
        ...         print(alarm.start_s, alarm.end_s, alarm.peak)
        1 3 0.9
    """

    def __init__(self, rule: AlarmRule) -> None:
        self.rule = rule
        self.ringing = False
        """True if the last snippet is in an alarm."""
        self._alarm: StreamAlarm | None = None

    @property
    def current(self) -> StreamAlarm | None:
        """The alarm that may still change, once it lasts long enough to count; else None."""
        alarm = self._alarm
        return alarm if alarm is not None and alarm.seconds >= self.rule.shortest_s else None

    def push(self, snippet: Snippet) -> list[StreamAlarm]:
        """Add the next snippet; returns the alarm, if any, that it shows to be over."""
        rings = self._rings(snippet.anomaly)
        over = self.finish() if self._is_over(snippet, rings) else []
        self.ringing = rings
        if rings and self._alarm is None:
            self._alarm = StreamAlarm.starting_with(snippet)
        elif rings and self._alarm is not None:
            self._alarm.add(snippet)
        return over

    def finish(self) -> list[StreamAlarm]:
        """The stream has ended: the alarm, if any, that it ends in. Its snippets stay ringing."""
        alarm, self._alarm = self.current, None
        return [] if alarm is None else [alarm]

    def _rings(self, anomaly: float) -> bool:
        # In float32, as in `held_scores`: both give the same alarms to the last bit.
        score, threshold = np.float32(anomaly), np.float32(self.rule.threshold)
        held = self.ringing and score / np.float32(self.rule.release) >= threshold
        return bool(score >= threshold or held)

    def _is_over(self, snippet: Snippet, rings: bool) -> bool:
        """True if neither `snippet` nor a later one belongs to the alarm."""
        if self._alarm is None or (self.ringing and rings and not snippet.after_pause):
            return False
        gap_s = snippet.start_s - self._alarm.end_s
        return self.rule.merge_gap_s == 0 or gap_s > self.rule.merge_gap_s
