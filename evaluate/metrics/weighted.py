"""The headline figures as functions of video weights: how often a video counts, which a bootstrap draws."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import Segment
from evaluate.metrics.bootstrap import map_statistic
from evaluate.metrics.ranking import Ranking
from evaluate.metrics.segments import ClassMatches, Protocol, match_segments
from evaluate.predictions import video_score
from evaluate.videos import Scored, why_no_classes
from extract.labels import UCF_CRIME_CLASSES

Array = NDArray[Any]
Statistic = Callable[[Array], float]
PROTOCOLS: tuple[Protocol, ...] = ("published", "corrected")


def weighted_figures(
    videos: Sequence[Scored],
    ranking: Ranking | None,
    matches: Mapping[Protocol, list[ClassMatches]],
    threshold: float,
) -> dict[str, Statistic]:
    """Functions of weights (V,) by the name of their figure; NaN where the weighted videos don't have it.

    `ranking` and `matches` are None and empty in a set that is not annotated in time: then there are
    figures of whole videos only. Those that need classes are left out where the detector knows none.
    mAP is in percent, everything else a fraction.
    """
    whole = Ranking.of(
        [np.array([video_score(video.scores)]) for video in videos],
        [np.array([not video.truth.is_normal]) for video in videos],
    )
    figures: dict[str, Statistic] = {}
    if why_no_classes(videos) is None:
        right_V = np.array([video.predicted in video.truth.labels for video in videos])
        figures["accuracy"] = lambda w: float(w @ right_V / w.sum())
    figures |= {"video_auc": whole.auc, "video_ap": whole.average_precision}
    if ranking:
        anomalous_V = np.array([bool(np.any(video.labels)) for video in videos])
        alarms_V, normal_V = _false_alarms(videos, threshold)
        figures |= {
            "auc": ranking.auc,
            "ap": ranking.average_precision,
            "anomaly_auc": lambda w: ranking.auc(w * anomalous_V),
            "far": lambda w: float(w @ alarms_V / (w @ normal_V)) if (w @ normal_V) else math.nan,
        }
    for protocol, found in matches.items():
        figures[f"map_{protocol}"] = map_statistic(found, protocol)
    return figures


def segment_matches(videos: Sequence[Scored]) -> dict[Protocol, list[ClassMatches]]:
    """Proposals and hits of every class by both protocols, of videos that are annotated in time.

    Empty where the detector knows no classes.
    """
    if why_no_classes(videos):
        return {}
    return {protocol: _matches(videos, protocol) for protocol in PROTOCOLS}


def _matches(videos: Sequence[Scored], protocol: Protocol) -> list[ClassMatches]:
    classes = videos[0].scores.classes
    # As in the published truth files: a normal video is one run over all its snippets, called "A". On
    # UCF-Crime no class has that name (map-protocol quirk); elsewhere it is the normal class.
    normal = "A" if set(classes) == set(UCF_CRIME_CLASSES) else classes[0]
    segments: dict[str, Sequence[Segment]] = {}
    for scores, truth, *_ in videos:
        whole = Segment(normal, 0, len(scores.anomaly_T) * scores.snippet_length)
        segments[scores.name] = [whole] if truth.is_normal else truth.segments or ()
    scores_by_name = {v.scores.name: v.scores.classes_TC for v in videos if v.scores.classes_TC is not None}
    return match_segments(scores_by_name, segments, classes, protocol, videos[0].scores.snippet_length)


def _false_alarms(videos: Sequence[Scored], threshold: float) -> tuple[Array, Array]:
    """(V,) each: normal frames at or above the threshold, and all normal frames."""
    normal = [video.values[~video.labels] for video in videos if video.labels is not None]
    return np.array([(values >= threshold).sum() for values in normal]), np.array([len(v) for v in normal])
