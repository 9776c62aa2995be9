"""Frames ranked by score, as counts per run of equal scores: curves, AUC and AP under video weights.

The frames of one snippet share a score, so the 1.1 million frames of UCF-Crime become 70 thousand entries,
sorted once. The bootstrap evaluates a thousand resamples from the same cumulative sums that give the report's
curves. Results equal scikit-learn's, ties included (tested).

Shapes: K entries by descending score, V videos, G groups of equal score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Entries by descending score: their number of anomalous and normal frames, and their video."""

    positive_K: Array
    negative_K: Array
    video_K: Array
    group_ends_G: Array
    """Index of the last entry of each group of equal scores."""

    @classmethod
    def from_frames(cls, scores: Sequence[Array], labels: Sequence[Array]) -> "Ranking":
        """The ranking of all frames, from scores and bool labels per video, each of shape (n_frames,)."""
        entries = [_runs(values, truth) for values, truth in zip(scores, labels, strict=True)]
        value, positive, negative = (np.concatenate(column) for column in zip(*entries, strict=True))
        video = np.repeat(np.arange(len(entries)), [len(entry[0]) for entry in entries])
        order = np.argsort(-value)
        ends = np.append(np.flatnonzero(np.diff(value[order])), len(order) - 1)
        return cls(positive[order], negative[order], video[order], ends)

    def cumulative_counts(self, weights_V: Array | None = None) -> tuple[Array, Array]:
        """(G + 1,) each: anomalous and normal frames at or above each distinct score, from none to all."""
        positive, negative = self.positive_K, self.negative_K
        if weights_V is not None:
            weights = weights_V[self.video_K]
            positive, negative = positive * weights, negative * weights
        hits, alarms = (np.cumsum(column)[self.group_ends_G] for column in (positive, negative))
        return np.concatenate([[0], hits]), np.concatenate([[0], alarms])

    def auc(self, weights_V: Array | None = None) -> float:
        """Area under the ROC curve, in [0, 1]; NaN unless there are both anomalous and normal frames."""
        hits, alarms = self.cumulative_counts(weights_V)
        if not hits[-1] or not alarms[-1]:
            return float("nan")
        return float(np.trapezoid(hits / hits[-1], alarms / alarms[-1]))

    def average_precision(self, weights_V: Array | None = None) -> float:
        """Average precision without interpolation, in [0, 1]; NaN without anomalous frames."""
        hits, alarms = self.cumulative_counts(weights_V)
        if not hits[-1]:
            return float("nan")
        ranked = np.maximum(hits[1:] + alarms[1:], 1)
        return float((np.diff(hits) / hits[-1] * (hits[1:] / ranked)).sum())

    def roc_curve(self) -> tuple[Array, Array]:
        """(G + 1,) each: false positive rate and true positive rate."""
        hits, alarms = self.cumulative_counts()
        return alarms / max(alarms[-1], 1), hits / max(hits[-1], 1)

    def pr_curve(self) -> tuple[Array, Array]:
        """(G,) each: recall and precision."""
        hits, alarms = self.cumulative_counts()
        return hits[1:] / max(hits[-1], 1), hits[1:] / np.maximum(hits[1:] + alarms[1:], 1)


def _runs(values: Array, truth: Array) -> tuple[Array, Array, Array]:
    """Score, number of anomalous frames and number of normal frames of each run of equal scores."""
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    length = np.diff(np.append(starts, len(values)))
    positive = np.add.reduceat(truth.astype(np.int64), starts)
    return values[starts], positive, length - positive
