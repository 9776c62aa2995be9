"""Pictures that are not part of the page: timelines for `dsanet score`, training curves for a server."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from evaluate.metrics.intervals import Interval, seconds_at
from evaluate.report.charts import hue
from evaluate.report.training_curves import Line, read_curves
from evaluate.scores import VideoScores

SCORE_COLOUR, RULE_COLOUR = "#2f5fd0", "#a3a9b3"
MOST_ROWS = 50


def save_timeline(
    path: Path,
    scores: VideoScores | Sequence[VideoScores],
    intervals: Sequence[Interval] | Sequence[Sequence[Interval]],
    threshold: float = 0.5,
) -> Path:
    """Draws one video with its intervals, or several below each other with a list of intervals for each.

    A picture has room for MOST_ROWS videos; its last line says how many more there are.
    """
    if isinstance(scores, VideoScores):
        rows = [(scores, [one for one in intervals if isinstance(one, Interval)])]
    else:
        lists = [one for one in intervals if not isinstance(one, Interval)]
        rows = [(video, list(found)) for video, found in zip(scores, lists, strict=True)]
    more = max(len(rows) - MOST_ROWS, 0)
    rows = rows[:MOST_ROWS]
    figure = Figure(figsize=(11, 0.7 + 1.9 * len(rows)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (video, found) in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
        _draw(axis, video, found, threshold)
    axis.set_xlabel(f"seconds ({more} more videos are not drawn)" if more else "seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def _draw(axis: Axes, scores: VideoScores, intervals: Sequence[Interval], threshold: float) -> None:
    edges = [*(np.arange(len(scores.anomaly_T)) * scores.snippet_length).tolist(), scores.n_frames]
    times = [seconds_at(scores, frame) for frame in edges]
    axis.stairs(scores.anomaly_T, times, color=SCORE_COLOUR, linewidth=1.3)
    axis.stairs(scores.anomaly_T, times, color=SCORE_COLOUR, alpha=0.12, fill=True)
    axis.axhline(threshold, color=RULE_COLOUR, linewidth=0.8, linestyle=(0, (4, 4)))
    named: set[str] = set()
    for interval in intervals:
        # A detector without classes calls all of them the same: the first anomaly's colour.
        known = interval.label in scores.classes
        shade = class_colour(scores.classes.index(interval.label) if known else 1)
        label = None if interval.label in named else interval.label
        axis.axvspan(interval.start_s, interval.end_s, color=shade, alpha=0.25, linewidth=0, label=label)
        named.add(interval.label)
    if named:
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=8, fontsize=8, frameon=False)
    axis.set(xlim=(0, times[-1]), ylim=(0, 1.05), yticks=(0, 0.5, 1))
    # A file name is text: matplotlib must not read a formula into its dollar signs.
    axis.set_title(scores.name, loc="left", fontsize=9, parse_math=False)
    axis.spines[["top", "right"]].set_visible(False)


def training_picture(curves_csv: Path) -> bytes:
    """Loss terms and, beside them, validation figures over the steps of a training run, as a PNG's bytes.

    Raises FileNotFoundError, or ValueError for a file that holds no curves.
    """
    curves = read_curves(curves_csv)
    figure = Figure(figsize=(11, 3.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    panels = {"Training loss": curves.losses, "Validation": curves.validation}
    filled = {title: lines for title, lines in panels.items() if lines}
    if not filled:
        raise ValueError(f"{curves_csv} has no row: the training has not made a step")
    for axis, (title, lines) in zip(
        figure.subplots(1, len(filled), squeeze=False)[0], filled.items(), strict=True
    ):
        _draw_lines(axis, title, lines)
    picture = BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _draw_lines(axis: Axes, title: str, lines: Mapping[str, Line]) -> None:
    for name, (steps, values) in lines.items():
        axis.plot(steps, values, linewidth=1.8 if name == "total" else 1, label=name)
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xlabel("step")
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def class_colour(index: int) -> tuple[float, float, float]:
    """The page's colour of a class, for matplotlib."""
    red, green, blue = hsv_to_rgb((hue(index) / 360, 0.75, 0.7))
    return float(red), float(green), float(blue)
