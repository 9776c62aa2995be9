"""Distance of snippets to the dynamic normal patterns of their video (paper, section 4.4 and figure 5).

Shapes: T snippets of a video, N snippets of one kind in all videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import VideoTruth
from evaluate.evaluated_videos import EvaluatedVideo
from evaluate.scores import VideoScores

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class NormalDistances:
    """(N,) smallest cosine distance of each snippet to its video's dynamic normal patterns, in [0, 2]."""

    normal: Array
    anomalous: Array


def normal_distances(videos: Sequence[EvaluatedVideo]) -> NormalDistances | None:
    """Both samples of figure 5; None if distances, temporal annotations or one of the samples is missing."""
    if any(video.scores.normal_distance_T is None or video.truth.segments is None for video in videos):
        return None
    distance = np.concatenate([np.asarray(video.scores.normal_distance_T) for video in videos])
    anomalous = np.concatenate([snippet_labels(video.scores, video.truth) for video in videos])
    if anomalous.all() or not anomalous.any():
        return None
    return NormalDistances(distance[~anomalous], distance[anomalous])


def snippet_labels(scores: VideoScores, truth: VideoTruth) -> NDArray[np.bool_]:
    """(T,) True where at least half of a snippet's frames are annotated as anomalous."""
    labels = truth.frame_labels(scores.n_frames)
    starts = np.arange(len(scores.anomaly_T)) * scores.snippet_length
    sizes = np.diff(np.append(starts, scores.n_frames))
    half: NDArray[np.bool_] = 2 * np.add.reduceat(labels.astype(int), starts) >= sizes
    return half
