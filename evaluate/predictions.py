"""What the scores say about a video as a whole: its anomaly score, its class distribution, its class.

All from its top-k snippets by anomaly score, k = floor(T / 16) + 1, as in training (paper, section 3).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.scores import VideoScores

Array = NDArray[Any]
ANOMALOUS = "anomalous"
"""What is said of a video or an interval by a detector that knows no classes."""


def top_snippets(scores: VideoScores) -> Array:
    """Indices of the k snippets with the highest anomaly score."""
    k = len(scores.anomaly_T) // 16 + 1
    return np.argsort(-scores.anomaly_T, kind="stable")[:k]


def video_score(scores: VideoScores) -> float:
    """Mean anomaly score of the top-k snippets, in [0, 1]."""
    return float(scores.anomaly_T[top_snippets(scores)].mean())


def likeliest_anomaly(scores: VideoScores) -> str:
    """The anomaly class with the highest mean belief over the top-k snippets; ANOMALOUS without classes."""
    if scores.classes_TC is None:
        return ANOMALOUS
    mean_C = scores.classes_TC[top_snippets(scores)].mean(axis=0)
    return scores.classes[1 + int(mean_C[1:].argmax())]


def predicted_class(scores: VideoScores, threshold: float) -> str:
    """Normal below the threshold, else the likeliest anomaly class.

    Not the largest of all classes: belief modulation shares the anomalous part among 13 classes of UCF-Crime,
    so that normal would nearly always win.
    """
    return likeliest_anomaly(scores) if video_score(scores) >= threshold else scores.classes[0]
