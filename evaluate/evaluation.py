"""All figures of one run: score files and truths in, one `Evaluation` out."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import UCF_CRIME_CLASSES, Segment, VideoTruth, frame_labels
from evaluate.bootstrap import Confidence, draw_videos, interval, map_statistic
from evaluate.config import EvaluateConfig
from evaluate.frame_metrics import FrameMetrics, frame_metrics
from evaluate.normality import NormalDistances, normal_distances
from evaluate.ranking import Ranking
from evaluate.scores import VideoScores, content_digest, expand_to_frames, read_scores, score_path
from evaluate.segment_metrics import ClassMatches, Protocol, SegmentMetrics, match_segments, summarise
from evaluate.video_metrics import (
    Confusion,
    VideoMetrics,
    confusions,
    predicted_class,
    video_metrics,
    video_score,
)

Array = NDArray[Any]
PROTOCOLS: tuple[Protocol, ...] = ("published", "corrected")


class Scored(NamedTuple):
    """One video with its scores; `labels` (n_frames,) is None in a set that is not annotated in time."""

    scores: VideoScores
    truth: VideoTruth
    values: Array  # anomaly score of every frame
    labels: Array | None


@dataclass(frozen=True, eq=False)
class VideoResult:
    """One video of the report. `missed`: 1 - mean score of its anomalous frames; `false_alarm`: mean score of
    the others. Without temporal annotation the video's score (top-k mean) is taken for both."""

    scores: VideoScores
    truth: VideoTruth
    predicted: str
    missed: float | None
    false_alarm: float | None

    @property
    def error(self) -> float:
        """The larger of the two, in [0, 1]."""
        return max(self.missed or 0.0, self.false_alarm or 0.0)


@dataclass(frozen=True)
class ClassFigures:
    """One class; fractions, mAP in percent (mean over the IoU thresholds), None where undefined.

    `auc` and `ap`: the column of class scores against the frames annotated with the class, over all videos.
    `detection_auc`: the anomaly score over the frames of the videos that have the class.
    """

    label: str
    videos: int
    segments: int | None
    accuracy: float | None  # of its videos: predicted as one of their classes
    auc: float | None
    ap: float | None
    detection_auc: float | None
    map_published: float | None
    map_corrected: float | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything a report shows. Frame and segment figures are None and {} where `missing` says why."""

    config: EvaluateConfig
    classes: tuple[str, ...]
    videos: tuple[VideoResult, ...]
    left_out: tuple[str, ...]
    missing: str | None
    frame: FrameMetrics | None
    segments: dict[Protocol, SegmentMetrics]
    video: VideoMetrics
    confidence: dict[str, Confidence | None]
    per_class: tuple[ClassFigures, ...]
    confusions: tuple[Confusion, ...]
    ranking: Ranking | None
    distances: NormalDistances | None
    digests: dict[str, str]


def evaluate_scores(
    scores_dir: Path, truths: Sequence[VideoTruth], config: EvaluateConfig | None = None
) -> Evaluation:
    """All figures of the videos in `truths`, from their score files.

    Raises ValueError naming the video: no score file (unless config.only_scored), an unknown label, other
    classes than the rest, annotations beyond its length; ScoreFileError (a ValueError) for a damaged file.
    """
    config = config or EvaluateConfig()
    present, left_out = _present(scores_dir, truths, config.only_scored)
    missing = _why_no_frames(present)
    videos = [_read(scores_dir, truth, annotated=missing is None) for truth in present]
    _check_alike(videos)
    classes = videos[0].scores.classes
    matches = {} if missing else {protocol: _matches(videos, classes, protocol) for protocol in PROTOCOLS}
    segments = {protocol: summarise(found, protocol) for protocol, found in matches.items()}
    if config.tsne and any(video.scores.learned_TD is None for video in videos):
        raise ValueError("tsne was asked for, but the score files hold no learned features; infer with them")
    ranking = _ranking([v.values for v in videos], [v.labels for v in videos])
    pairs = [(video.scores, video.truth) for video in videos]
    return Evaluation(
        config=config,
        classes=classes,
        videos=tuple(_result(video) for video in videos),
        left_out=left_out,
        missing=missing,
        frame=None if missing else _frame_metrics(videos, config.threshold),
        segments=segments,
        video=video_metrics(pairs),
        confidence=_confidence(videos, ranking, matches, config),
        per_class=tuple(_class_figures(index, videos, segments) for index in range(len(classes))),
        confusions=tuple(confusions(pairs)),
        ranking=ranking,
        distances=normal_distances(pairs),
        digests=_digests(scores_dir, present),
    )


def _present(
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


def _why_no_frames(truths: Sequence[VideoTruth]) -> str | None:
    """Why frame and segment figures can't be had, or None if they can."""
    unknown = [truth.name for truth in truths if truth.segments is None]
    if not unknown:
        return None
    return f"{len(unknown)} anomalous video(s) without temporal annotation, the first is {unknown[0]}"


def _read(scores_dir: Path, truth: VideoTruth, *, annotated: bool) -> Scored:
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
    return Scored(scores, truth, values, labels)


def _check_alike(videos: Sequence[Scored]) -> None:
    """All score files must come from models with the same classes and snippets."""
    first = videos[0].scores
    for scores, *_ in videos:
        if (scores.classes, scores.snippet_length) != (first.classes, first.snippet_length):
            raise ValueError(
                f"{scores.name}: classes {scores.classes}, snippets of {scores.snippet_length} frames; "
                f"{first.name} has {first.classes}, {first.snippet_length}. Score all videos with one model"
            )


def _frame_metrics(videos: Sequence[Scored], threshold: float) -> FrameMetrics:
    return frame_metrics(
        {video.scores.name: video.values for video in videos},
        {video.scores.name: video.labels for video in videos if video.labels is not None},
        threshold,
    )


def _matches(videos: Sequence[Scored], classes: tuple[str, ...], protocol: Protocol) -> list[ClassMatches]:
    # As in the published truth files: a normal video is one run over all its snippets, called "A". On
    # UCF-Crime no class has that name (map-protocol quirk); elsewhere it is the normal class.
    normal = "A" if set(classes) == set(UCF_CRIME_CLASSES) else classes[0]
    segments: dict[str, Sequence[Segment]] = {}
    for scores, truth, *_ in videos:
        whole = Segment(normal, 0, len(scores.anomaly_T) * scores.snippet_length)
        segments[scores.name] = [whole] if truth.is_normal else truth.segments or ()
    scores_by_name = {video.scores.name: video.scores.classes_TC for video in videos}
    return match_segments(scores_by_name, segments, classes, protocol, videos[0].scores.snippet_length)


def _ranking(values: Sequence[Array], labels: Sequence[Array | None]) -> Ranking | None:
    known = [truth for truth in labels if truth is not None]
    return Ranking.of(values, known) if len(known) == len(values) and values else None


def _result(video: Scored) -> VideoResult:
    scores, truth, values, labels = video
    if labels is None:
        score = video_score(scores)
        missed, false_alarm = (None, score) if truth.is_normal else (1 - score, None)
    else:
        missed = 1 - float(values[labels].mean()) if labels.any() else None
        false_alarm = float(values[~labels].mean()) if not labels.all() else None
    return VideoResult(scores, truth, predicted_class(scores), missed, false_alarm)


def _class_figures(
    index: int, videos: Sequence[Scored], segments: dict[Protocol, SegmentMetrics]
) -> ClassFigures:
    label = videos[0].scores.classes[index]
    own = [video for video in videos if label in video.truth.labels]
    right = [predicted_class(video.scores) in video.truth.labels for video in own]
    annotated = bool(segments) and index > 0
    ranking = _class_ranking(index, label, videos) if annotated else None
    detection = _ranking([v.values for v in own], [v.labels for v in own]) if annotated else None
    return ClassFigures(
        label=label,
        videos=len(own),
        segments=sum(s.label == label for v in videos for s in v.truth.segments or ()) if annotated else None,
        accuracy=float(np.mean(right)) if right else None,
        auc=_number(ranking.auc()) if ranking else None,
        ap=_number(ranking.average_precision()) if ranking else None,
        detection_auc=_number(detection.auc()) if detection else None,
        map_published=segments["published"].per_class.get(label) if segments else None,
        map_corrected=segments["corrected"].per_class.get(label) if segments else None,
    )


def _class_ranking(index: int, label: str, videos: Sequence[Scored]) -> Ranking:
    """All frames ranked by the score of one class; positive are those annotated with it."""
    values, labels = [], []
    for scores, truth, *_ in videos:
        column = scores.classes_TC[:, index]
        values.append(expand_to_frames(column, scores.snippet_length, scores.n_frames, scores.name))
        own = [segment for segment in truth.segments or () if segment.label == label]
        labels.append(frame_labels(own, scores.n_frames, scores.name))
    return Ranking.of(values, labels)


def _confidence(
    videos: Sequence[Scored],
    ranking: Ranking | None,
    matches: dict[Protocol, list[ClassMatches]],
    config: EvaluateConfig,
) -> dict[str, Confidence | None]:
    """Bootstrap intervals by the name of their figure."""
    draws_BV = draw_videos(len(videos), config.bootstrap, config.seed)
    right_V = np.array([predicted_class(video.scores) in video.truth.labels for video in videos])
    statistics: dict[str, Callable[[Array], float]] = {"accuracy": lambda w: float(w @ right_V / w.sum())}
    if ranking:
        anomalous_V = np.array([bool(np.any(video.labels)) for video in videos])
        alarms_V, normal_V = _false_alarms(videos, config.threshold)
        statistics |= {
            "auc": ranking.auc,
            "ap": ranking.average_precision,
            "anomaly_auc": lambda w: ranking.auc(w * anomalous_V),
            "far": lambda w: float(w @ alarms_V / total) if (total := w @ normal_V) else math.nan,
        }
    for protocol, found in matches.items():
        statistics[f"map_{protocol}"] = map_statistic(found, protocol)
    return {name: interval(statistic, draws_BV, config.confidence) for name, statistic in statistics.items()}


def _false_alarms(videos: Sequence[Scored], threshold: float) -> tuple[Array, Array]:
    """(V,) each: normal frames at or above the threshold, and all normal frames."""
    normal = [video.values[~video.labels] for video in videos if video.labels is not None]
    return np.array([(values >= threshold).sum() for values in normal]), np.array([len(v) for v in normal])


def _digests(scores_dir: Path, truths: Sequence[VideoTruth]) -> dict[str, str]:
    scores = "".join(content_digest(score_path(scores_dir, truth.name)) for truth in truths)
    facts = repr([(truth.name, truth.labels, truth.segments) for truth in truths])
    return {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in (("scores", scores), ("truth", facts))
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
