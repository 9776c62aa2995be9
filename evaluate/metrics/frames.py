"""Frame-level figures: AUC, AP, Ano-AUC and the false alarm rate, pooled over the frames of all videos.

AUC and AP are scikit-learn's. Belief modulation changes neither: P(abnormal) = sigmoid(logit / beta) keeps
the order of the frames, so a figure "after modulation" would be the same figure printed twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluate.metrics.pairing import paired

Floats = NDArray[np.floating]
Labels = NDArray[np.bool_]
PerVideo = Mapping[str, ArrayLike] | Sequence[ArrayLike]


@dataclass(frozen=True)
class FrameMetrics:
    """Fractions in [0, 1]; None where a figure is undefined (frames of one kind only)."""

    auc: float | None
    ap: float | None
    anomaly_auc: float | None  # over the frames of anomalous videos only: video-level cues do not help
    far: float | None  # normal frames at or above the threshold, of all normal frames
    far_normal: float | None  # the same over the frames of normal videos
    threshold: float = 0.5


def frame_metrics(scores: PerVideo, labels: PerVideo, threshold: float = 0.5) -> FrameMetrics:
    """Figures over per-video frame arrays: scores (n_frames,) and labels (n_frames,), 1 or True = anomalous.

    Both are mappings by video name, or sequences in the same order. A video is anomalous if any of its frames
    is. Raises ValueError naming the video for missing videos, other lengths, NaN, labels beyond 0 and 1.
    """
    videos = [
        _checked(name, np.asarray(values), np.asarray(truth))
        for name, values, truth in paired(scores, labels)
    ]
    pooled_scores = np.concatenate([values for values, _ in videos])
    pooled_labels = np.concatenate([truth for _, truth in videos])
    in_anomalous = np.repeat([truth.any() for _, truth in videos], [len(truth) for _, truth in videos])
    alarms = pooled_scores >= threshold
    return FrameMetrics(
        auc=auc(pooled_labels, pooled_scores),
        ap=average_precision(pooled_labels, pooled_scores),
        anomaly_auc=auc(pooled_labels[in_anomalous], pooled_scores[in_anomalous]),
        far=_rate(alarms[~pooled_labels]),
        far_normal=_rate(alarms[~in_anomalous]),
        threshold=threshold,
    )


def auc(labels: Labels, scores: Floats) -> float | None:
    """Area under the ROC curve, or None where all labels are the same."""
    return float(roc_auc_score(labels, scores)) if labels.any() and not labels.all() else None


def average_precision(labels: Labels, scores: Floats) -> float | None:
    """Average precision, or None where nothing is positive."""
    return float(average_precision_score(labels, scores)) if labels.any() else None


def _rate(alarms: Labels) -> float | None:
    return float(alarms.mean()) if alarms.size else None


def _checked(name: str, scores: Floats, labels: NDArray[np.generic]) -> tuple[Floats, Labels]:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"{name}: scores of shape {scores.shape}, labels of shape {labels.shape}; need (n,) both"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{name}: scores hold NaN or infinite values; score the video again")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{name}: labels must be 0 or 1, found {np.unique(labels)[:5].tolist()}")
    return scores, labels.astype(bool)
