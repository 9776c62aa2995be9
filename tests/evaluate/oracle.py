"""Literal implementation of the mAP@IoU protocols, step by step and frame by frame; slow.

Reference for `evaluate.metrics.segments`, without shared code. Frames are sets, the non-maximum suppression
is included, and equal scores are ordered by NumPy's default sort (published) or by video (corrected).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
Run = tuple[int, int, int, float]  # video, first frame, frame after the last, score
Truth = tuple[str, int | str, int | str]
SortKind = Literal["quicksort", "stable"]


def published_map(
    scores: Sequence[NDArray[np.floating]], segments: Sequence[Sequence[Truth]], classes: Sequence[str]
) -> list[float]:
    """mAP in percent at IoU 0.1 to 0.5, from snippet scores (T, C) and truths in frames."""
    runs = [_class_runs(scores, index, "quicksort") for index in range(len(classes))]
    truths = [_class_truths(segments, label) for label in classes]
    if any(not found for found in runs):
        return [0.0] * len(IOU_THRESHOLDS)
    return _means(list(zip(runs, truths, strict=True)))


def corrected_map(
    scores: Sequence[NDArray[np.floating]], segments: Sequence[Sequence[Truth]], classes: Sequence[str]
) -> list[float]:
    """mAP in percent over the anomaly classes that occur, with or without proposals."""
    pairs = [
        (_class_runs(scores, index, "stable"), _class_truths(segments, label))
        for index, label in enumerate(classes)
        if index > 0
    ]
    return _means([(runs, truths) for runs, truths in pairs if truths])


def _means(classes: list[tuple[list[Run], list[tuple[int, int, int]]]]) -> list[float]:
    if not classes:
        return [float("nan")] * len(IOU_THRESHOLDS)
    return [
        100 * float(np.mean([_average_precision(runs, truths, threshold) for runs, truths in classes]))
        for threshold in IOU_THRESHOLDS
    ]


def _class_truths(segments: Sequence[Sequence[Truth]], label: str) -> list[tuple[int, int, int]]:
    return [
        (video, int(start), int(end))
        for video, found in enumerate(segments)
        for name, start, end in found
        if name == label
    ]


def _class_runs(scores: Sequence[NDArray[np.floating]], index: int, kind: SortKind) -> list[Run]:
    """All runs of one class in all videos, by descending score."""
    runs: list[Run] = []
    for video, values_TC in enumerate(scores):
        values_FC = np.repeat(values_TC, 16, axis=0)
        # Mean over all columns at once: the rounding of the sum depends on the array's layout.
        falling = -np.sort(-values_FC, axis=0)
        belief = np.mean(falling[: len(falling) // 16], axis=0)[index]
        values = values_FC[:, index] * (belief > 0)
        runs += _suppressed(_by_score(_runs_above(values, belief, video), kind))
    return _by_score(runs, kind)


def _runs_above(values: NDArray[np.floating], belief: float, video: int) -> list[Run]:
    threshold = np.max(values) - (np.max(values) - np.min(values)) * np.float64(0.6)
    runs = []
    start = None
    for frame in range(len(values) + 1):
        above = frame < len(values) and values[frame] > threshold
        if above and start is None:
            start = frame
        if not above and start is not None:
            if frame - start >= 2:
                runs.append((video, start, frame, float(np.max(values[start:frame]) + 0.7 * belief)))
            start = None
    return runs


def _by_score(runs: list[Run], kind: SortKind) -> list[Run]:
    order = np.argsort(-np.array([run[3] for run in runs]), kind=kind) if runs else []
    return [runs[index] for index in order]


def _suppressed(runs: list[Run]) -> list[Run]:
    """Greedy non-maximum suppression: drops a run whose IoU with a kept one is above 0.6."""
    kept: list[Run] = []
    for run in runs:
        overlaps = []
        for other in kept:
            shared = max(0.0, min(run[2], other[2]) - max(run[1], other[1]))
            overlaps.append(shared / (run[2] - run[1] + other[2] - other[1] - shared))
        if all(overlap <= 0.6 for overlap in overlaps):
            kept.append(run)
    return kept


def _average_precision(runs: list[Run], truths: list[tuple[int, int, int]], threshold: float) -> float:
    free = list(truths)
    hits = []
    for video, start, end, _ in runs:
        best, best_overlap = None, 0.0
        for truth in free:
            if truth[0] != video:
                continue
            frames, truth_frames = set(range(start, end)), set(range(truth[1], truth[2]))
            overlap = len(frames & truth_frames) / len(frames | truth_frames)
            if overlap >= threshold and overlap > best_overlap:
                best, best_overlap = truth, overlap
        hits.append(best is not None)
        if best is not None:
            free.remove(best)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(np.sum(precision * hits) / len(truths)) if any(hits) else 0.0
