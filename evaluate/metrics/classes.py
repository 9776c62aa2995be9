"""The figures of every class on its own, with the numbers of videos and segments they rest on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.annotations import frame_labels
from evaluate.metrics.ranking import Ranking
from evaluate.metrics.segments import Protocol, SegmentMetrics
from evaluate.scores import expand_to_frames
from evaluate.videos import Scored, why_no_classes


@dataclass(frozen=True)
class ClassFigures:
    """One class; fractions, mAP in percent (mean over the IoU thresholds), None where undefined.

    `auc` and `ap`: the column of class scores against the frames annotated with the class, over all videos.
    `detection_auc`: the anomaly score over the frames of the videos that have the class.
    """

    label: str
    videos: int
    segments: int | None
    accuracy: float | None  # of its videos: predicted as one of their classes
    auc: float | None
    ap: float | None
    detection_auc: float | None
    map_published: float | None
    map_corrected: float | None


def class_figures(
    index: int, videos: Sequence[Scored], segments: dict[Protocol, SegmentMetrics]
) -> ClassFigures:
    label = videos[0].scores.classes[index]
    own = [video for video in videos if label in video.truth.labels]
    knows = why_no_classes(videos) is None
    right = [video.predicted in video.truth.labels for video in own if knows]
    annotated = index > 0 and all(video.labels is not None for video in videos)
    ranking = _class_ranking(index, label, videos) if annotated and knows else None
    detection = anomaly_ranking(own) if annotated else None
    return ClassFigures(
        label=label,
        videos=len(own),
        segments=sum(s.label == label for v in videos for s in v.truth.segments or ()) if annotated else None,
        accuracy=float(np.mean(right)) if right else None,
        auc=_number(ranking.auc()) if ranking else None,
        ap=_number(ranking.average_precision()) if ranking else None,
        detection_auc=_number(detection.auc()) if detection else None,
        map_published=segments["published"].per_class.get(label) if segments else None,
        map_corrected=segments["corrected"].per_class.get(label) if segments else None,
    )


def _class_ranking(index: int, label: str, videos: Sequence[Scored]) -> Ranking:
    """All frames ranked by the score of one class; positive are those annotated with it."""
    values, labels = [], []
    for scores, truth, *_ in videos:
        assert scores.classes_TC is not None
        column = scores.classes_TC[:, index]
        values.append(expand_to_frames(column, scores.snippet_length, scores.n_frames, scores.name))
        own = [segment for segment in truth.segments or () if segment.label == label]
        labels.append(frame_labels(own, scores.n_frames, scores.name))
    return Ranking.of(values, labels)


def anomaly_ranking(videos: Sequence[Scored]) -> Ranking | None:
    """All frames of annotated videos ranked by the anomaly score; None where there are none."""
    labels = [video.labels for video in videos if video.labels is not None]
    return Ranking.of([video.values for video in videos], labels) if labels else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
