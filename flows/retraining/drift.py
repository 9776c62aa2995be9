"""Is the new footage still like what the champion was trained on? Two distributions, one value a video.

- Features: how far a video (its mean feature) is from the nearest training video, in cosine distance. For the
  training videos: from the nearest other one. Footage that is nearer than that is no drift.
- Scores: what the champion makes of a video, from normal (0) to anomalous (1).

The distance of two distributions is Kolmogorov and Smirnov's: the widest gap between the two cumulative
curves, in [0, 1]; of features the gap to the far side. Videos, not snippets, are counted: snippets of one
video say nearly the same thing.

Shapes: V videos, D width of a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.neighbors import NearestNeighbors

from evaluate.report.charts import Axis, Series, histogram, line_chart
from extract.store import feature_path, read_features
from flows.workspace.retrain_config import DriftConfig

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Drift:
    """One question: the training's values, the new ones, their distance and how likely chance makes it."""

    name: str
    label: str
    training_V: Array
    new_V: Array
    distance: float
    chance: float
    warns: bool

    @property
    def sentence(self) -> str:
        """What was found, in a few words."""
        counts = f"{len(self.new_V)} new videos against {len(self.training_V)}"
        return (
            f"{self.name} of {counts} trained on: distance {self.distance:.2f}, by chance {self.chance:.2g}"
        )


def feature_drift(
    features_dir: Path, training: Sequence[str], new: Sequence[str], config: DriftConfig
) -> Drift | None:
    """By features of the videos with these names; None where there is too little to compare."""
    if len(training) < 2 or not new:
        return None
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine").fit(_means(features_dir, training))
    training_V, new_V = (
        neighbours.kneighbors(videos)[0][:, 0] for videos in (None, _means(features_dir, new))
    )
    found = ks_2samp(training_V, new_V, alternative="greater")  # the training's curve above: it is nearer
    label = "cosine distance to the nearest training video"
    return _drift("features", label, training_V, new_V, found, config)


def score_drift(training: Sequence[float], new: Sequence[float], config: DriftConfig) -> Drift | None:
    """By the champion's video scores in [0, 1]; None where there is nothing to compare."""
    if not training or not new:
        return None
    training_V, new_V = np.array(training), np.array(new)
    found = ks_2samp(training_V, new_V)
    return _drift("scores", "anomaly score of a video", training_V, new_V, found, config)


def drift_charts(drift: Drift, config: DriftConfig) -> tuple[Markup, Markup]:
    """The two histograms, and the cumulative curves with the band that the new footage should stay in."""
    groups = [
        Series("training", [], drift.training_V, "var(--soft)"),
        Series("new footage", [], drift.new_V, "var(--accent)"),
    ]
    x = Axis.around(drift.label, [drift.training_V, drift.new_V], zero=True)
    at = np.linspace(x.low, x.high, 200)
    training, new = (_cumulative(values, at) for values in (drift.training_V, drift.new_V))
    band = np.concatenate([training + config.distance, training[::-1] - config.distance]).clip(0, 1)
    lines = [
        Series("training", at, training, "var(--soft)"),
        Series(f"threshold, ± {config.distance:g}", np.append(at, at[::-1]), band, "var(--truth)", True),
        Series("new footage", at, new, "var(--accent)"),
    ]
    return (
        histogram(f"Drift of {drift.name}", groups, x, "share of videos"),
        line_chart(f"Drift of {drift.name}: cumulative", lines, x, Axis("share of videos up to it")),
    )


def _drift(name: str, label: str, training_V: Array, new_V: Array, found: Any, config: DriftConfig) -> Drift:
    distance, chance = float(found.statistic), float(found.pvalue)
    warns = distance >= config.distance and chance < config.significance
    return Drift(name, label, training_V, new_V, distance, chance, warns)


def _means(features_dir: Path, names: Sequence[str]) -> Array:
    """(V, D) float32: every video's feature, averaged over its snippets and crops."""
    return np.stack(
        [
            read_features(feature_path(features_dir, name)).features.astype(np.float32).mean(axis=(0, 1))
            for name in names
        ]
    )


def _cumulative(values_V: Array, at: Array) -> Array:
    """Share of the values up to each of the points."""
    return np.searchsorted(np.sort(values_V), at, side="right") / len(values_V)
