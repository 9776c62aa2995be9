"""Is one model worse than another? Both on the same videos, the difference drawn by the bootstrap.

The resamples are paired: what makes a video hard is hard for both models, and falls out of the difference.
Shapes: B resamples, V videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.annotations import VideoTruth
from evaluate.metrics.bootstrap import draw_videos
from evaluate.metrics.classes import anomaly_ranking
from evaluate.metrics.weighted import Statistic, segment_matches, weighted_figures
from evaluate.videos import read_videos, why_no_frames


@dataclass(frozen=True)
class Difference:
    """A figure of two models, as a fraction (mAP too), and what the bootstrap says of second - first."""

    first: float
    second: float
    low: float
    middle: float
    high: float


def paired_differences(
    first_dir: Path,
    second_dir: Path,
    truths: Sequence[VideoTruth],
    figures: Sequence[str],
    *,
    low: float,
    middle: float,
    resamples: int,
    seed: int,
) -> dict[str, Difference]:
    """The named figures of the score files in two folders; `low` and `middle` are quantiles in [0, 1].

    `high` is the quantile 1 - `low`. Resamples that lack the figure are left out. Raises ValueError for
    a figure that these videos don't have, naming why, and for what `evaluate_scores` would refuse.
    """
    first, second = scored_figures(first_dir, truths), scored_figures(second_dir, truths)
    if lacking := [name for name in figures if name not in first]:
        reason = why_no_frames(truths) or f"there are {', '.join(first)}"
        raise ValueError(f"the test split has no {', '.join(lacking)}: {reason}")
    draws_BV = draw_videos(len(truths), resamples, seed)
    result = {}
    for name in figures:
        scale = 0.01 if name.startswith("map_") else 1.0
        drawn = np.array([second[name](weights_V) - first[name](weights_V) for weights_V in draws_BV])
        whole = [scale * one[name](np.ones(len(truths), dtype=np.int64)) for one in (first, second)]
        known = drawn[~np.isnan(drawn)]
        if not len(known) or np.isnan(whole).any():
            raise ValueError(f"the test split has no {name}: its videos are all of one kind")
        quantiles = scale * np.quantile(known, [low, middle, 1 - low])
        result[name] = Difference(*whole, *quantiles.tolist())
    return result


def scored_figures(scores_dir: Path, truths: Sequence[VideoTruth]) -> dict[str, Statistic]:
    """The figures of a folder of score files as functions of video weights (V,); see `weighted_figures`."""
    videos = read_videos(scores_dir, truths, threshold=0.5)  # which these figures don't depend on
    annotated = why_no_frames(truths) is None
    ranking = anomaly_ranking(videos) if annotated else None
    matches = segment_matches(videos) if annotated else {}
    return weighted_figures(videos, ranking, matches, threshold=0.5)
