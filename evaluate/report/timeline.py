"""One video's timeline as inline SVG (paper, figure 7): score over shaded truth, and two class bands.

The upper band is the annotated class, the lower one the most likely anomaly class, stronger where the score
is higher. A video of many hours has no more columns than a short one; a column shows its highest snippet.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evaluate.annotations import Segment
from evaluate.metrics.intervals import snippet_frame
from evaluate.scores import VideoScores

COLUMNS = 300
SCALE, SCORE_HEIGHT = 1000, 100  # of the drawing; the page stretches it
TRUTH_BAND, TRUTH_HEIGHT = 105, 6
BAND_MIDDLE, HEIGHT = 120, 127
BAND_STEPS = 4
Array = NDArray[Any]


def peaks(scores: VideoScores, most: int = 3) -> list[tuple[int, float]]:
    """Frame and score of the highest snippets, at least a tenth of the video apart, in time order."""
    apart = max(len(scores.anomaly_T) // 10, 1)
    chosen: list[int] = []
    for snippet in np.argsort(-scores.anomaly_T, kind="stable").tolist():
        if all(abs(snippet - other) >= apart for other in chosen):
            chosen.append(snippet)
        if len(chosen) == most:
            break
    return [(snippet_frame(scores, snippet), float(scores.anomaly_T[snippet])) for snippet in sorted(chosen)]


def timeline(
    scores: VideoScores, segments: Sequence[Segment], threshold: float, marks: Sequence[int] = ()
) -> Markup:
    """The picture, as wide as its box, with a tick at every frame of `marks`. Colours: `--class-<index>`."""
    y = SCORE_HEIGHT * (1 - threshold)
    ticks = "".join(f"M{SCALE * frame / scores.n_frames:.0f} 0V8" for frame in marks)
    return Markup(
        f'<svg class="timeline" viewBox="0 0 {SCALE} {HEIGHT}" preserveAspectRatio="none">'
        f"{_truth(scores, segments)}"
        f'<path class="threshold" d="M0 {y:g}H{SCALE}"/>{_score(scores)}{_band(scores)}'
        + (f'<path class="marks" d="{ticks}"/></svg>' if ticks else "</svg>")
    )


def _truth(scores: VideoScores, segments: Sequence[Segment]) -> str:
    rectangles = []
    for label, start, end in segments:
        x0, x1 = (SCALE * frame / scores.n_frames for frame in (start, min(end, scores.n_frames)))
        place = f'x="{x0:.1f}" width="{max(x1 - x0, 1):.1f}"'
        fill = f"var(--class-{scores.classes.index(label)})"
        rectangles.append(f'<rect class="truth" {place} height="{SCORE_HEIGHT}"/>')
        rectangles.append(f'<rect {place} y="{TRUTH_BAND}" height="{TRUTH_HEIGHT}" fill="{fill}"/>')
    return "".join(rectangles)


def _score(scores: VideoScores) -> str:
    x, at = _columns(scores)
    y = SCORE_HEIGHT * (1 - scores.anomaly_T[at])
    line = "".join(f"V{height:.0f}H{end:.0f}" for height, end in zip(y, x[1:], strict=True))
    return (
        f'<path class="area" d="M0 {SCORE_HEIGHT}{line}V{SCORE_HEIGHT}Z"/>'
        f'<path class="score" d="M0 {y[0]:.0f}{line}"/>'
    )


def _band(scores: VideoScores) -> str:
    """The most likely anomaly class, the stronger the higher the score; nothing where the score is low.

    One path for each class and strength, of thick strokes: a rectangle each would be most of the page.
    """
    if scores.classes_TC is None:
        return ""
    x, at = _columns(scores)
    best = 1 + scores.classes_TC[at, 1:].argmax(axis=1)
    strength = np.minimum((scores.anomaly_T[at] * (BAND_STEPS + 1)).astype(int), BAND_STEPS)
    changes = np.flatnonzero((np.diff(best) != 0) | (np.diff(strength) != 0)) + 1
    strokes: dict[tuple[int, int], str] = {}
    for first, last in pairwise([0, *changes.tolist(), len(at)]):
        shade = (int(best[first]), int(strength[first]))
        strokes[shade] = strokes.get(shade, "") + f"M{x[first]:.0f} {BAND_MIDDLE}H{x[last]:.0f}"
    return "".join(
        f'<path class="band" d="{path}" stroke="var(--class-{index})" opacity="{step / BAND_STEPS:g}"/>'
        for (index, step), path in sorted(strokes.items())
        if step
    )


def _columns(scores: VideoScores) -> tuple[Array, Array]:
    """Bounds of the drawn columns, and the snippet with the highest score in each: no peak gets lost."""
    values = scores.anomaly_T
    starts = np.unique(np.linspace(0, len(values), min(len(values), COLUMNS) + 1).astype(int)[:-1])
    ends = np.append(starts[1:], len(values))
    at = np.array([start + int(values[start:end].argmax()) for start, end in zip(starts, ends, strict=True)])
    frames = np.append(starts * scores.snippet_length, scores.n_frames)
    return SCALE * frames / scores.n_frames, at
