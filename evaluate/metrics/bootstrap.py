"""Bootstrap intervals of the headline figures: videos, not frames, are drawn with replacement, seeded.

Frames of one video say nearly the same thing, so an interval over frames would be far too narrow. A class
with two annotated segments (UCF-Crime has such) can be missing from a resample: it is then left out of
that resample's mean, in both mAP protocols.

Shapes: B resamples, V videos, R proposals of one class, I IoU thresholds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.metrics.segments import ClassMatches, Protocol

Array = NDArray[Any]


@dataclass(frozen=True)
class Confidence:
    """A percentile interval, in the unit of its figure."""

    low: float
    high: float


def draw_videos(n_videos: int, resamples: int, seed: int) -> Array:
    """(B, V): how often every video is drawn in every resample."""
    return np.random.default_rng(seed).multinomial(n_videos, np.full(n_videos, 1 / n_videos), size=resamples)


def interval(statistic: Callable[[Array], float], draws_BV: Array, confidence: float) -> Confidence | None:
    """Percentile interval of `statistic`, a function of video weights (V,).

    Resamples without the figure (NaN) are left out; None where that leaves nothing, or there are no draws.
    """
    values = np.array([statistic(weights_V) for weights_V in draws_BV])
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Confidence(float(low), float(high))


def map_statistic(matches: Sequence[ClassMatches], protocol: Protocol) -> Callable[[Array], float]:
    """Average mAP (percent) under video weights; a video drawn twice counts as two with equal proposals."""
    if protocol == "corrected":
        matches = [found for found in matches[1:] if found.truths_V.any()]
    if protocol == "published" and any(not len(found.video_R) for found in matches):
        return lambda weights_V: 0.0
    parts = [_weighted_precision(found) for found in matches]

    def statistic(weights_V: Array) -> float:
        values = np.array([part(weights_V) for part in parts])
        return 100 * float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    return statistic


def _weighted_precision(found: ClassMatches) -> Callable[[Array], float]:
    """AP of one class, mean over the IoU thresholds; NaN where its truths are all outside the resample."""
    hit_ranks = [np.flatnonzero(hits_R) for hits_R in found.hits_IR]
    occurs = found.truths_V.any()

    def statistic(weights_V: Array) -> float:
        n_truths = weights_V @ found.truths_V
        if not n_truths:
            return float("nan") if occurs else 0.0
        weights_R = weights_V[found.video_R]
        ranked = np.maximum(weights_R.cumsum(), 1)
        total = 0.0
        for ranks in hit_ranks:
            hits = weights_R[ranks]
            total += (hits * hits.cumsum() / ranked[ranks]).sum()
        return float(total / n_truths / len(hit_ranks))

    return statistic
