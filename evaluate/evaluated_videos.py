"""The videos of an evaluation: score files read, and checked against the ground truth and each other.

Shapes: F frames.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from evaluate.annotations import VideoTruth
from evaluate.predictions import predicted_class, video_score
from evaluate.scores import VideoScores, content_digest, expand_to_frames, read_scores, score_path
from extract.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class EvaluatedVideo:
    """One video with its scores, its ground truth and its predicted class."""

    scores: VideoScores
    truth: VideoTruth
    predicted: str
    """Normal class below the threshold, else the likeliest anomaly class."""
    anomaly_F: Array
    """Anomaly score of each frame."""
    labels_F: Array | None
    """True for anomalous frames; None if any video of the set lacks temporal annotations."""

    @cached_property
    def missed(self) -> float | None:
        """1 - mean score of the anomalous frames, in [0, 1]; None if there are none.

        Without frame labels: 1 - video score of an anomalous video.
        """
        if self.labels_F is None:
            return None if self.truth.is_normal else 1 - video_score(self.scores)
        return 1 - float(self.anomaly_F[self.labels_F].mean()) if self.labels_F.any() else None

    @cached_property
    def false_alarm(self) -> float | None:
        """Mean score of the normal frames, in [0, 1]; None if there are none.

        Without frame labels: video score of a normal video.
        """
        if self.labels_F is None:
            return video_score(self.scores) if self.truth.is_normal else None
        return float(self.anomaly_F[~self.labels_F].mean()) if not self.labels_F.all() else None

    @property
    def error(self) -> float:
        """`missed` if the video has anomalous frames, else `false_alarm`; in [0, 1]."""
        return next((value for value in (self.missed, self.false_alarm) if value is not None), 0.0)


def select_scored(
    scores_dir: Path, truths: Sequence[VideoTruth], only_scored: bool
) -> tuple[list[VideoTruth], tuple[str, ...]]:
    """The videos that have a score file, and the names of the others.

    Raises ValueError if two videos have the same name, if no video has a score file, or if any has none and
    `only_scored` is False.
    """
    names = [truth.name for truth in truths]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{min(repeated)}: this video name occurs more than once in the test set")
    unscored = dict.fromkeys(name for name in names if not score_path(scores_dir, name).is_file())
    if len(unscored) == len(names):
        raise InputError(
            f"none of the {len(names)} test videos has a score file in {scores_dir}; run inference"
        )
    if unscored and not only_scored:
        raise InputError(
            f"{next(iter(unscored))}: no score file in {scores_dir} (missing for {len(unscored)} of "
            f"{len(names)} videos); run inference for them, or evaluate with only_scored"
        )
    return [truth for truth in truths if truth.name not in unscored], tuple(unscored)


def read_videos(scores_dir: Path, truths: Sequence[VideoTruth], threshold: float) -> list[EvaluatedVideo]:
    """Read and check the score files of all videos.

    Frame labels are set only if every video has temporal annotations. Raises ValueError, naming the video, if
    scores and ground truth do not fit together, or if the score files are from different models.
    """
    annotated = missing_frames_reason(truths) is None
    videos = [_read_video(scores_dir, truth, threshold, annotated=annotated) for truth in truths]
    _check_same_model([video.scores for video in videos])
    return videos


def missing_frames_reason(truths: Sequence[VideoTruth]) -> str | None:
    """Why frame-level metrics cannot be computed; None if they can."""
    unknown = [truth.name for truth in truths if truth.segments is None and truth.frames is None]
    if not unknown:
        return None
    return f"{len(unknown)} anomalous video(s) without temporal annotations, first: {unknown[0]}"


def missing_segments_reason(truths: Sequence[VideoTruth]) -> str | None:
    """Why segment-level metrics cannot be computed; None if they can."""
    unknown = [truth.name for truth in truths if truth.segments is None]
    if not unknown or missing_frames_reason(truths):
        return missing_frames_reason(truths)
    return f"the annotations of {len(unknown)} video(s) have no classes, first: {unknown[0]}"


def missing_classes_reason(videos: Sequence[EvaluatedVideo]) -> str | None:
    """Why class metrics cannot be computed; None if they can."""
    if all(video.scores.classes_TC is not None for video in videos):
        return None
    return "the detector separates only normal from anomalous and gives no class scores"


def run_digests(scores_dir: Path, truths: Sequence[VideoTruth]) -> dict[str, str]:
    """SHA-256 of all score files and of the ground truth, for the comparison of runs."""
    facts = repr([truth.facts for truth in truths])
    return {
        "scores": scores_digest(scores_dir, [truth.name for truth in truths]),
        "truth": hashlib.sha256(facts.encode()).hexdigest(),
    }


def scores_digest(scores_dir: Path, names: Sequence[str]) -> str:
    """SHA-256 of the score files of these videos, from the checksums in them."""
    checksums = "".join(content_digest(score_path(scores_dir, name)) for name in names)
    return hashlib.sha256(checksums.encode()).hexdigest()


def _read_video(scores_dir: Path, truth: VideoTruth, threshold: float, *, annotated: bool) -> EvaluatedVideo:
    scores = read_scores(score_path(scores_dir, truth.name))
    if scores.name != truth.name:
        raise InputError(
            f"{truth.name}: its score file contains the scores of {scores.name!r}; run inference again"
        )
    labels = [*truth.labels, *(segment.label for segment in truth.segments or ())]
    if unknown := [label for label in labels if label not in scores.classes]:
        raise InputError(
            f"{truth.name}: label {unknown[0]!r} is not a class of the model ({', '.join(scores.classes)})"
        )
    return EvaluatedVideo(
        scores=scores,
        truth=truth,
        predicted=predicted_class(scores, threshold),
        anomaly_F=expand_to_frames(scores.anomaly_T, scores.snippet_length, scores.n_frames, scores.name),
        labels_F=truth.frame_labels(scores.n_frames) if annotated else None,
    )


def _check_same_model(scores: Sequence[VideoScores]) -> None:
    """Raise ValueError unless all scores have the same classes and the same snippet length."""
    if {one.classes_TC is None for one in scores} == {True, False}:
        raise InputError("only some score files have class scores; score all videos with one model")
    first = scores[0]
    for other in scores:
        if (other.classes, other.snippet_length) != (first.classes, first.snippet_length):
            raise InputError(
                f"{other.name}: classes {other.classes} and snippets of {other.snippet_length} frames, but "
                f"{first.name} has {first.classes} and {first.snippet_length}; "
                "score all videos with one model"
            )
