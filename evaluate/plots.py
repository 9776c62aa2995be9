"""Timelines as a PNG, for `dsanet score`: the one picture that is not part of the page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from evaluate.charts import hue
from evaluate.intervals import Interval, seconds_at
from evaluate.scores import VideoScores

SCORE_COLOUR, RULE_COLOUR = "#2f5fd0", "#a3a9b3"


def save_timeline(
    path: Path,
    scores: VideoScores | Sequence[VideoScores],
    intervals: Sequence[Interval] | Sequence[Sequence[Interval]],
    threshold: float = 0.5,
) -> Path:
    """Draws one video, or several below each other with one list of intervals each, and returns the path."""
    if isinstance(scores, VideoScores):
        scores, intervals = [scores], [intervals]  # type: ignore[list-item]
    figure = Figure(figsize=(11, 0.6 + 2.1 * len(scores)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(scores), squeeze=False)[:, 0]
    for axis, video, found in zip(axes, scores, intervals, strict=True):
        _draw(axis, video, found, threshold)  # type: ignore[arg-type]
    axes[-1].set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def _draw(axis: Axes, scores: VideoScores, intervals: Sequence[Interval], threshold: float) -> None:
    edges = np.minimum(np.arange(len(scores.anomaly_T) + 1) * scores.snippet_length, scores.n_frames)
    edges[-1] = scores.n_frames
    times = [seconds_at(scores, int(frame)) for frame in edges]
    axis.stairs(scores.anomaly_T, times, color=SCORE_COLOUR, linewidth=1.3)
    axis.stairs(scores.anomaly_T, times, color=SCORE_COLOUR, alpha=0.12, fill=True)
    axis.axhline(threshold, color=RULE_COLOUR, linewidth=0.8, linestyle=(0, (4, 4)))
    for interval in intervals:
        colour = class_colour(scores.classes.index(interval.label))
        axis.axvspan(interval.start_s, interval.end_s, color=colour, alpha=0.2, linewidth=0)
        middle = (interval.start_s + interval.end_s) / 2
        label = f"{interval.label} {interval.score:.2f}"
        axis.text(middle, 1.03, label, ha="center", fontsize=8, color=colour, clip_on=True)
    axis.set(xlim=(0, times[-1]), ylim=(0, 1.15), yticks=(0, 0.5, 1))
    # A file name is text: matplotlib must not read a formula into its dollar signs.
    axis.set_title(scores.name, loc="left", fontsize=9, parse_math=False)
    axis.spines[["top", "right"]].set_visible(False)


def class_colour(index: int) -> tuple[float, float, float]:
    """The page's colour of a class, for matplotlib."""
    red, green, blue = hsv_to_rgb((hue(index) / 360, 0.75, 0.7))
    return float(red), float(green), float(blue)
