"""A detector's figures on a published test set beside those of its paper, and those that others have got.

All by the published protocol and ground truth; the last one is by the corrected protocol, which no paper has.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evaluate.evaluated_videos import EvaluatedVideo
from evaluate.evaluation import Evaluation
from evaluate.metrics.frames import FrameMetrics, frame_metrics
from evaluate.metrics.segments import IOU_THRESHOLDS
from evaluate.report.published_results import PAPERS, REPORTED, Reported
from evaluate.scores import expand_to_frames


class PublishedFigure(NamedTuple):
    """One figure, in percent. The field names are keys in `metrics.json`."""

    figure: str
    ours: float | None
    paper: float | None
    reported: Sequence[Reported]
    """Figures that readers of the paper measured."""
    note: str = ""


def beside_published(evaluation: Evaluation, detector: str, dataset: str) -> list[PublishedFigure]:
    """The figures that the paper of a detector gives for a data set, and what they are here.

    Empty for a detector without published figures on this data set.
    """
    paper = PAPERS.get((detector, dataset))
    if paper is None:
        return []
    reported = REPORTED.get((detector, dataset), {})
    return [
        PublishedFigure(title, ours, paper.get(title), reported.get(title, ()), note)
        for title, ours, note in _figures(evaluation, two_branches=detector == "vadclip")
    ]


def _figures(evaluation: Evaluation, *, two_branches: bool) -> Iterator[tuple[str, float | None, str]]:
    """Title, value in percent and note of each figure."""
    frame, published = evaluation.frame, evaluation.segments.get("published")
    yield "AUC", _percent(frame, "auc"), ""
    yield "AP", _percent(frame, "ap"), ""
    yield "Ano-AUC", _percent(frame, "anomaly_auc"), ""
    by_class = _class_branch(evaluation.videos) if two_branches else None
    if by_class is not None:
        note = "of 1 − P(normal), the alignment branch"
        yield "AUC (classes)", _percent(by_class, "auc"), note
        yield "AP (classes)", _percent(by_class, "ap"), note
    for iou in IOU_THRESHOLDS:
        yield f"mAP@{iou}", published.per_iou[iou] if published else None, ""
    yield "mAP AVG", published.average if published else None, ""
    corrected = evaluation.segments.get("corrected")
    yield "mAP corrected", corrected.average if corrected else None, "anomaly classes only"


def _percent(frame: FrameMetrics | None, name: str) -> float | None:
    value = getattr(frame, name, None)
    return None if value is None else 100 * float(value)


def _class_branch(videos: Sequence[EvaluatedVideo]) -> FrameMetrics | None:
    """Frame metrics of 1 − P(normal); None without class scores or frame labels.

    VadCLIP's test script prints the figures of both of its branches; DSANet's belief modulation makes the two
    rank alike.
    """
    scores: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for video in videos:
        classes_TC = video.scores.classes_TC
        if classes_TC is None or video.labels_F is None:
            return None
        anomalous_T = 1 - classes_TC[:, 0]
        name = video.scores.name
        scores[name] = expand_to_frames(anomalous_T, video.scores.snippet_length, video.scores.n_frames, name)
        labels[name] = video.labels_F
    return frame_metrics(scores, labels)


def as_json(figures: Sequence[PublishedFigure]) -> list[Mapping[str, Any]]:
    """The figures as plain values for `metrics.json`."""
    return [figure._asdict() | {"reported": [one._asdict() for one in figure.reported]} for figure in figures]
