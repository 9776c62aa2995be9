"""Frame-level metrics: AUC, AP, Ano-AUC and false alarm rate, pooled over the frames of all videos.

AUC and AP are scikit-learn's. Belief modulation changes neither: P(abnormal) = sigmoid(logit / beta) is
monotonic in the logit, so it keeps the order of the frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluate.metrics.pairing import pair_videos
from extract.errors import InputError

Floats = NDArray[np.floating]
Labels = NDArray[np.bool_]
PerVideo = Mapping[str, ArrayLike] | Sequence[ArrayLike]


@dataclass(frozen=True)
class FrameMetrics:
    """Frame-level metrics as fractions in [0, 1]. A metric is None where the labels leave it undefined."""

    auc: float | None
    """Area under the ROC curve; None unless there are both normal and anomalous frames."""
    ap: float | None
    """Average precision; None without anomalous frames."""
    anomaly_auc: float | None
    """Ano-AUC: AUC over the frames of anomalous videos only, which excludes video-level cues."""
    far: float | None
    """False alarm rate: share of all normal frames with a score at or above the threshold."""
    far_normal: float | None
    """False alarm rate over the frames of normal videos only."""
    threshold: float = 0.5
    """Score at or above which a frame counts as an alarm."""


def frame_metrics(scores: PerVideo, labels: PerVideo, threshold: float = 0.5) -> FrameMetrics:
    """Frame-level AUC, AP, Ano-AUC and false alarm rates, pooled over all videos.

    A video counts as anomalous if any of its frames is labelled anomalous. AP on XD-Violence and AUC on
    UCF-Crime are the coarse-grained metrics of the paper (tables 1 and 2).

    Args:
        scores: Anomaly scores per video, each of shape (n_frames,). A mapping by video name, or a sequence.
            Any finite range; `threshold` uses the same unit.
        labels: Ground truth per video, each of shape (n_frames,), 1 or True for anomalous frames. A mapping
            by video name, or a sequence in the order of `scores`.
        threshold: Score at or above which a frame counts as an alarm.

    Returns:
        Fractions in [0, 1]; None for an undefined metric.

    Raises:
        ValueError: No videos, a video in only one of the two arguments, different lengths, NaN or infinite
            scores, labels other than 0 and 1. The message names the video.

    Examples:
        >>> from evaluate import frame_metrics
        >>> found = frame_metrics({"street": [0.1, 0.9, 0.8, 0.2]}, {"street": [0, 1, 1, 0]})
        >>> found.auc, found.far
        (1.0, 0.0)
    """
    videos = [
        _checked(name, np.asarray(values), np.asarray(truth))
        for name, values, truth in pair_videos(scores, labels)
    ]
    pooled_scores = np.concatenate([values for values, _ in videos])
    pooled_labels = np.concatenate([truth for _, truth in videos])
    in_anomalous = np.repeat([truth.any() for _, truth in videos], [len(truth) for _, truth in videos])
    alarms = pooled_scores >= threshold
    return FrameMetrics(
        auc=auc(pooled_labels, pooled_scores),
        ap=average_precision(pooled_labels, pooled_scores),
        anomaly_auc=auc(pooled_labels[in_anomalous], pooled_scores[in_anomalous]),
        far=_alarm_rate(alarms[~pooled_labels]),
        far_normal=_alarm_rate(alarms[~in_anomalous]),
        threshold=threshold,
    )


def auc(labels: Labels, scores: Floats) -> float | None:
    """Area under the ROC curve, in [0, 1]; None if all labels are equal."""
    return float(roc_auc_score(labels, scores)) if labels.any() and not labels.all() else None


def average_precision(labels: Labels, scores: Floats) -> float | None:
    """Average precision, in [0, 1]; None if no label is positive."""
    return float(average_precision_score(labels, scores)) if labels.any() else None


def _alarm_rate(alarms: Labels) -> float | None:
    return float(alarms.mean()) if alarms.size else None


def _checked(name: str, scores: Floats, labels: NDArray[np.generic]) -> tuple[Floats, Labels]:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"{name}: scores of shape {scores.shape}, labels of shape {labels.shape}; "
            "both must have shape (n_frames,)"
        )
    if not np.isfinite(scores).all():
        raise InputError(f"{name}: scores contain NaN or infinite values; score the video again")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{name}: labels must be 0 or 1, found {np.unique(labels)[:5].tolist()}")
    return scores, labels.astype(bool)
