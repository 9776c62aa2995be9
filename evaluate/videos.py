"""The scored videos of a run: files found, read, and checked against the truth and against each other."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from evaluate.annotations import VideoTruth, frame_labels
from evaluate.predictions import predicted_class
from evaluate.scores import VideoScores, content_digest, expand_to_frames, read_scores, score_path

Array = NDArray[Any]


class Scored(NamedTuple):
    """One video with its scores; `labels` (n_frames,) is None in a set that is not annotated in time."""

    scores: VideoScores
    truth: VideoTruth
    values: Array  # anomaly score of every frame
    labels: Array | None
    predicted: str  # class of the video


def read_videos(scores_dir: Path, truths: Sequence[VideoTruth], threshold: float) -> list[Scored]:
    """Reads and checks the score files of all videos; frame labels only if every video is annotated."""
    annotated = why_no_frames(truths) is None
    videos = [_read(scores_dir, truth, threshold, annotated=annotated) for truth in truths]
    _check_alike(videos)
    return videos


def with_scores(
    scores_dir: Path, truths: Sequence[VideoTruth], only_scored: bool
) -> tuple[list[VideoTruth], tuple[str, ...]]:
    """The videos that have a score file, and the names of those left out."""
    names = [truth.name for truth in truths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{min(twice)}: the same video name stands twice in the test set")
    lost = [name for name in names if not score_path(scores_dir, name).is_file()]
    if not names or len(lost) == len(names):
        raise ValueError(
            f"none of the {len(names)} test videos has a score file in {scores_dir}; run inference"
        )
    if lost and not only_scored:
        raise ValueError(
            f"{lost[0]}: no score file in {scores_dir} ({len(lost)} of {len(names)} videos have none); "
            "run inference for them, or evaluate with only_scored"
        )
    return [truth for truth in truths if truth.name not in set(lost)], tuple(lost)


def why_no_frames(truths: Sequence[VideoTruth]) -> str | None:
    """Why frame and segment figures can't be had, or None if they can."""
    unknown = [truth.name for truth in truths if truth.segments is None]
    if not unknown:
        return None
    return f"{len(unknown)} anomalous video(s) without temporal annotation, the first is {unknown[0]}"


def why_no_classes(videos: Sequence[Scored]) -> str | None:
    """Why figures that need classes can't be had, or None if they can."""
    if all(video.scores.classes_TC is not None for video in videos):
        return None
    return "the detector tells only normal from anomalous, no classes"


def _read(scores_dir: Path, truth: VideoTruth, threshold: float, *, annotated: bool) -> Scored:
    scores = read_scores(score_path(scores_dir, truth.name))
    if scores.name != truth.name:
        raise ValueError(
            f"{truth.name}: its score file holds the scores of {scores.name!r}; run inference again"
        )
    wanted = [*truth.labels, *(segment.label for segment in truth.segments or ())]
    if unknown := [label for label in wanted if label not in scores.classes]:
        raise ValueError(
            f"{truth.name}: label {unknown[0]!r} is none of the model's classes {', '.join(scores.classes)}"
        )
    values = expand_to_frames(scores.anomaly_T, scores.snippet_length, scores.n_frames, scores.name)
    labels = frame_labels(truth.segments or (), scores.n_frames, truth.name) if annotated else None
    return Scored(scores, truth, values, labels, predicted_class(scores, threshold))


def _check_alike(videos: Sequence[Scored]) -> None:
    """All score files must come from models with the same classes and snippets."""
    first = videos[0].scores
    if {scores.classes_TC is None for scores, *_ in videos} == {True, False}:
        raise ValueError(
            "some score files have class scores and some have none. Score all videos with one model"
        )
    for scores, *_ in videos:
        if (scores.classes, scores.snippet_length) != (first.classes, first.snippet_length):
            raise ValueError(
                f"{scores.name}: classes {scores.classes}, snippets of {scores.snippet_length} frames; "
                f"{first.name} has {first.classes}, {first.snippet_length}. Score all videos with one model"
            )


def run_digests(scores_dir: Path, truths: Sequence[VideoTruth]) -> dict[str, str]:
    """Digests of all scores and of all that was held to be true: runs with other ones don't compare."""
    scores = "".join(content_digest(score_path(scores_dir, truth.name)) for truth in truths)
    facts = repr([(truth.name, truth.labels, truth.segments) for truth in truths])
    return {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in (("scores", scores), ("truth", facts))
    }
