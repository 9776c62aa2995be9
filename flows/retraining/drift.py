"""Drift: does the new footage differ from the champion's training videos? Two comparisons of videos.

- Features: cosine distance of a video (its mean feature) to the nearest training video; for a training video,
  to the nearest other one. Only a shift to larger distances counts.
- Scores: the champion's anomaly score of a video, in [0, 1].

The distance of two samples is the Kolmogorov-Smirnov statistic, the largest gap between their cumulative
distributions, in [0, 1]. Videos are compared, not snippets: the snippets of one video are not independent.

Shapes: V videos, D width of a feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.neighbors import NearestNeighbors

from evaluate.report.chart_data import Axis, LineChart, Series
from evaluate.report.svg import histogram, line_chart
from extract.store import feature_path, read_features
from flows.library.records import Score, Video
from flows.workspace.retrain_config import DriftConfig

Array = NDArray[Any]


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
    features_dir: Path,
    training: Sequence[Video],
    new: Sequence[Video],
    scores: Mapping[str, Score],
    config: DriftConfig,
) -> list[Drift]:
    """Both comparisons, without those that have too few videos. `scores` are the champion's, by digest."""
    training_names, new_names = ([video.name for video in videos] for videos in (training, new))
    training_scores, new_scores = (
        [scores[video.digest].anomaly for video in videos] for videos in (training, new)
    )
    drifts = (
        feature_drift(features_dir, training_names, new_names, config),
        score_drift(training_scores, new_scores, config),
    )
    return [drift for drift in drifts if drift is not None]


def feature_drift(
    features_dir: Path, training: Sequence[str], new: Sequence[str], config: DriftConfig
) -> Drift | None:
    """Compare the features of videos, given by name. None without two training videos and a new one."""
    if len(training) < 2 or not new:
        return None
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine").fit(_mean_features(features_dir, training))
    training_V, new_V = (
        neighbours.kneighbors(queries)[0][:, 0] for queries in (None, _mean_features(features_dir, new))
    )
    # "greater": the training videos' cumulative distribution lies above, their distances are smaller.
    test = ks_2samp(training_V, new_V, alternative="greater")
    axis_label = "cosine distance to the nearest training video"
    return _drift("features", axis_label, training_V, new_V, test, config)


def score_drift(training: Sequence[float], new: Sequence[float], config: DriftConfig) -> Drift | None:
    """Compare the champion's anomaly scores of videos. None without training videos or new videos."""
    if not training or not new:
        return None
    training_V, new_V = np.array(training), np.array(new)
    return _drift(
        "scores", "anomaly score of a video", training_V, new_V, ks_2samp(training_V, new_V), config
    )


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


def _drift(
    name: str, axis_label: str, training_V: Array, new_V: Array, test: Any, config: DriftConfig
) -> Drift:
    distance, p_value = float(test.statistic), float(test.pvalue)
    warns = distance >= config.distance and p_value < config.significance
    return Drift(name, axis_label, training_V, new_V, distance, p_value, warns)


def _mean_features(features_dir: Path, names: Sequence[str]) -> Array:
    """(V, D) float32: mean feature of each video over its snippets and crops."""
    return np.stack(
        [
            read_features(feature_path(features_dir, name)).features.astype(np.float32).mean(axis=(0, 1))
            for name in names
        ]
    )


def _cumulative(values_V: Array, at: Array) -> Array:
    """Share of the values up to each point of `at`."""
    return np.searchsorted(np.sort(values_V), at, side="right") / len(values_V)
