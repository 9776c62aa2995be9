"""Video-level metrics: anomalous or not, class, and classes of the two prototypes (paper, figure 6).

They need no temporal annotations.

Shapes: C classes (class 0 = normal).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import VideoTruth
from evaluate.evaluated_videos import EvaluatedVideo, missing_classes_reason
from evaluate.metrics.frames import auc, average_precision
from evaluate.predictions import likeliest_anomaly, video_score
from extract.labels import NORMAL

Array = NDArray[Any]


@dataclass(frozen=True)
class VideoMetrics:
    """Fractions in [0, 1]; None where undefined. A prediction is correct if it is a label of the video."""

    auc: float | None
    """AUC of the video scores."""
    ap: float | None
    """Average precision of the video scores."""
    accuracy: float | None
    """Accuracy of the predicted class: normal below the threshold, else the likeliest anomaly class."""
    anomaly_accuracy: float | None
    """Anomalous videos only: accuracy of the likeliest anomaly class."""
    event_accuracy: float | None
    """Accuracy of the event prototype's class; None if the score files have no prototypes."""
    background_accuracy: float | None
    """Share of background prototypes whose class is normal; None if the score files have none."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Number of videos by true class (rows) and predicted class (columns).

    A video with several labels counts in the row of the predicted class if that is one of its labels, else in
    the row of its first label.
    """

    title: str
    classes: tuple[str, ...]
    counts_CC: Array


def video_metrics(videos: Sequence[EvaluatedVideo]) -> VideoMetrics:
    """Video-level metrics of all videos."""
    anomalous = np.array([not video.truth.is_normal for video in videos])
    scores = np.array([video_score(video.scores) for video in videos])
    classified = videos if missing_classes_reason(videos) is None else []
    return VideoMetrics(
        auc=auc(anomalous, scores),
        ap=average_precision(anomalous, scores),
        accuracy=_mean([video.predicted in video.truth.labels for video in classified]),
        anomaly_accuracy=_mean(
            [
                likeliest_anomaly(video.scores) in video.truth.labels
                for video in classified
                if not video.truth.is_normal
            ]
        ),
        event_accuracy=_mean(
            [label in truth.labels for label, truth in _prototype_classes(videos, "event_C")]
        ),
        background_accuracy=_mean(
            [label == NORMAL for label, _ in _prototype_classes(videos, "background_C")]
        ),
    )


def confusions(videos: Sequence[EvaluatedVideo]) -> list[Confusion]:
    """Confusion matrices of the predicted classes and, if the score files have them, of both prototypes."""
    classes = videos[0].scores.classes
    predictions = {
        "Class of the video": [(v.predicted, v.truth) for v in videos if v.scores.classes_TC is not None],
        "Event prototype": _prototype_classes(videos, "event_C"),
        "Background prototype": _prototype_classes(videos, "background_C"),
    }
    return [
        Confusion(title, classes, _count(found, classes)) for title, found in predictions.items() if found
    ]


def _prototype_classes(videos: Sequence[EvaluatedVideo], field: str) -> list[tuple[str, VideoTruth]]:
    """Likeliest class of one prototype, and the ground truth, of each video that has the prototype."""
    found = [(getattr(video.scores, field), video) for video in videos]
    return [(v.scores.classes[int(value.argmax())], v.truth) for value, v in found if value is not None]


def _count(predictions: Sequence[tuple[str, VideoTruth]], classes: tuple[str, ...]) -> Array:
    counts_CC = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for predicted, truth in predictions:
        row = predicted if predicted in truth.labels else truth.labels[0]
        counts_CC[classes.index(row), classes.index(predicted)] += 1
    return counts_CC


def _mean(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None
