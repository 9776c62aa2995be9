"""Video-level figures: anomalous or not, which class, and where the two prototypes land (paper, figure 6).

They need no temporal annotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import VideoTruth
from evaluate.metrics.frames import auc, average_precision
from evaluate.predictions import likeliest_anomaly, video_score
from evaluate.videos import Scored, why_no_classes
from extract.labels import NORMAL

Array = NDArray[Any]


@dataclass(frozen=True)
class VideoMetrics:
    """Fractions in [0, 1]; None where undefined. A prediction is right if it is one of the video's labels."""

    auc: float | None
    ap: float | None
    accuracy: float | None  # normal below the threshold, else the likeliest anomaly class
    anomaly_accuracy: float | None  # anomalous videos: the likeliest anomaly class
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


def video_metrics(videos: Sequence[Scored]) -> VideoMetrics:
    """All video-level figures of the scored videos."""
    anomalous = np.array([not video.truth.is_normal for video in videos])
    values = np.array([video_score(video.scores) for video in videos])
    knows = why_no_classes(videos) is None
    right = [video.predicted in video.truth.labels for video in videos if knows]
    named = [likeliest_anomaly(v.scores) in v.truth.labels for v in videos if knows and not v.truth.is_normal]
    event = [found in truth.labels for found, truth in _nearest(videos, "event_C")]
    background = [found == NORMAL for found, _ in _nearest(videos, "background_C")]
    return VideoMetrics(
        auc=auc(anomalous, values),
        ap=average_precision(anomalous, values),
        accuracy=_mean(right),
        anomaly_accuracy=_mean(named),
        event_accuracy=_mean(event),
        background_accuracy=_mean(background),
    )


def confusions(videos: Sequence[Scored]) -> list[Confusion]:
    """Confusion matrices of the videos' classes and, where the score files hold them, of both prototypes."""
    classes = videos[0].scores.classes
    pairs = {
        "Class of the video": [(v.predicted, v.truth) for v in videos if v.scores.classes_TC is not None],
        "Event prototype": _nearest(videos, "event_C"),
        "Background prototype": _nearest(videos, "background_C"),
    }
    return [Confusion(title, classes, _count(found, classes)) for title, found in pairs.items() if found]


def _nearest(videos: Sequence[Scored], field: str) -> list[tuple[str, VideoTruth]]:
    """Class nearest to one prototype, and the truth, of every video that has it."""
    found = [(getattr(video.scores, field), video) for video in videos]
    return [(v.scores.classes[int(value.argmax())], v.truth) for value, v in found if value is not None]


def _count(found: Sequence[tuple[str, VideoTruth]], classes: tuple[str, ...]) -> Array:
    counts_CC = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for predicted, truth in found:
        row = predicted if predicted in truth.labels else truth.labels[0]
        counts_CC[classes.index(row), classes.index(predicted)] += 1
    return counts_CC


def _mean(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None
