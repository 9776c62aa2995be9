"""Bootstrap confidence intervals: videos, not frames, are drawn with replacement, from a seed.

Frames of one video are strongly correlated, so an interval over frames would be far too narrow. A class with
few annotated segments (two for some of UCF-Crime) can be missing from a resample; that resample's mAP then
averages the other classes, in both protocols.

Shapes: B resamples, V videos, R proposals of one class, I IoU thresholds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.metrics.segments import ClassMatches, Protocol, averaged_classes, is_zero_by_protocol

Array = NDArray[Any]
Statistic = Callable[[Array], float]
"""A metric as a function of video weights (V,): how often each video counts. NaN where undefined."""


@dataclass(frozen=True)
class ConfidenceInterval:
    """A percentile interval, in the unit of its metric."""

    low: float
    high: float


def draw_videos(n_videos: int, resamples: int, seed: int) -> Array:
    """(B, V): number of times each video is drawn in each resample."""
    return np.random.default_rng(seed).multinomial(n_videos, np.full(n_videos, 1 / n_videos), size=resamples)


def confidence_interval(
    statistic: Statistic, draws_BV: Array, confidence: float
) -> ConfidenceInterval | None:
    """Percentile interval that contains `confidence` of the resampled values.

    None without resamples, or if the metric is undefined in all of them.
    """
    values_B = np.array([statistic(weights_V) for weights_V in draws_BV])
    found = percentiles(values_B, central(confidence))
    return None if found is None else ConfidenceInterval(*found)


def central(confidence: float) -> tuple[float, float]:
    """Quantiles of the central interval: 0.9 gives (0.05, 0.95)."""
    tail = (1 - confidence) / 2
    return tail, 1 - tail


def percentiles(values_B: Array, quantiles: Sequence[float]) -> list[float] | None:
    """Quantiles of the resampled values without the undefined ones (NaN); None if nothing remains."""
    known = values_B[~np.isnan(values_B)]
    found: list[float] | None = np.quantile(known, quantiles).tolist() if len(known) else None
    return found


def weighted_map(matches: Sequence[ClassMatches], protocol: Protocol) -> Statistic:
    """Average mAP in percent under video weights; a video of weight 2 counts as two equal videos."""
    matches = averaged_classes(matches, protocol)
    if is_zero_by_protocol(matches, protocol):
        return lambda weights_V: 0.0
    class_precisions = [_weighted_precision(found) for found in matches]

    def statistic(weights_V: Array) -> float:
        values = np.array([precision(weights_V) for precision in class_precisions])
        return 100 * float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    return statistic


def _weighted_precision(found: ClassMatches) -> Statistic:
    """Average precision of one class, mean over IoU thresholds; NaN if no drawn video has its segments."""
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
