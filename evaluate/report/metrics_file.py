"""The content of `metrics.json`: all metrics of one evaluation, with its settings, digests and versions.

Metrics are fractions (as scikit-learn returns them); mAP is in percent.
"""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluate.evaluated_videos import EvaluatedVideo, missing_segments_reason
from evaluate.evaluation import Evaluation
from evaluate.metrics.bootstrap import ConfidenceInterval
from evaluate.report.beside_published import as_json, beside_published
from evaluate.report.causal import FRAME_METRICS, causal_values
from evaluate.report.chart_data import thin
from evaluate.report.event_values import event_values
from evaluate.report.metrics_content import check_content
from evaluate.report.published_results import paper_metrics_for
from extract.atomic import write_atomically
from extract.errors import InputError

SCHEMA_VERSION = 1
CLASS_METRICS = ("map", "accuracy", "anomaly_accuracy")
PACKAGES = ("dsanet", "numpy", "scikit-learn", "h5py", "torch", "open_clip_torch")


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics.json` atomically."""
    text = json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text + "\n")


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a `metrics.json`. Raises InputError for another file or version, or a missing key."""
    try:
        text = path.read_text(encoding="utf-8")
        metrics: dict[str, Any] = json.loads(text)
    except ValueError:  # no JSON, or not UTF-8
        metrics = {}
    if not isinstance(metrics, dict) or metrics.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: not a metrics.json of schema version {SCHEMA_VERSION}; evaluate the run again"
        )
    check_content(text, path)
    return metrics


def build_metrics(
    evaluation: Evaluation,
    *,
    title: str,
    notes: Sequence[str] = (),
    run_config: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
    causal: Evaluation | None = None,
) -> dict[str, Any]:
    """The content of `metrics.json`. Missing metrics are null, and `missing` gives the reason for each."""
    n_test = len(evaluation.videos) + len(evaluation.left_out)
    paper = paper_metrics_for(evaluation.classes, n_test, evaluation.config.dataset)
    detector = (run_config or {}).get("model", {}).get("detector", "")
    metrics: dict[str, Any] = _json_values(
        {
            "schema_version": SCHEMA_VERSION,
            "title": title,
            "notes": list(notes),
            **{name: getattr(evaluation.frame, name, None) for name in FRAME_METRICS},
            "missing": _missing(evaluation),
            "threshold": evaluation.config.threshold,
            "map": {p: asdict(found) for p, found in evaluation.segments.items()} or None,
            "events": event_values(evaluation.events) if evaluation.events else None,
            "video": asdict(evaluation.video),
            "confidence_level": evaluation.config.confidence,
            "confidence_intervals": {name: _pair(found) for name, found in evaluation.confidence.items()},
            "per_class": [asdict(found) for found in evaluation.per_class],
            "confusion": {c.title: c.counts_CC.tolist() for c in evaluation.confusions},
            "paper": None if paper is None else {**asdict(paper), "classes": sorted(paper.classes)},
            "published": as_json(beside_published(evaluation, detector, paper.dataset)) if paper else [],
            "normal_distance": _mean_distances(evaluation),
            "counts": _counts(evaluation),
            "left_out": list(evaluation.left_out),
            "videos": [_video(video) for video in evaluation.videos],
            "curves": _curves(evaluation),
            "config": {"evaluate": evaluation.config.model_dump(), **(run_config or {})},
            "digests": {**evaluation.digests, **(digests or {})},
            "versions": _versions(),
            **({"causal": causal_values(evaluation, causal)} if causal else {}),
        }
    )
    return metrics


def _missing(evaluation: Evaluation) -> dict[str, str]:
    """Reason for each metric that is null, by name."""
    missing = _undefined_video_metrics(evaluation)
    if evaluation.missing_classes:
        missing |= dict.fromkeys(CLASS_METRICS, evaluation.missing_classes)
    if evaluation.missing_frames:
        return missing | dict.fromkeys((*FRAME_METRICS, "map", "events"), evaluation.missing_frames)
    if reason := missing_segments_reason([video.truth for video in evaluation.videos]):
        missing.setdefault("map", reason)
    frame = {name: getattr(evaluation.frame, name) for name in FRAME_METRICS}
    reasons = _undefined_frame_metrics(evaluation)
    if evaluation.segments and math.isnan(evaluation.segments["corrected"].average):
        missing.setdefault("map", "undefined: no anomaly class has an annotated segment")
    if evaluation.events is None:
        missing["events"] = _undefined_events(evaluation)
    return missing | {name: reasons[name] for name, value in frame.items() if value is None}


def _undefined_frame_metrics(evaluation: Evaluation) -> dict[str, str]:
    """The reason of each undefined frame metric, by the metric's name."""
    labels = [video.labels_F for video in evaluation.videos if video.labels_F is not None]
    kind = "anomalous" if not any(found.any() for found in labels) else "normal"
    of_frames = f"undefined: no test video has {kind} frames"
    in_anomalous = "undefined: the anomalous videos have no normal frames"
    return {
        "auc": of_frames,
        "ap": of_frames,
        "anomaly_auc": of_frames if kind == "anomalous" else in_anomalous,
        "far": "undefined: no test video has normal frames",
        "far_normal": "undefined: every test video has anomalous frames",
    }


def _undefined_events(evaluation: Evaluation) -> str:
    """Why there are no figures of events, with temporal annotations."""
    has_events = any(video.labels_F is not None and video.labels_F.any() for video in evaluation.videos)
    return f"undefined: no test video has {'normal footage' if has_events else 'annotated events'}"


def _undefined_video_metrics(evaluation: Evaluation) -> dict[str, str]:
    """The reason of each undefined metric of whole videos, by the metric's name."""
    kind = "normal" if any(not video.truth.is_normal for video in evaluation.videos) else "anomalous"
    reason = f"undefined: no test video is {kind}"
    reasons = {"video_auc": reason, "video_ap": reason, "anomaly_accuracy": reason}
    values = {name: getattr(evaluation.video, name.removeprefix("video_")) for name in reasons}
    return {name: reason for name, reason in reasons.items() if values[name] is None}


def _counts(evaluation: Evaluation) -> dict[str, int]:
    videos = evaluation.videos
    return {
        "test_videos": len(videos) + len(evaluation.left_out),
        "scored": len(videos),
        "left_out": len(evaluation.left_out),
        "anomalous": sum(not video.truth.is_normal for video in videos),
        "normal": sum(video.truth.is_normal for video in videos),
        "segments": sum(len(video.truth.segments or ()) for video in videos),
        "frames": sum(video.scores.n_frames for video in videos),
    }


def _video(video: EvaluatedVideo) -> dict[str, Any]:
    return {
        "name": video.truth.name,
        "labels": video.truth.labels,
        "predicted": video.predicted,
        "error": video.error,
        "missed": video.missed,
        "false_alarm": video.false_alarm,
    }


def _curves(evaluation: Evaluation) -> dict[str, list[list[float]] | None]:
    """ROC and PR as [x values, y values], thinned for drawing; the metrics come from all points."""
    ranking = evaluation.ranking
    if ranking is None:
        return {"roc": None, "pr": None}
    curves = {"roc": ranking.roc_curve(), "pr": ranking.pr_curve()}
    return {key: [axis.round(4).tolist() for axis in thin(*curve)] for key, curve in curves.items()}


def _mean_distances(evaluation: Evaluation) -> dict[str, float] | None:
    """Means of figure 5 (on UCF-Crime, the paper gives 0.35 and 0.69)."""
    found = evaluation.distances
    if found is None:
        return None
    return {"normal": float(found.normal.mean()), "anomalous": float(found.anomalous.mean())}


def _pair(interval: ConfidenceInterval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _versions() -> dict[str, str]:
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES if name in installed
    }


def _json_values(value: Any) -> Any:
    """JSON values: keys and paths as text, tuples as lists, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(key): _json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
