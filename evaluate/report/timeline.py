"""Timeline of one video on a page, as inline SVG (DSANet, figure 7): score, annotations and class bands."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evaluate.annotations import Segment
from evaluate.report.chart_data import timeline_columns
from evaluate.report.svg import css_colour
from evaluate.scores import VideoScores

COLUMNS = 300
WIDTH, SCORE_HEIGHT = 1000, 100  # units of the drawing, which the page stretches
TRUTH_TOP, TRUTH_HEIGHT = 105, 6
BAND_MIDDLE, HEIGHT = 120, 127
BAND_OPACITIES = 4
Array = NDArray[Any]


def timeline(
    scores: VideoScores, segments: Sequence[Segment], threshold: float, marks: Sequence[int] = ()
) -> Markup:
    """The anomaly score over the annotated segments, and two class bands below.

    The upper band shows the annotated class, the lower one the likeliest anomaly class with an opacity that
    follows the score. `marks` are frames that get a tick. Long videos are drawn in COLUMNS columns.
    """
    y = SCORE_HEIGHT * (1 - threshold)
    frames, highest = timeline_columns(scores, COLUMNS)
    x = WIDTH * frames / scores.n_frames
    ticks = "".join(f"M{WIDTH * frame / scores.n_frames:.0f} 0V8" for frame in marks)
    return Markup(
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
        f"{_segments(scores, segments)}"
        f'<path class="threshold" d="M0 {y:g}H{WIDTH}"/>'
        f"{_score_steps(x, scores.anomaly_T[highest])}{_class_band(x, scores, highest)}"
        + (f'<path class="marks" d="{ticks}"/></svg>' if ticks else "</svg>")
    )


def _segments(scores: VideoScores, segments: Sequence[Segment]) -> str:
    """Each annotated segment: shaded behind the score, and in the colour of its class in the upper band."""
    rectangles = []
    for label, start, end in segments:
        x0, x1 = (WIDTH * frame / scores.n_frames for frame in (start, min(end, scores.n_frames)))
        place = f'x="{x0:.1f}" width="{max(x1 - x0, 1):.1f}"'
        fill = css_colour(f"class-{scores.classes.index(label)}")
        rectangles.append(f'<rect class="truth" {place} height="{SCORE_HEIGHT}"/>')
        rectangles.append(f'<rect {place} y="{TRUTH_TOP}" height="{TRUTH_HEIGHT}" fill="{fill}"/>')
    return "".join(rectangles)


def _score_steps(x: Array, values: Array) -> str:
    y = SCORE_HEIGHT * (1 - values)
    steps = "".join(f"V{height:.0f}H{end:.0f}" for height, end in zip(y, x[1:], strict=True))
    return (
        f'<path class="area" d="M0 {SCORE_HEIGHT}{steps}V{SCORE_HEIGHT}Z"/>'
        f'<path class="score" d="M0 {y[0]:.0f}{steps}"/>'
    )


def _class_band(x: Array, scores: VideoScores, highest: Array) -> str:
    """The likeliest anomaly class of each column; nothing for scores below the lowest opacity.

    One path of thick strokes for each class and opacity: a rectangle per column would dominate the page's
    size.
    """
    if scores.classes_TC is None:
        return ""
    best = 1 + scores.classes_TC[highest, 1:].argmax(axis=1)
    opacity = np.minimum((scores.anomaly_T[highest] * (BAND_OPACITIES + 1)).astype(int), BAND_OPACITIES)
    changes = np.flatnonzero((np.diff(best) != 0) | (np.diff(opacity) != 0)) + 1
    strokes: dict[tuple[int, int], str] = {}
    for first, last in pairwise([0, *changes.tolist(), len(highest)]):
        shade = (int(best[first]), int(opacity[first]))
        strokes[shade] = strokes.get(shade, "") + f"M{x[first]:.0f} {BAND_MIDDLE}H{x[last]:.0f}"
    return "".join(
        f'<path class="band" d="{path}" stroke="{css_colour(f"class-{index}")}" '
        f'opacity="{step / BAND_OPACITIES:g}"/>'
        for (index, step), path in sorted(strokes.items())
        if step
    )
