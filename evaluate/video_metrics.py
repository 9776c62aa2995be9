"""Video-level figures: anomalous or not, which class, and where the two prototypes land (paper, figure 6).

They need no temporal annotation. A video's scores are means over its top-k snippets by anomaly score, with
k = floor(T / 16) + 1 as in training (paper, section 3): the score of the video, and its class distribution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import VideoTruth
from evaluate.frame_metrics import auc, average_precision
from evaluate.scores import VideoScores

Array = NDArray[Any]


@dataclass(frozen=True)
class VideoMetrics:
    """Fractions in [0, 1]; None where undefined. A prediction is right if it is one of the video's labels."""

    auc: float | None
    ap: float | None
    accuracy: float  # most likely class, the normal one included
    anomaly_accuracy: float | None  # anomalous videos: most likely anomaly class
    event_accuracy: float | None  # class of the event prototype (None: not in the score files)
    background_accuracy: float | None  # background prototypes that are nearest to normal


@dataclass(frozen=True, eq=False)
class Confusion:
    """Videos by true class (rows) and predicted class (columns).

    A video with several labels stands in the row of the predicted one if that is among them, else in the row
    of its first.
    """

    title: str
    classes: tuple[str, ...]
    counts_CC: Array


def top_snippets(scores: VideoScores) -> Array:
    """Indices of the k snippets with the highest anomaly score."""
    k = len(scores.anomaly_T) // 16 + 1
    return np.argsort(-scores.anomaly_T, kind="stable")[:k]


def video_score(scores: VideoScores) -> float:
    """Mean anomaly score of the top-k snippets, in [0, 1]."""
    return float(scores.anomaly_T[top_snippets(scores)].mean())


def video_classes(scores: VideoScores) -> Array:
    """(C,) mean class distribution of the top-k snippets."""
    mean: Array = scores.classes_TC[top_snippets(scores)].mean(axis=0)
    return mean


def video_metrics(videos: Sequence[tuple[VideoScores, VideoTruth]]) -> VideoMetrics:
    """All video-level figures of the scored videos."""
    anomalous = np.array([not truth.is_normal for _, truth in videos])
    values = np.array([video_score(scores) for scores, _ in videos])
    correct = [predicted_class(scores) in truth.labels for scores, truth in videos]
    named = [
        scores.classes[1 + int(video_classes(scores)[1:].argmax())] in truth.labels
        for scores, truth in videos
        if not truth.is_normal
    ]
    event = [found in truth.labels for found, truth in _prototypes(videos, "event_C")]
    background = [found == videos[0][0].classes[0] for found, _ in _prototypes(videos, "background_C")]
    return VideoMetrics(
        auc=auc(anomalous, values),
        ap=average_precision(anomalous, values),
        accuracy=float(np.mean(correct)),
        anomaly_accuracy=_mean(named),
        event_accuracy=_mean(event),
        background_accuracy=_mean(background),
    )


def predicted_class(scores: VideoScores) -> str:
    """The most likely class of a video, the normal one included."""
    return scores.classes[int(video_classes(scores).argmax())]


def confusions(videos: Sequence[tuple[VideoScores, VideoTruth]]) -> list[Confusion]:
    """Confusion matrices of the videos' classes and, where the score files hold them, of both prototypes."""
    classes = videos[0][0].classes
    pairs = {
        "Class of the video": [(predicted_class(scores), truth) for scores, truth in videos],
        "Event prototype": _prototypes(videos, "event_C"),
        "Background prototype": _prototypes(videos, "background_C"),
    }
    return [Confusion(title, classes, _count(found, classes)) for title, found in pairs.items() if found]


def _prototypes(videos: Sequence[tuple[VideoScores, VideoTruth]], field: str) -> list[tuple[str, VideoTruth]]:
    """Nearest class of one prototype, and the truth, of every video that has it."""
    read: Callable[[VideoScores], Array | None] = lambda scores: getattr(scores, field)  # noqa: E731
    return [
        (scores.classes[int(value.argmax())], truth)
        for scores, truth in videos
        if (value := read(scores)) is not None
    ]


def _count(found: Sequence[tuple[str, VideoTruth]], classes: tuple[str, ...]) -> Array:
    counts_CC = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for predicted, truth in found:
        row = predicted if predicted in truth.labels else truth.labels[0]
        counts_CC[classes.index(row), classes.index(predicted)] += 1
    return counts_CC


def _mean(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None
