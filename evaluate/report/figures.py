"""The page's charts: ROC and PR, training curves, t-SNE (paper, figure 4), distance to normal (figure 5)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from evaluate.annotations import VideoTruth
from evaluate.metrics.normal_distance import NormalDistances, snippet_labels
from evaluate.predictions import top_snippets
from evaluate.report.charts import Axis, Series, histogram, line_chart, scatter
from evaluate.report.training_curves import read_curves
from evaluate.scores import VideoScores

Array = NDArray[Any]
RawFeatures = Callable[[str], ArrayLike]
Video = tuple[VideoScores, VideoTruth]
LINE_COLOURS = ("var(--accent)", *(f"var(--class-{index})" for index in (4, 2, 6, 7, 9, 5, 1, 11, 3)))
TSNE_PER_CLASS, TSNE_PER_VIDEO = 80, 8


def score_curves(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Markup]:
    """ROC and PR charts from the `metrics.json` of one run, or of several overlaid."""
    for key, title, x, y in (
        ("roc", "ROC curve", "false positive rate", "true positive rate"),
        ("pr", "Precision and recall", "recall", "precision"),
    ):
        known = [(name, figures["curves"][key]) for name, figures in runs if figures["curves"][key]]
        lines = [Series(name, curve[0], curve[1], colour(index)) for index, (name, curve) in enumerate(known)]
        if lines and key == "roc":
            lines.append(Series("chance", [0, 1], [0, 1], "var(--faint)", dashed=True))
        if lines:
            yield line_chart(title, lines, Axis(x), Axis(y))


def training_charts(curves_csv: Path) -> Iterator[Markup]:
    """Loss terms, and validation figures where there are any, over the steps of a training run."""
    curves = read_curves(curves_csv)
    for title, lines, zero in (
        ("Training loss", curves.losses, True),
        ("Validation", curves.validation, False),
    ):
        ordered = sorted(lines, key=lambda name: (name != "total", name))
        series = [Series(name, *lines[name], colour(index)) for index, name in enumerate(ordered)]
        if series:
            x = Axis.around("step", [line.x for line in series])
            yield line_chart(title, series, x, Axis.around("", [line.y for line in series], zero=zero))


def colour(index: int) -> str:
    """Colour of the index-th line of a chart."""
    return LINE_COLOURS[index % len(LINE_COLOURS)]


def distance_chart(distances: NormalDistances) -> Markup:
    """Figure 5: how far normal and anomalous snippets lie from the normal patterns."""
    groups = [
        Series(f"{name}, mean {sample.mean():.2f}", [], sample, shade)
        for name, sample, shade in (
            ("normal", distances.normal, "var(--accent)"),
            ("anomalous", distances.anomalous, "var(--truth)"),
        )
    ]
    x = Axis.around("distance to the normal patterns", [distances.normal, distances.anomalous])
    return histogram("Distance to the normal patterns", groups, x, "share of snippets")


def embedding_charts(
    videos: Sequence[Video], raw_features: RawFeatures | None, seed: int
) -> Iterator[Markup]:
    """Figure 4: t-SNE of the same snippets before the model (if `raw_features` is given) and after it.

    Anomalous snippets come from the annotated segments, or are the highest ones where there are none.
    Raises ValueError naming the video whose raw features have another number of snippets.
    """
    chosen = list(_chosen_snippets(videos))
    classes = videos[0][0].classes
    index = np.concatenate([np.full(len(snippets), classes.index(label)) for _, label, snippets in chosen])
    if raw_features is not None:
        raw = [_raw_rows(raw_features, scores, snippets) for scores, _, snippets in chosen]
        yield _embedding_chart("Features before the model (t-SNE)", raw, index, classes, seed)
    learned = [np.asarray(scores.learned_TD)[snippets] for scores, _, snippets in chosen]
    yield _embedding_chart("Learned features (t-SNE)", learned, index, classes, seed)


def _raw_rows(raw_features: RawFeatures, scores: VideoScores, snippets: Array) -> Array:
    features = np.asarray(raw_features(scores.name))
    if features.ndim != 2 or len(features) != len(scores.anomaly_T):
        wanted = f"({len(scores.anomaly_T)}, D)"
        raise ValueError(f"{scores.name}: raw features have shape {features.shape}, its scores need {wanted}")
    return features[snippets]


def _chosen_snippets(videos: Sequence[Video]) -> Iterator[tuple[VideoScores, str, Array]]:
    """A few snippets a video, evenly spread over those that show its (first) class; so many a class."""
    left = dict.fromkeys(videos[0][0].classes, TSNE_PER_CLASS)
    for scores, truth in videos:
        label = truth.labels[0]
        if truth.is_normal:
            shown = np.arange(len(scores.anomaly_T))
        elif truth.segments is None:
            shown = np.sort(top_snippets(scores))
        else:
            shown = np.flatnonzero(snippet_labels(scores, truth))
        count = min(len(shown), TSNE_PER_VIDEO, left[label])
        if count:
            left[label] -= count
            yield scores, label, shown[np.linspace(0, len(shown) - 1, count).astype(int)]


def _embedding_chart(
    title: str, rows: Sequence[Array], index: Array, classes: Sequence[str], seed: int
) -> Markup:
    features = normalize(np.concatenate(rows).astype(np.float32))
    perplexity = min(30.0, max((len(features) - 1) / 3, 1.0))
    with threadpool_limits(
        1
    ):  # the same sums on every machine; and on a busy one, several threads take minutes
        points = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)
    groups = [
        Series(
            name,
            points[index == at, 0],
            points[index == at, 1],
            f"var(--class-{at})" if at else "var(--faint)",
        )
        for at, name in enumerate(classes)
        if (index == at).any()
    ]
    return scatter(title, groups)
