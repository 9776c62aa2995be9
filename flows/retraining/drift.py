"""Drift: does the new footage differ from the champion's training videos? Two comparisons of videos.

- Features: cosine distance of a video (its mean feature) to the nearest training video; for a training video,
  to the nearest other one. Only a shift to larger distances counts.
- Scores: the champion's anomaly score of a video, in [0, 1].

The distance of two samples is the Kolmogorov-Smirnov statistic, the largest gap between their cumulative
distributions, in [0, 1]. Videos are compared, not snippets: the snippets of one video are not independent.
Of very many videos a fixed sample is compared (MOST_COMPARED).

Shapes: V videos, D width of a feature.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

from evaluate.report.chart_data import Axis, LineChart, Series
from evaluate.report.svg import histogram, line_chart
from flows.library.library import Library
from flows.library.records import ScoredVideo
from flows.workspace.retrain_config import DriftConfig

Array = NDArray[Any]

MOST_COMPARED = 5000
"""Videos of each side whose distance is computed: the time grows with their number times the training set's.

The sample is the same in every run. A distribution of 5,000 is known to ± 0.02 (with 95 % confidence).
"""
MOST_REFERENCE = 50_000
"""Training videos among which the nearest one is searched; of more, a sample of this size stands for them.

A sparser set makes all distances larger, those of training videos and of new ones alike.
"""
WORKING_MB = 256
"""Memory for the distances that are computed at once."""


@dataclass(frozen=True, eq=False)
class Drift:
    """One comparison of training videos and new videos.

    `warns` is True if both the distance and the p-value of the two-sample test pass their thresholds.
    """

    name: str
    axis_label: str
    training_V: Array
    new_V: Array
    distance: float
    p_value: float
    warns: bool

    @property
    def sentence(self) -> str:
        """For example `features of 13 new videos against 34 training videos: distance 0.42, p-value 0.01`."""
        return (
            f"{self.name} of {len(self.new_V)} new videos against {len(self.training_V)} training videos: "
            f"distance {self.distance:.2f}, p-value {self.p_value:.2g}"
        )


def find_drifts(
    library: Library, training: Sequence[ScoredVideo], new: Sequence[ScoredVideo], config: DriftConfig
) -> list[Drift]:
    """Both comparisons, without those that have too few videos. The scores are the champion's.

    The mean features are those of the library: no feature file is read.
    """
    reference = [training[place].digest for place in _sample(len(training), MOST_REFERENCE)]
    compared = [new[place].digest for place in _sample(len(new))]
    training_scores, new_scores = ([video.anomaly for video in videos] for videos in (training, new))
    drifts = (
        feature_drift(library.mean_features(reference), library.mean_features(compared), config),
        score_drift(training_scores, new_scores, config),
    )
    return [drift for drift in drifts if drift is not None]


def feature_drift(training_VD: Array, new_VD: Array, config: DriftConfig) -> Drift | None:
    """Compare the mean features of videos, (V, D). None without two training videos and a new one."""
    if len(training_VD) < 2 or not len(new_VD):
        return None
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine").fit(training_VD)
    with config_context(working_memory=WORKING_MB):
        training_V = _distances_to_others(neighbours, training_VD)
        new_V = neighbours.kneighbors(new_VD[_sample(len(new_VD))])[0][:, 0]
    # "greater": the training videos' cumulative distribution lies above, their distances are smaller.
    test = _two_sample_test(training_V, new_V, "greater")
    axis_label = "cosine distance to the nearest training video"
    return _drift("features", axis_label, training_V, new_V, test, config)


def _distances_to_others(neighbours: NearestNeighbors, training_VD: Array) -> Array:
    """Distance of each training video, or of a sample of them, to the nearest other one."""
    if len(training_VD) <= MOST_COMPARED:
        return neighbours.kneighbors()[0][:, 0]
    sample = _sample(len(training_VD))
    distance_V2, nearest_V2 = neighbours.kneighbors(training_VD[sample], 2)
    return np.where(nearest_V2[:, 1] == sample, distance_V2[:, 0], distance_V2[:, 1])


def _sample(count: int, most: int | None = None) -> NDArray[np.intp]:
    """Places of at most `most`, by default MOST_COMPARED, of `count` videos, ascending."""
    most = MOST_COMPARED if most is None else most
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def score_drift(training: Sequence[float], new: Sequence[float], config: DriftConfig) -> Drift | None:
    """Compare the champion's anomaly scores of videos. None without training videos or new videos."""
    if not training or not new:
        return None
    training_V, new_V = np.array(training), np.array(new)
    test = _two_sample_test(training_V, new_V, "two-sided")
    return _drift("scores", "anomaly score of a video", training_V, new_V, test, config)


def drift_charts(drift: Drift, config: DriftConfig) -> tuple[Markup, Markup]:
    """The histograms of both samples, and their cumulative distributions with the band of the threshold."""
    samples = [
        Series("training", [], drift.training_V, "soft"),
        Series("new footage", [], drift.new_V, "accent"),
    ]
    x = Axis.around(drift.axis_label, [drift.training_V, drift.new_V], zero=True)
    at = np.linspace(x.low, x.high, 200)
    training, new = (_cumulative(values, at) for values in (drift.training_V, drift.new_V))
    band = np.concatenate([training + config.distance, training[::-1] - config.distance]).clip(0, 1)
    lines = [
        Series("training", at, training, "soft"),
        Series(f"threshold, ± {config.distance:g}", np.append(at, at[::-1]), band, "truth", dashed=True),
        Series("new footage", at, new, "accent"),
    ]
    title = f"Drift of {drift.name}"
    y = Axis("share of videos up to this value")
    return (
        histogram(title, samples, x, "share of videos"),
        line_chart(LineChart(f"{title}: cumulative", lines, x, y)),
    )


def _two_sample_test(training_V: Array, new_V: Array, alternative: str) -> Any:
    """Kolmogorov-Smirnov test; the exact p-value of some thousand videos can overflow, then the limit's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful", RuntimeWarning)
        return ks_2samp(training_V, new_V, alternative=alternative)


def _drift(
    name: str, axis_label: str, training_V: Array, new_V: Array, test: Any, config: DriftConfig
) -> Drift:
    distance, p_value = float(test.statistic), float(test.pvalue)
    warns = distance >= config.distance and p_value < config.significance
    return Drift(name, axis_label, training_V, new_V, distance, p_value, warns)


def _cumulative(values_V: Array, at: Array) -> Array:
    """Share of the values up to each point of `at`."""
    return np.searchsorted(np.sort(values_V), at, side="right") / len(values_V)
