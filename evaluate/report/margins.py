"""Differences from a reference model, with paired intervals: both are evaluated on the same resamples of the
videos, so the difficulty of the videos cancels in the difference.

Shapes: V videos, B resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import VideoTruth
from evaluate.metrics.bootstrap import percentiles
from evaluate.metrics.paired_difference import weighted_metrics_of

Array = NDArray[Any]


@dataclass(frozen=True)
class Margin:
    """Difference of a model's mean from the reference's, with a paired interval, in percentage points."""

    difference: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """True if these videos do not show which of the two models is better."""
        return self.low <= 0 <= self.high


def resampled_means(
    scores_dirs: Sequence[Path],
    truths: Sequence[VideoTruth],
    draws_BV: Array,
    names: Sequence[str],
    threshold: float = 0.5,
    release: float = 1.0,
) -> dict[str, Array]:
    """(1 + B,) means over folders of score files, in percent: all videos, then each resample.

    By metric, for those of `names` that all folders have. Raises what `weighted_metrics_of` raises.
    """
    runs = [weighted_metrics_of(folder, truths, threshold, release) for folder in scores_dirs]
    all_weights = [np.ones(len(truths), dtype=np.int64), *draws_BV]
    return {
        name: _percent(name)
        * np.array([fmean(run[name](weights) for run in runs) for weights in all_weights])
        for name in names
        if all(name in run for run in runs)
    }


def margins(
    model: Mapping[str, Array], reference: Mapping[str, Array], quantiles: tuple[float, float]
) -> dict[str, Margin]:
    """Differences of the metrics that both models have, unless undefined on these videos."""
    found = {}
    for name in [name for name in model if name in reference]:
        difference = model[name] - reference[name]
        interval = percentiles(difference[1:], quantiles)
        if interval and not np.isnan(difference[0]):
            found[name] = Margin(float(difference[0]), *interval)
    return found


def _percent(name: str) -> float:
    """Factor from a metric's own unit to percent: mAP is in percent, the others are fractions."""
    return 1.0 if name.startswith("map_") else 100.0
