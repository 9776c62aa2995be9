"""Small test sets with ground truth and score files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.annotations import Segment, VideoTruth, frame_labels
from evaluate.scores import VideoScores, score_path, write_scores

CLASSES = ("normal", "riot", "fire")


def video_scores(name: str = "video", n_frames: int = 100, seed: int = 0, **changes: Any) -> VideoScores:
    """Valid scores of one video: seeded noise."""
    rng = np.random.default_rng(seed)
    length = -(-n_frames // 16)
    anomaly = rng.random(length)
    values: dict[str, Any] = {
        "name": name,
        "anomaly_T": anomaly,
        "classes_TC": _classes(anomaly, rng.random((length, 2))),
        "classes": CLASSES,
        "snippet_length": 16,
        "n_frames": n_frames,
        "fps": 25.0,
    }
    return VideoScores(**values | changes)


def informed_scores(truth: VideoTruth, n_frames: int, seed: int, **changes: Any) -> VideoScores:
    """Scores close to the ground truth, with noise, prototypes, distances and features."""
    rng = np.random.default_rng(seed)
    length = -(-n_frames // 16)
    labels = frame_labels(truth.segments or (), n_frames)
    shown = np.maximum.reduceat(labels, np.arange(0, n_frames, 16))
    anomaly = np.clip(0.15 + 0.6 * shown + rng.normal(0, 0.15, length), 0, 1)
    likely = rng.random((length, 2))
    for label in truth.labels:
        if label != "normal":
            likely[:, CLASSES.index(label) - 1] += 2
    index = CLASSES.index(truth.labels[0])
    return video_scores(
        truth.name,
        n_frames,
        **{
            "anomaly_T": anomaly,
            "classes_TC": _classes(anomaly, likely),
            "event_C": 0.1 + 0.7 * np.eye(3)[index],
            "background_C": np.array([0.8, 0.1, 0.1]),
            "normal_distance_T": 0.3 + 0.4 * shown,
            "learned_TD": rng.normal(0, 1, (length, 6)) + 3 * np.eye(6)[index] * shown[:, None],
        }
        | changes,
    )


def small_test_set() -> list[tuple[VideoTruth, int]]:
    """Six videos with their frame counts: three normal, a riot, a fire and one with both."""
    segments = {
        "riot": [Segment("riot", 32, 130)],
        "fire": [Segment("fire", 0, 60), Segment("fire", 200, 260)],
        "both": [Segment("riot", 10, 90), Segment("fire", 60, 140)],
    }
    truths = [
        VideoTruth("riot", ("riot",), tuple(segments["riot"])),
        VideoTruth("fire", ("fire",), tuple(segments["fire"])),
        VideoTruth("both", ("riot", "fire"), tuple(segments["both"])),
        *(VideoTruth(f"quiet{index}", ("normal",), ()) for index in range(3)),
    ]
    return list(zip(truths, (200, 310, 160, 96, 250, 170), strict=True))


def write_run(scores_dir: Path, videos: Sequence[tuple[VideoTruth, int]], seed: int = 0) -> list[VideoTruth]:
    """Write the score files of a run and return its ground truth."""
    for index, (truth, n_frames) in enumerate(videos):
        scores = informed_scores(truth, n_frames, 100 * seed + index)
        write_scores(score_path(scores_dir, truth.name), scores, {"seed": seed})
    return [truth for truth, _ in videos]


def _classes(anomaly: Any, likely: Any) -> Any:
    shares = np.exp(likely) / np.exp(likely).sum(axis=1, keepdims=True)
    return np.concatenate([1 - anomaly[:, None], anomaly[:, None] * shares], axis=1)
