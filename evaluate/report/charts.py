"""Inline SVG for the page: line charts, histograms and scatter plots, coloured by its style sheet.

Hand-written, because a few kilobytes of paths that follow the page's light or dark colours beat an embedded
picture that follows neither.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 40
MAX_POINTS = 300
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Series:
    """One line of a chart. `colour` is a CSS colour or variable of the page."""

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: str = "var(--accent)"
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """Range and label of one axis."""

    label: str
    low: float = 0.0
    high: float = 1.0

    def ticks(self) -> list[float]:
        """About five round numbers inside the range."""
        span = max(self.high - self.low, 1e-12)
        power: float = 10.0 ** math.floor(math.log10(span / 4))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= span / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    @classmethod
    def around(cls, label: str, values: Sequence[ArrayLike], zero: bool = False) -> "Axis":
        """The range of all finite values, a little wider; with `zero`, from zero (or below) on."""
        pooled = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in values])
        pooled = pooled[np.isfinite(pooled)]
        low, high = (float(pooled.min()), float(pooled.max())) if len(pooled) else (0.0, 1.0)
        margin = 0.04 * (high - low) or 0.5
        starts_at_zero = zero and low >= 0
        return cls(label, 0.0 if starts_at_zero else low - margin, high + margin)


def hue(index: int) -> int:
    """Hue of a class: neighbours in the list lie far apart on the wheel."""
    return round(index * 137.5 + 200) % 360


def line_chart(title: str, series: Sequence[Series], x: Axis, y: Axis) -> Markup:
    """Lines over a grid with a legend below when there is more than one."""
    body = _frame(x, y) + "".join(_line(one, x, y) for one in series)
    return _figure(title, body, [(one.name, one.colour) for one in series] if len(series) > 1 else [])


def histogram(title: str, groups: Sequence[Series], x: Axis, y_label: str) -> Markup:
    """Outlined densities of several samples (`y` of a series: the sample), each scaled to its own total."""
    edges = np.linspace(x.low, x.high, 41)
    shares = [np.histogram(np.asarray(g.y), edges)[0] / max(np.size(g.y), 1) for g in groups]
    y = Axis(y_label, 0.0, max(float(share.max()) for share in shares) * 1.1 or 1.0)
    body = _frame(x, y)
    for group, share in zip(groups, shares, strict=True):
        outline = Series(group.name, np.repeat(edges, 2), np.concatenate([[0], np.repeat(share, 2), [0]]))
        path = _path(outline, x, y)
        body += f'<path d="{path}" fill="{group.colour}" fill-opacity=".28" stroke="{group.colour}"/>'
    return _figure(title, body, [(group.name, group.colour) for group in groups])


def scatter(title: str, groups: Sequence[Series]) -> Markup:
    """Points by group; the axes of an embedding have no unit, so none are drawn."""
    x = Axis.around("", [group.x for group in groups])
    y = Axis.around("", [group.y for group in groups])
    body = ""
    for group in groups:
        points = zip(_scale_x(np.asarray(group.x), x), _scale_y(np.asarray(group.y), y), strict=True)
        marks = "".join(f"M{px:.1f} {py:.1f}h0" for px, py in points)
        body += f'<path d="{marks}" class="dots" stroke="{group.colour}"/>'
    return _figure(title, body, [(group.name, group.colour) for group in groups])


def _figure(title: str, body: str, legend: Sequence[tuple[str, str]]) -> Markup:
    keys = "".join(f'<li><i style="background:{colour}"></i>{escape(name)}</li>' for name, colour in legend)
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
        + (f'<ul class="legend">{keys}</ul>' if keys else "")
        + "</figure>"
    )


def _frame(x: Axis, y: Axis) -> str:
    parts = []
    for tick in x.ticks():
        at = _scale_x(tick, x)
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y.ticks():
        at = _scale_y(tick, y)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(x.label)}</text>'
    )
    parts.append(f'<text class="axis" transform="translate(11 {middle})rotate(-90)">{escape(y.label)}</text>')
    return "".join(parts)


def _line(series: Series, x: Axis, y: Axis) -> str:
    dash = ' stroke-dasharray="4 4"' if series.dashed else ""
    return f'<path class="line" d="{_path(series, x, y)}" stroke="{series.colour}"{dash}/>'


def _path(series: Series, x: Axis, y: Axis) -> str:
    px, py = thin(_scale_x(np.asarray(series.x, float), x), _scale_y(np.asarray(series.y, float), y))
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(px, py, strict=True)) if len(px) else ""


def thin(px: Array, py: Array) -> tuple[Array, Array]:
    """At most MAX_POINTS points of a line, evenly spread along its length, ends kept."""
    if len(px) <= MAX_POINTS:
        return px, py
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(px), np.diff(py)))])
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MAX_POINTS)).clip(0, len(px) - 1))
    return px[kept], py[kept]


def _scale_x(value: Any, axis: Axis) -> Any:
    return LEFT + (value - axis.low) / (axis.high - axis.low) * (WIDTH - LEFT - RIGHT)


def _scale_y(value: Any, axis: Axis) -> Any:
    return HEIGHT - BOTTOM - (value - axis.low) / (axis.high - axis.low) * (HEIGHT - TOP - BOTTOM)
