"""How far snippets lie from their video's dynamic normal patterns (paper, section 4.4 and figure 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import VideoTruth, frame_labels
from evaluate.scores import VideoScores

Array = NDArray[Any]
Video = tuple[VideoScores, VideoTruth]


@dataclass(frozen=True, eq=False)
class NormalDistances:
    """Snippets' smallest cosine distances to their video's dynamic normal patterns."""

    normal: Array
    anomalous: Array


def normal_distances(videos: Sequence[Video]) -> NormalDistances | None:
    """The samples of figure 5, or None where the score files or the annotations don't have them."""
    if any(scores.normal_distance_T is None or truth.segments is None for scores, truth in videos):
        return None
    distance = np.concatenate([np.asarray(scores.normal_distance_T) for scores, _ in videos])
    anomalous = np.concatenate([snippet_labels(scores, truth) for scores, truth in videos])
    if anomalous.all() or not anomalous.any():
        return None
    return NormalDistances(distance[~anomalous], distance[anomalous])


def snippet_labels(scores: VideoScores, truth: VideoTruth) -> NDArray[np.bool_]:
    """(T,) True where at least half of a snippet's frames are annotated."""
    labels = frame_labels(truth.segments or (), scores.n_frames, scores.name)
    starts = np.arange(len(scores.anomaly_T)) * scores.snippet_length
    sizes = np.diff(np.append(starts, scores.n_frames))
    half: NDArray[np.bool_] = 2 * np.add.reduceat(labels.astype(int), starts) >= sizes
    return half
