"""Metrics of each class, with the numbers of videos and segments they are computed from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.evaluated_videos import EvaluatedVideo, missing_classes_reason
from evaluate.metrics.ranking import Ranking
from evaluate.metrics.segments import Protocol, SegmentMetrics
from evaluate.scores import expand_to_frames


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class: mAP in percent, the others fractions in [0, 1]; None where undefined."""

    label: str
    videos: int
    segments: int | None
    """Number of annotated segments; None for the normal class and without temporal annotations."""
    accuracy: float | None
    """Share of the class's videos whose predicted class is one of their labels."""
    auc: float | None
    """AUC of the class score over the frames of all videos; positive: frames annotated with the class."""
    ap: float | None
    """Average precision of the same ranking."""
    detection_auc: float | None
    """AUC of the anomaly score over the frames of the class's videos."""
    map_published: float | None
    """Mean over the IoU thresholds, published protocol."""
    map_corrected: float | None
    """Mean over the IoU thresholds, corrected protocol."""


def class_metrics(
    index: int, videos: Sequence[EvaluatedVideo], segments: Mapping[Protocol, SegmentMetrics]
) -> ClassMetrics:
    """Metrics of the class with this index; `segments` is empty where mAP is undefined."""
    label = videos[0].scores.classes[index]
    own = [video for video in videos if label in video.truth.labels]
    has_classes = missing_classes_reason(videos) is None
    correct = [video.predicted in video.truth.labels for video in own if has_classes]
    annotated = index > 0 and all(video.truth.segments is not None for video in videos)
    ranking = _class_ranking(index, videos) if annotated and has_classes else None
    detection = anomaly_ranking(own)
    return ClassMetrics(
        label=label,
        videos=len(own),
        segments=sum(s.label == label for v in videos for s in v.truth.segments or ()) if annotated else None,
        accuracy=float(np.mean(correct)) if correct else None,
        auc=_defined(ranking.auc()) if ranking else None,
        ap=_defined(ranking.average_precision()) if ranking else None,
        detection_auc=_defined(detection.auc()) if detection else None,
        map_published=segments["published"].per_class.get(label) if segments else None,
        map_corrected=segments["corrected"].per_class.get(label) if segments else None,
    )


def _class_ranking(index: int, videos: Sequence[EvaluatedVideo]) -> Ranking:
    """All frames ranked by the score of one class; positive: frames annotated with the class."""
    values, labels = [], []
    for scores, truth in ((video.scores, video.truth) for video in videos):
        assert scores.classes_TC is not None
        column = scores.classes_TC[:, index]
        values.append(expand_to_frames(column, scores.snippet_length, scores.n_frames))
        labels.append(truth.class_labels(scores.classes[index], scores.n_frames))
    return Ranking.from_frames(values, labels)


def anomaly_ranking(videos: Sequence[EvaluatedVideo]) -> Ranking | None:
    """All frames ranked by the anomaly score; None without videos or frame labels."""
    labels = [video.labels_F for video in videos if video.labels_F is not None]
    return Ranking.from_frames([video.anomaly_F for video in videos], labels) if labels else None


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
