"""Data of charts and timelines, shared by `svg` (pages) and `png` (picture files).

A colour is a name: "accent", "truth", "soft" and "faint" of the style sheet, or "class-<index>" for the class
with that index. Both modules resolve the name from the same style sheet and hues.

Shapes: T snippets, K columns of a timeline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.scores import VideoScores
from evaluate.snippet_times import snippet_frame

MAX_POINTS = 300
"""Points of a thinned line."""
LINE_COLOURS = ("accent", *(f"class-{index}" for index in (4, 2, 6, 7, 9, 5, 1, 11, 3)))
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Series:
    """One line, sample or group of points of a chart."""

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: str = "accent"
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """Label and range of one axis."""

    label: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    """Logarithmic; `low` must be positive."""

    def fraction(self, value: Any) -> Any:
        """Position on the axis: 0 at `low`, 1 at `high`."""
        if self.log:
            return np.log(value / self.low) / np.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Three to seven round numbers inside the range; the powers of ten on a logarithmic axis."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers]
        span = max(self.high - self.low, 1e-12)
        power: float = 10.0 ** math.floor(math.log10(span / 4))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= span / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    @classmethod
    def around(cls, label: str, values: Sequence[ArrayLike], zero: bool = False) -> "Axis":
        """The range of all finite values with a margin of 4 %; `zero` starts non-negative values at 0."""
        pooled = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in values])
        pooled = pooled[np.isfinite(pooled)]
        low, high = (float(pooled.min()), float(pooled.max())) if len(pooled) else (0.0, 1.0)
        margin = 0.04 * (high - low) or 0.5
        starts_at_zero = zero and low >= 0
        return cls(label, 0.0 if starts_at_zero else low - margin, high + margin)


class LineChart(NamedTuple):
    """Lines over two axes."""

    title: str
    series: Sequence[Series]
    x: Axis
    y: Axis


def class_hue(index: int) -> int:
    """Hue of a class in degrees; consecutive indices are far apart on the colour wheel."""
    return round(index * 137.5 + 200) % 360


def line_colour(index: int) -> str:
    """Colour of the line with this index in a chart."""
    return LINE_COLOURS[index % len(LINE_COLOURS)]


def thin(x: Array, y: Array) -> tuple[Array, Array]:
    """At most MAX_POINTS points of a line, evenly spaced along its length; both ends are kept."""
    kept = thin_indices(x, y)
    return x[kept], y[kept]


def thin_indices(x: Array, y: Array) -> Array:
    """The indices of the points that `thin` keeps."""
    if len(x) <= MAX_POINTS:
        return np.arange(len(x))
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], MAX_POINTS)).clip(0, len(x) - 1))


def timeline_columns(scores: VideoScores, most: int) -> tuple[Array, Array]:
    """Frames (K + 1,) that bound at most `most` columns, and the snippet (K,) with the highest score in each.

    A column per snippet for short videos; in longer ones no peak is lost.
    """
    values = scores.anomaly_T
    starts = np.unique(np.linspace(0, len(values), min(len(values), most) + 1).astype(int)[:-1])
    ends = np.append(starts[1:], len(values))
    highest = [start + int(values[start:end].argmax()) for start, end in zip(starts, ends, strict=True)]
    return np.append(starts * scores.snippet_length, scores.n_frames), np.array(highest)


def peaks(scores: VideoScores, most: int = 3) -> list[tuple[int, float]]:
    """Frame and score of the highest snippets, at least a tenth of the video apart, in time order."""
    distance = max(len(scores.anomaly_T) // 10, 1)
    chosen: list[int] = []
    for snippet in np.argsort(-scores.anomaly_T, kind="stable").tolist():
        if all(abs(snippet - other) >= distance for other in chosen):
            chosen.append(snippet)
        if len(chosen) == most:
            break
    return [(snippet_frame(scores, snippet), float(scores.anomaly_T[snippet])) for snippet in sorted(chosen)]
