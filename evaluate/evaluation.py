"""All figures of one run: score files and truths in, one `Evaluation` out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluate.annotations import VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.metrics.bootstrap import Confidence, draw_videos, interval
from evaluate.metrics.classes import ClassFigures, anomaly_ranking, class_figures
from evaluate.metrics.frames import FrameMetrics, frame_metrics
from evaluate.metrics.normal_distance import NormalDistances, normal_distances
from evaluate.metrics.ranking import Ranking
from evaluate.metrics.segments import Protocol, SegmentMetrics, summarise
from evaluate.metrics.videos import Confusion, VideoMetrics, confusions, video_metrics
from evaluate.metrics.weighted import segment_matches, weighted_figures
from evaluate.predictions import video_score
from evaluate.scores import VideoScores
from evaluate.videos import Scored, read_videos, run_digests, why_no_classes, why_no_frames, with_scores


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
    """Everything a report shows. Frame and segment figures are None and {} where `missing` says why.

    So are figures that need classes where `no_classes` says why.
    """

    config: EvaluateConfig
    classes: tuple[str, ...]
    videos: tuple[VideoResult, ...]
    left_out: tuple[str, ...]
    missing: str | None
    no_classes: str | None
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
    matches = {} if missing else segment_matches(videos)
    segments = {protocol: summarise(found, protocol) for protocol, found in matches.items()}
    if config.tsne and any(video.scores.learned_TD is None for video in videos):
        raise ValueError(
            "tsne needs learned features in the score files: run inference with learned_features"
        )
    ranking = None if missing else anomaly_ranking(videos)
    weighted = weighted_figures(videos, ranking, matches, config.threshold)
    draws_BV = draw_videos(len(videos), config.bootstrap, config.seed)
    pairs = [(video.scores, video.truth) for video in videos]
    return Evaluation(
        config=config,
        classes=classes,
        videos=tuple(_result(video) for video in videos),
        left_out=left_out,
        missing=missing,
        no_classes=why_no_classes(videos),
        frame=None if missing else _frame_metrics(videos, config.threshold),
        segments=segments,
        video=video_metrics(videos),
        confidence={name: interval(figure, draws_BV, config.confidence) for name, figure in weighted.items()},
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


def _result(video: Scored) -> VideoResult:
    values, labels = video.values, video.labels
    if labels is None:
        score = video_score(video.scores)
        missed, false_alarm = (None, score) if video.truth.is_normal else (1 - score, None)
    else:
        missed = 1 - float(values[labels].mean()) if labels.any() else None
        false_alarm = float(values[~labels].mean()) if not labels.all() else None
    return VideoResult(video.scores, video.truth, video.predicted, missed, false_alarm)
