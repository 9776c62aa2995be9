"""Difference of two models on the same videos, with a paired bootstrap interval.

The resamples are paired: both models are evaluated on the same draws, so the difficulty of the videos cancels
in the difference.

Shapes: B resamples, V videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.annotations import VideoTruth
from evaluate.evaluated_videos import missing_frames_reason, read_videos
from evaluate.metrics.bootstrap import Statistic, draw_videos, percentiles
from evaluate.metrics.classes import anomaly_ranking
from evaluate.metrics.event_table import event_table
from evaluate.metrics.weighted import segment_matches, weighted_metrics
from extract.errors import InputError


@dataclass(frozen=True)
class Difference:
    """One metric of two models, as fractions (mAP too), and quantiles of second - first."""

    first: float
    second: float
    low: float
    middle: float
    high: float


def paired_differences(
    first_dir: Path,
    second_dir: Path,
    truths: Sequence[VideoTruth],
    metrics: Sequence[str],
    *,
    low: float,
    middle: float,
    resamples: int,
    seed: int,
) -> dict[str, Difference]:
    """The named metrics of two folders of score files; `low` and `middle` are quantiles in [0, 1].

    `high` is the quantile 1 - `low`. Resamples where the metric is undefined are left out. Raises ValueError
    for a metric that is unknown or undefined on these videos, and like `evaluate_scores` for the score files.
    """
    first, second = weighted_metrics_of(first_dir, truths), weighted_metrics_of(second_dir, truths)
    if lacking := [name for name in metrics if name not in first]:
        reason = missing_frames_reason(truths) or f"available: {', '.join(first)}"
        raise InputError(f"the test split has no {', '.join(lacking)}: {reason}")
    draws_BV = draw_videos(len(truths), resamples, seed)
    quantiles = (low, middle, 1 - low)
    return {name: _difference(name, first[name], second[name], draws_BV, quantiles) for name in metrics}


def whole_figures(scores_dir: Path, truths: Sequence[VideoTruth], metrics: Sequence[str]) -> dict[str, float]:
    """The named metrics of a folder of score files on all videos, as fractions, without undefined ones."""
    every_video = np.ones(len(truths))
    found = weighted_metrics_of(scores_dir, truths)
    values = {name: _scale(name) * found[name](every_video) for name in metrics if name in found}
    return {name: value for name, value in values.items() if not np.isnan(value)}


def _scale(name: str) -> float:
    """Factor from a metric's own unit to a fraction."""
    return 0.01 if name.startswith("map_") else 1.0


def _difference(
    name: str, first: Statistic, second: Statistic, draws_BV: np.ndarray, quantiles: Sequence[float]
) -> Difference:
    scale = _scale(name)
    every_video = np.ones(draws_BV.shape[1])
    found = percentiles(np.array([second(weights_V) - first(weights_V) for weights_V in draws_BV]), quantiles)
    whole = [scale * one(every_video) for one in (first, second)]
    if found is None:
        raise InputError(f"the test split has no {name}: all videos are normal, or all are anomalous")
    return Difference(*whole, *(scale * value for value in found))


def weighted_metrics_of(
    scores_dir: Path, truths: Sequence[VideoTruth], threshold: float = 0.5, release: float = 1.0
) -> dict[str, Statistic]:
    """The metrics of a folder of score files as functions of video weights (V,); see `weighted_metrics`.

    `threshold` affects only accuracy and false alarms, `release` only the events found.
    """
    videos = read_videos(scores_dir, truths, threshold)
    matches = segment_matches(videos)
    return weighted_metrics(videos, anomaly_ranking(videos), matches, threshold, event_table(videos, release))
