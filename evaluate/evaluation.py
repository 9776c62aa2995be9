"""All figures of one run: score files and truths in, one `Evaluation` out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import UCF_CRIME_CLASSES, Segment, VideoTruth
from evaluate.bootstrap import Confidence, draw_videos, interval, map_statistic
from evaluate.class_metrics import ClassFigures, anomaly_ranking, class_figures
from evaluate.config import EvaluateConfig
from evaluate.frame_metrics import FrameMetrics, frame_metrics
from evaluate.normality import NormalDistances, normal_distances
from evaluate.predictions import video_score
from evaluate.ranking import Ranking
from evaluate.scores import VideoScores
from evaluate.segment_metrics import ClassMatches, Protocol, SegmentMetrics, match_segments, summarise
from evaluate.video_metrics import Confusion, VideoMetrics, confusions, video_metrics
from evaluate.videos import Scored, read_videos, run_digests, why_no_frames, with_scores

Array = NDArray[Any]
PROTOCOLS: tuple[Protocol, ...] = ("published", "corrected")


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
        """What was missed; in a normal video the false alarm. In [0, 1]."""
        return next((value for value in (self.missed, self.false_alarm) if value is not None), 0.0)


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
    present, left_out = with_scores(scores_dir, truths, config.only_scored)
    missing = why_no_frames(present)
    videos = read_videos(scores_dir, present, config.threshold)
    classes = videos[0].scores.classes
    matches = {} if missing else {protocol: _matches(videos, classes, protocol) for protocol in PROTOCOLS}
    segments = {protocol: summarise(found, protocol) for protocol, found in matches.items()}
    if config.tsne and any(video.scores.learned_TD is None for video in videos):
        raise ValueError(
            "tsne needs learned features in the score files: run inference with learned_features"
        )
    ranking = None if missing else anomaly_ranking(videos)
    pairs = [(video.scores, video.truth) for video in videos]
    return Evaluation(
        config=config,
        classes=classes,
        videos=tuple(_result(video) for video in videos),
        left_out=left_out,
        missing=missing,
        frame=None if missing else _frame_metrics(videos, config.threshold),
        segments=segments,
        video=video_metrics(videos),
        confidence=_confidence(videos, ranking, matches, config),
        per_class=tuple(class_figures(index, videos, segments) for index in range(len(classes))),
        confusions=tuple(confusions(videos)),
        ranking=ranking,
        distances=normal_distances(pairs),
        digests=run_digests(scores_dir, present),
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


def _result(video: Scored) -> VideoResult:
    values, labels = video.values, video.labels
    if labels is None:
        score = video_score(video.scores)
        missed, false_alarm = (None, score) if video.truth.is_normal else (1 - score, None)
    else:
        missed = 1 - float(values[labels].mean()) if labels.any() else None
        false_alarm = float(values[~labels].mean()) if not labels.all() else None
    return VideoResult(video.scores, video.truth, video.predicted, missed, false_alarm)


def _confidence(
    videos: Sequence[Scored],
    ranking: Ranking | None,
    matches: dict[Protocol, list[ClassMatches]],
    config: EvaluateConfig,
) -> dict[str, Confidence | None]:
    """Bootstrap intervals by the name of their figure."""
    draws_BV = draw_videos(len(videos), config.bootstrap, config.seed)
    right_V = np.array([video.predicted in video.truth.labels for video in videos])
    whole = Ranking.of(
        [np.array([video_score(video.scores)]) for video in videos],
        [np.array([not video.truth.is_normal]) for video in videos],
    )
    statistics: dict[str, Callable[[Array], float]] = {
        "accuracy": lambda w: float(w @ right_V / w.sum()),
        "video_auc": whole.auc,
        "video_ap": whole.average_precision,
    }
    if ranking:
        anomalous_V = np.array([bool(np.any(video.labels)) for video in videos])
        alarms_V, normal_V = _false_alarms(videos, config.threshold)
        statistics |= {
            "auc": ranking.auc,
            "ap": ranking.average_precision,
            "anomaly_auc": lambda w: ranking.auc(w * anomalous_V),
            "far": lambda w: float(w @ alarms_V / (w @ normal_V)) if (w @ normal_V) else math.nan,
        }
    for protocol, found in matches.items():
        statistics[f"map_{protocol}"] = map_statistic(found, protocol)
    return {name: interval(statistic, draws_BV, config.confidence) for name, statistic in statistics.items()}


def _false_alarms(videos: Sequence[Scored], threshold: float) -> tuple[Array, Array]:
    """(V,) each: normal frames at or above the threshold, and all normal frames."""
    normal = [video.values[~video.labels] for video in videos if video.labels is not None]
    return np.array([(values >= threshold).sum() for values in normal]), np.array([len(v) for v in normal])
