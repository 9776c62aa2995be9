"""Charts of the report: ROC and PR curves, training curves, t-SNE (paper, figure 4), distances (figure 5)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from evaluate.evaluated_videos import EvaluatedVideo
from evaluate.evaluation import Evaluation
from evaluate.metrics.normal_distance import NormalDistances, snippet_labels
from evaluate.predictions import top_snippets
from evaluate.report.chart_data import Axis, LineChart, Series, line_colour
from evaluate.report.headlines import Metrics
from evaluate.report.svg import histogram, line_chart, scatter
from evaluate.report.training_curves import training_charts
from evaluate.scores import VideoScores
from extract.errors import InputError

Array = NDArray[Any]
RawFeatures = Callable[[str], ArrayLike]
"""Features (T, D) before the model, by video name."""
TSNE_PER_CLASS, TSNE_PER_VIDEO = 80, 8
"""Largest numbers of snippets in t-SNE."""


def curve_charts(runs: Sequence[tuple[str, Metrics]], curves_csv: Path | None = None) -> list[Markup]:
    """ROC and PR curves of one run or several, by name, and training curves from `curves_csv`."""
    charts = [*_score_curves(runs), *(training_charts(curves_csv) if curves_csv else ())]
    return [line_chart(chart) for chart in charts]


def feature_charts(evaluation: Evaluation, raw_features: RawFeatures | None) -> list[Markup]:
    """t-SNE if `config.tsne` is set, and distances to the normal patterns if the score files have them.

    Raises ValueError, naming the video, if its raw features have another number of snippets than its scores.
    """
    charts: list[Markup] = []
    if evaluation.config.tsne:
        charts += _embeddings(evaluation.videos, raw_features, evaluation.config.seed)
    if evaluation.distances is not None:
        charts.append(_distance_histogram(evaluation.distances))
    return charts


def _score_curves(runs: Sequence[tuple[str, Metrics]]) -> Iterator[LineChart]:
    for key, title, x, y in (
        ("roc", "ROC curve", "false positive rate", "true positive rate"),
        ("pr", "Precision and recall", "recall", "precision"),
    ):
        known = [(name, metrics["curves"][key]) for name, metrics in runs if metrics["curves"][key]]
        lines = [
            Series(name, curve[0], curve[1], line_colour(index)) for index, (name, curve) in enumerate(known)
        ]
        if lines and key == "roc":
            lines.append(Series("chance", [0, 1], [0, 1], "faint", dashed=True))
        if lines:
            yield LineChart(title, lines, Axis(x), Axis(y))


def _distance_histogram(distances: NormalDistances) -> Markup:
    samples = [
        Series(f"{name}, mean {sample.mean():.2f}", [], sample, colour)
        for name, sample, colour in (
            ("normal", distances.normal, "accent"),
            ("anomalous", distances.anomalous, "truth"),
        )
    ]
    x = Axis.around("cosine distance to the normal patterns", [distances.normal, distances.anomalous])
    return histogram("Distance to the normal patterns", samples, x, "share of snippets")


def _embeddings(
    videos: Sequence[EvaluatedVideo], raw_features: RawFeatures | None, seed: int
) -> Iterator[Markup]:
    """t-SNE of the same snippets before the model (if `raw_features` is given) and after it."""
    chosen = list(_chosen_snippets(videos))
    classes = videos[0].scores.classes
    class_N = np.concatenate([np.full(len(snippets), classes.index(label)) for _, label, snippets in chosen])
    if raw_features is not None:
        raw = [_raw_rows(raw_features, scores, snippets) for scores, _, snippets in chosen]
        yield _embedding("Features before the model (t-SNE)", raw, class_N, classes, seed)
    learned = [np.asarray(scores.learned_TD)[snippets] for scores, _, snippets in chosen]
    yield _embedding("Learned features (t-SNE)", learned, class_N, classes, seed)


def _chosen_snippets(videos: Sequence[EvaluatedVideo]) -> Iterator[tuple[VideoScores, str, Array]]:
    """Scores, class and snippets of each video: at most TSNE_PER_VIDEO, evenly spaced.

    All snippets of a normal video are candidates; of an anomalous video the annotated ones, or the top-k
    without temporal annotations. The class is the first label.
    """
    left = dict.fromkeys(videos[0].scores.classes, TSNE_PER_CLASS)
    for scores, truth in ((video.scores, video.truth) for video in videos):
        label = truth.labels[0]
        if truth.is_normal:
            candidates = np.arange(len(scores.anomaly_T))
        elif truth.segments is None:
            candidates = np.sort(top_snippets(scores))
        else:
            candidates = np.flatnonzero(snippet_labels(scores, truth))
        count = min(len(candidates), TSNE_PER_VIDEO, left[label])
        if count:
            left[label] -= count
            yield scores, label, candidates[np.linspace(0, len(candidates) - 1, count).astype(int)]


def _raw_rows(raw_features: RawFeatures, scores: VideoScores, snippets: Array) -> Array:
    features = np.asarray(raw_features(scores.name))
    if features.ndim != 2 or len(features) != len(scores.anomaly_T):
        expected = f"({len(scores.anomaly_T)}, D)"
        raise InputError(
            f"{scores.name}: raw features have shape {features.shape}, but its scores need {expected}"
        )
    return features[snippets]


def _embedding(
    title: str, rows: Sequence[Array], class_N: Array, classes: Sequence[str], seed: int
) -> Markup:
    features_ND = normalize(np.concatenate(rows).astype(np.float32))
    perplexity = min(30.0, max((len(features_ND) - 1) / 3, 1.0))
    # One thread: the order of additions, and so the result, is the same on every machine, and several threads
    # take minutes on a busy one.
    with threadpool_limits(1):
        points = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(features_ND)
    groups = []
    for index, name in enumerate(classes):
        x, y = points[class_N == index].T
        if len(x):
            groups.append(Series(name, x, y, f"class-{index}" if index else "faint"))
    return scatter(title, groups)
