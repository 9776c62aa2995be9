"""PNG pictures by matplotlib, for places that take a picture file: `timeline.png` and Prefect's UI.

The pages use `svg` instead; its docstring gives the reasons. Both modules draw from `chart_data`, and the
colours here are those of the light theme of the pages.
"""

import re
from collections.abc import Sequence
from colorsys import hls_to_rgb
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from evaluate.predictions import Interval
from evaluate.report.chart_data import LineChart, class_hue, timeline_columns
from evaluate.report.training_curves import training_charts
from evaluate.scores import VideoScores
from evaluate.snippet_times import seconds_at
from extract.atomic import write_atomically
from extract.display import format_time, printable
from extract.errors import InputError

MAX_VIDEOS = 50
"""Videos in one picture: more would exceed the largest picture that matplotlib can draw."""
TIMELINE_COLUMNS = 1200
MAX_TICKS = 12
TICK_STEPS_S = (
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    21600,
    86400,
)
"""Round distances of ticks on a time axis, in seconds."""
Colour: TypeAlias = str | tuple[float, float, float]


def save_timeline(
    path: Path,
    scores: VideoScores | Sequence[VideoScores],
    intervals: Sequence[Interval] | Sequence[Sequence[Interval]],
    threshold: float = 0.5,
) -> Path:
    """Draw the scores and intervals of one video, or of several below each other; return `path`.

    For several videos, `intervals` has one list per video; ValueError if the numbers differ. At most
    MAX_VIDEOS are drawn; the axis label gives the number of the others.
    """
    if isinstance(scores, VideoScores):
        rows = [(scores, [one for one in intervals if isinstance(one, Interval)])]
    else:
        lists = [one for one in intervals if not isinstance(one, Interval)]
        rows = [(video, list(found)) for video, found in zip(scores, lists, strict=True)]
    omitted = max(len(rows) - MAX_VIDEOS, 0)
    rows = rows[:MAX_VIDEOS]
    figure = Figure(figsize=(11, 0.7 + 1.9 * len(rows)), dpi=110, layout="constrained")
    axes = figure.subplots(len(rows), squeeze=False)[:, 0]
    for axis, (video, found) in zip(axes, rows, strict=True):
        _draw_timeline(axis, video, found, threshold)
    axes[-1].set_xlabel(f"time ({omitted} more videos are not drawn)" if omitted else "time")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _png(figure))
    return path


def training_picture(curves_csv: Path) -> bytes:
    """The training charts of `curves.csv` side by side, as the bytes of a PNG.

    Raises FileNotFoundError, or ValueError for an invalid file or one without rows.
    """
    charts = training_charts(curves_csv)
    if not charts:
        raise InputError(f"{curves_csv} has no rows: the training has not completed a step")
    figure = Figure(figsize=(11, 3.6), dpi=90, layout="constrained")
    for axis, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        _draw_lines(axis, chart)
    return _png(figure)


def _draw_timeline(axis: Axes, scores: VideoScores, intervals: Sequence[Interval], threshold: float) -> None:
    frames, highest = timeline_columns(scores, TIMELINE_COLUMNS)
    times = [seconds_at(scores, frame) for frame in frames.tolist()]
    score_colour = rgb("accent")
    axis.stairs(scores.anomaly_T[highest], times, color=score_colour, linewidth=1.3)
    axis.stairs(scores.anomaly_T[highest], times, color=score_colour, alpha=0.12, fill=True)
    axis.axhline(threshold, color=rgb("faint"), linewidth=0.8, linestyle=(0, (4, 4)))
    in_legend: dict[str, Artist] = {}
    for interval in intervals:
        # Intervals of a detector without classes have a label that is no class; they get the first colour.
        index = scores.classes.index(interval.label) if interval.label in scores.classes else 1
        colour = rgb(f"class-{index}")
        span = axis.axvspan(interval.start_s, interval.end_s, color=colour, alpha=0.25, linewidth=0)
        in_legend.setdefault(interval.label, span)
    if in_legend:
        # Labels are passed here, not to the artists: matplotlib hides an artist whose label begins with `_`.
        legend = axis.legend(
            list(in_legend.values()),
            list(in_legend),
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=8,
            fontsize=8,
            frameon=False,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a class name may contain dollar signs
    axis.set(xlim=(0, times[-1]), ylim=(0, 1.05), yticks=sorted({0, threshold, 1}))
    axis.set_ylabel("anomaly score", fontsize=8)
    set_time_ticks(axis, times[-1])
    # Without parse_math=False, dollar signs in a file name would start a formula.
    axis.set_title(printable(scores.name), loc="left", fontsize=9, parse_math=False)
    axis.spines[["top", "right"]].set_visible(False)


def set_time_ticks(axis: Axes, end_s: float) -> None:
    """Ticks at round times, at most MAX_TICKS of them, written as `0:30` or `1:06:40`."""
    step = next((step for step in TICK_STEPS_S if end_s / step <= MAX_TICKS), end_s / MAX_TICKS)
    decimals = 0 if step >= 1 else 2
    axis.xaxis.set_major_locator(MultipleLocator(step))
    axis.xaxis.set_major_formatter(lambda seconds, _: format_time(seconds, decimals))


def _draw_lines(axis: Axes, chart: LineChart) -> None:
    for line in chart.series:
        width = 1.8 if line.name == "total" else 1
        marker = "o" if np.size(line.x) == 1 else ""  # a line needs two points to be visible
        axis.plot(line.x, line.y, marker, color=rgb(line.colour), linewidth=width, label=line.name)
    axis.set_title(chart.title, loc="left", fontsize=10)
    axis.set(xlabel=chart.x.label, xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low, chart.y.high))
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def rgb(name: str) -> Colour:
    """A colour name of `chart_data` for matplotlib."""
    variables = _light_theme()
    if not name.startswith("class-"):
        return variables[name]
    hue = class_hue(int(name.removeprefix("class-"))) / 360
    lightness, saturation = (float(variables[key].rstrip("%")) / 100 for key in ("light", "strength"))
    return hls_to_rgb(hue, lightness, saturation)


@cache
def _light_theme() -> dict[str, str]:
    """Variables of the light theme, which is the first in the style sheet."""
    style = (files("evaluate.report") / "templates" / "page.css").read_text(encoding="utf-8")
    return dict(reversed(re.findall(r"--([a-z-]+): ([^;]+);", style)))


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    picture = BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})  # the same bytes on every machine
    return picture.getvalue()
