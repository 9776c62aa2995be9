"""The headline metrics as functions of video weights, for the bootstrap.

Shapes: V videos.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import Segment
from evaluate.evaluated_videos import EvaluatedVideo, missing_classes_reason, missing_segments_reason
from evaluate.metrics.bootstrap import Statistic, weighted_map
from evaluate.metrics.event_table import EventTable
from evaluate.metrics.events import RATES, event_key
from evaluate.metrics.ranking import Ranking
from evaluate.metrics.segments import PROTOCOLS, ClassMatches, Protocol, match_segments
from evaluate.predictions import video_score
from extract.labels import UCF_CRIME_CLASSES

Array = NDArray[Any]


def weighted_metrics(
    videos: Sequence[EvaluatedVideo],
    ranking: Ranking | None,
    matches: Mapping[Protocol, list[ClassMatches]],
    threshold: float,
    table: EventTable | None = None,
) -> dict[str, Statistic]:
    """Functions of weights (V,) by metric name; mAP in percent, the others fractions, NaN where undefined.

    Frame-level metrics are left out if `ranking` is None, mAP if `matches` is empty (no temporal
    annotations), the shares of events found without `table`, class metrics if the detector has no classes.
    """
    return {
        **_video_level(videos),
        **(_frame_level(videos, ranking, threshold) if ranking else {}),
        **{f"map_{protocol}": weighted_map(found, protocol) for protocol, found in matches.items()},
        **(_event_level(table) if table else {}),
    }


def _video_level(videos: Sequence[EvaluatedVideo]) -> dict[str, Statistic]:
    statistics: dict[str, Statistic] = {}
    if missing_classes_reason(videos) is None:
        correct_V = np.array([video.predicted in video.truth.labels for video in videos])
        statistics["accuracy"] = lambda weights_V: float(weights_V @ correct_V / weights_V.sum())
    ranking = Ranking.from_frames(
        [np.array([video_score(video.scores)]) for video in videos],
        [np.array([not video.truth.is_normal]) for video in videos],
    )
    return statistics | {"video_auc": ranking.auc, "video_ap": ranking.average_precision}


def _frame_level(
    videos: Sequence[EvaluatedVideo], ranking: Ranking, threshold: float
) -> dict[str, Statistic]:
    anomalous_V = np.array([bool(np.any(video.labels_F)) for video in videos])
    normal = [video.anomaly_F[~video.labels_F] for video in videos if video.labels_F is not None]
    alarms_V = np.array([(values >= threshold).sum() for values in normal])
    normal_V = np.array([len(values) for values in normal])

    def far(weights_V: Array) -> float:
        n_normal = weights_V @ normal_V
        return float(weights_V @ alarms_V / n_normal) if n_normal else math.nan

    return {
        "auc": ranking.auc,
        "ap": ranking.average_precision,
        "anomaly_auc": lambda weights_V: ranking.auc(weights_V * anomalous_V),
        "far": far,
    }


def _event_level(table: EventTable) -> dict[str, Statistic]:
    return {event_key(rate): partial(table.found, rate) for rate in RATES}


def segment_matches(videos: Sequence[EvaluatedVideo]) -> dict[Protocol, list[ClassMatches]]:
    """Proposals and hits of each class by both protocols.

    Empty if a video has no annotated segments (`missing_segments_reason`), or the detector no classes.
    """
    if missing_classes_reason(videos) or missing_segments_reason([video.truth for video in videos]):
        return {}
    return {protocol: _match_videos(videos, protocol) for protocol in PROTOCOLS}


def _match_videos(videos: Sequence[EvaluatedVideo], protocol: Protocol) -> list[ClassMatches]:
    """Matches against ground truth in the published form: a normal video is one segment of all its snippets.

    The published files label that segment "A", which is not a class of UCF-Crime and so is ignored there;
    with other class lists it is the normal class.
    """
    classes = videos[0].scores.classes
    normal = "A" if set(classes) == set(UCF_CRIME_CLASSES) else classes[0]
    segments: dict[str, Sequence[Segment]] = {}
    for scores, truth in ((video.scores, video.truth) for video in videos):
        whole = Segment(normal, 0, len(scores.anomaly_T) * scores.snippet_length)
        segments[scores.name] = [whole] if truth.is_normal else truth.segments or ()
    scores_by_name = {v.scores.name: v.scores.classes_TC for v in videos if v.scores.classes_TC is not None}
    return match_segments(scores_by_name, segments, classes, protocol, videos[0].scores.snippet_length)
