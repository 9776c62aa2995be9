"""All metrics of one run: from score files and ground truth to an `Evaluation`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluate.annotations import VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluated_videos import (
    EvaluatedVideo,
    missing_classes_reason,
    missing_frames_reason,
    read_videos,
    run_digests,
    select_scored,
)
from evaluate.metrics.bootstrap import ConfidenceInterval, confidence_interval, draw_videos
from evaluate.metrics.classes import ClassMetrics, anomaly_ranking, class_metrics
from evaluate.metrics.event_table import event_table
from evaluate.metrics.events import EventMetrics, event_metrics
from evaluate.metrics.frames import FrameMetrics, frame_metrics
from evaluate.metrics.normal_distance import NormalDistances, normal_distances
from evaluate.metrics.ranking import Ranking
from evaluate.metrics.segments import Protocol, SegmentMetrics, summarise_matches
from evaluate.metrics.videos import Confusion, VideoMetrics, confusions, video_metrics
from evaluate.metrics.weighted import segment_matches, weighted_metrics
from extract.errors import InputError


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All metrics of one run; the content of `metrics.json` and of the report."""

    config: EvaluateConfig
    classes: tuple[str, ...]
    """Class names of the score files; the first is the normal class."""
    videos: tuple[EvaluatedVideo, ...]
    left_out: tuple[str, ...]
    """Names of the test videos without a score file (`only_scored`)."""
    missing_frames: str | None
    """Why frame-level and segment-level metrics are missing; None if they are not."""
    missing_classes: str | None
    """Why class metrics are missing; None if they are not."""
    frame: FrameMetrics | None
    """None if `missing_frames` gives a reason."""
    segments: dict[Protocol, SegmentMetrics]
    """mAP by protocol; empty if `missing_segments_reason` or `missing_classes` gives a reason."""
    events: EventMetrics | None
    """Events found against false alarms; None without temporal annotations, events or normal footage."""
    video: VideoMetrics
    confidence: dict[str, ConfidenceInterval | None]
    """Bootstrap intervals by metric; mAP in percent, the others fractions. None without resamples."""
    per_class: tuple[ClassMetrics, ...]
    """In the order of `classes`."""
    confusions: tuple[Confusion, ...]
    ranking: Ranking | None
    """All frames by anomaly score, for ROC and PR curves; None if `missing_frames` gives a reason."""
    distances: NormalDistances | None
    """Distances to the normal patterns (paper, figure 5); None if the score files have none."""
    digests: dict[str, str]
    """SHA-256 of all score files ("scores") and of the ground truth ("truth")."""


def evaluate_scores(
    scores_dir: Path, truths: Sequence[VideoTruth], config: EvaluateConfig | None = None
) -> Evaluation:
    """All metrics of a folder of score files: frames, segments (both mAP protocols), videos and classes.

    Frame-level and segment-level metrics need temporal annotations for every anomalous video. If any is
    missing, the video-level metrics remain and `Evaluation.missing_frames` gives the reason. Class metrics
    need class scores in the same way.

    Args:
        scores_dir: Folder with one `<video name>.h5` per video, as written by `write_scores`.
        truths: Ground truth of each test video (`evaluate.annotations.VideoTruth`). The names must differ.
        config: Threshold, bootstrap and other settings; the defaults of `EvaluateConfig` if None.

    Returns:
        An `Evaluation`: mAP in percent, 0 to 100; every other metric a fraction in [0, 1].

    Raises:
        ValueError: No score file for a video (unless `config.only_scored`), an unknown label, annotations
            beyond the end of the video, score files of different models, or t-SNE without learned features.
            The message names the video. `ScoreFileError`, a ValueError, for a damaged file.

    Examples:
        >>> from pathlib import Path
        >>> from evaluate import evaluate_scores
        >>> from evaluate.annotations import Segment, VideoTruth
        >>> truths = [VideoTruth("street", ("riot",), (Segment("riot", 16, 32),))]
        >>> evaluation = evaluate_scores(Path("scores"), truths)
        >>> evaluation.frame.auc
        1.0
    """
    config = config or EvaluateConfig()
    present, left_out = select_scored(scores_dir, truths, config.only_scored)
    videos = read_videos(scores_dir, present, config.threshold)
    _check_tsne(config, videos)
    missing_frames = missing_frames_reason(present)
    matches = segment_matches(videos)
    segments = {protocol: summarise_matches(found, protocol) for protocol, found in matches.items()}
    ranking = anomaly_ranking(videos)
    table = event_table(videos, config.release)
    statistics = weighted_metrics(videos, ranking, matches, config.threshold, table)
    draws_BV = draw_videos(len(videos), config.bootstrap, config.seed)
    classes = videos[0].scores.classes
    return Evaluation(
        config=config,
        classes=classes,
        videos=tuple(videos),
        left_out=left_out,
        missing_frames=missing_frames,
        missing_classes=missing_classes_reason(videos),
        frame=None if missing_frames else _frame_metrics(videos, config.threshold),
        segments=segments,
        events=event_metrics(table, classes) if table else None,
        video=video_metrics(videos),
        confidence={
            name: confidence_interval(statistic, draws_BV, config.confidence)
            for name, statistic in statistics.items()
        },
        per_class=tuple(class_metrics(index, videos, segments) for index in range(len(classes))),
        confusions=tuple(confusions(videos)),
        ranking=ranking,
        distances=normal_distances(videos),
        digests=run_digests(scores_dir, present),
    )


def _check_tsne(config: EvaluateConfig, videos: Sequence[EvaluatedVideo]) -> None:
    if config.tsne and any(video.scores.learned_TD is None for video in videos):
        raise InputError(
            "tsne needs learned features in the score files; run inference with learned_features"
        )


def _frame_metrics(videos: Sequence[EvaluatedVideo], threshold: float) -> FrameMetrics:
    return frame_metrics(
        {video.scores.name: video.anomaly_F for video in videos},
        {video.scores.name: video.labels_F for video in videos if video.labels_F is not None},
        threshold,
    )
