"""Inline SVG of the HTML pages: line charts, histograms and scatter plots (`timeline` draws the videos).

Written by hand, unlike the pictures of `png`, because matplotlib's SVG does not fit a page:
- A report has one timeline per test video (290 on UCF-Crime, 800 on XD-Violence). A timeline takes 1 ms and
  7 kB here; matplotlib took about 50 ms and 40 kB.
- The style sheet of the page sets the colours and switches between light and dark; matplotlib writes fixed
  colours.
- The page reads times and scores back from the path of a timeline (`page.js`).

All of them draw from `chart_data`.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evaluate.report.chart_data import Axis, LineChart, Series, thin

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 40
Array = NDArray[Any]


def line_chart(chart: LineChart) -> Markup:
    """Lines over a grid; with a legend if there is more than one."""
    title, series, x, y = chart
    body = _grid(x, y) + "".join(_line(one, x, y) for one in series)
    return _figure(title, body, series if len(series) > 1 else [])


def histogram(title: str, samples: Sequence[Series], x: Axis, y_label: str) -> Markup:
    """Histograms of several samples (the `y` of each series), each as shares of its own total."""
    edges = np.linspace(x.low, x.high, 41)
    shares = [np.histogram(np.asarray(one.y), edges)[0] / max(np.size(one.y), 1) for one in samples]
    y = Axis(y_label, 0.0, max(float(share.max()) for share in shares) * 1.1 or 1.0)
    body = _grid(x, y)
    for sample, share in zip(samples, shares, strict=True):
        steps = np.concatenate([[0], np.repeat(share, 2), [0]])
        path, colour = _path(np.repeat(edges, 2), steps, x, y), css_colour(sample.colour)
        body += f'<path d="{path}" fill="{colour}" fill-opacity=".28" stroke="{colour}"/>'
    return _figure(title, body, samples)


def scatter(title: str, groups: Sequence[Series]) -> Markup:
    """Points by group, without axes: the axes of an embedding have no unit."""
    x = Axis.around("", [group.x for group in groups])
    y = Axis.around("", [group.y for group in groups])
    body = ""
    for group in groups:
        points = zip(_scale_x(np.asarray(group.x), x), _scale_y(np.asarray(group.y), y), strict=True)
        dots = "".join(f"M{px:.1f} {py:.1f}h0" for px, py in points)
        body += f'<path d="{dots}" class="dots" stroke="{css_colour(group.colour)}"/>'
    return _figure(title, body, groups)


def css_colour(name: str) -> str:
    """The style sheet's variable of a colour name."""
    return f"var(--{name})"


def _figure(title: str, body: str, legend: Sequence[Series]) -> Markup:
    entries = "".join(
        f'<li><i style="background:{css_colour(one.colour)}"></i>{escape(one.name)}</li>' for one in legend
    )
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
        + (f'<ul class="legend">{entries}</ul>' if entries else "")
        + "</figure>"
    )


def _grid(x: Axis, y: Axis) -> str:
    """Grid lines with their numbers, and the labels of both axes."""
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
    path = _path(np.asarray(series.x, float), np.asarray(series.y, float), x, y)
    kind = "dots" if np.size(series.x) == 1 else "line"
    return f'<path class="{kind}" d="{path}" stroke="{css_colour(series.colour)}"{dash}/>'


def _path(x_values: Array, y_values: Array, x: Axis, y: Axis) -> str:
    """Path through the points; a single point is a line of length 0, whose round caps are a dot."""
    px, py = thin(_scale_x(x_values, x), _scale_y(y_values, y))
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(px, py, strict=True)]
    return f"M{points[0]}h0" if len(points) == 1 else "M" + "L".join(points) if points else ""


def _scale_x(value: Any, axis: Axis) -> Any:
    return LEFT + axis.fraction(value) * (WIDTH - LEFT - RIGHT)


def _scale_y(value: Any, axis: Axis) -> Any:
    return HEIGHT - BOTTOM - axis.fraction(value) * (HEIGHT - TOP - BOTTOM)
