"""`metrics.json` and `index.html` of one evaluation: everything a run says about itself, in one folder.

Fractions in the JSON are fractions (as scikit-learn gives them), on the page percent; mAP is percent in both.
"""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluate.evaluation import Evaluation, VideoResult, evaluate_scores
from evaluate.metrics.bootstrap import Confidence
from evaluate.report.charts import thin
from evaluate.report.figures import RawFeatures
from evaluate.report.page import Thumbnail, render_report
from evaluate.report.published_results import published_for
from extract.atomic import write_atomically

__all__ = ["evaluate_scores", "metrics", "read_metrics", "write_report"]

SCHEMA_VERSION = 1
FRAME_FIGURES = ("auc", "ap", "anomaly_auc", "far", "far_normal")
CLASS_FIGURES = ("accuracy", "anomaly_accuracy")
PACKAGES = ("dsanet", "numpy", "scikit-learn", "h5py", "torch", "open_clip_torch")


def write_report(
    out_dir: Path,
    evaluation: Evaluation,
    *,
    title: str,
    notes: Sequence[str] = (),
    curves_csv: Path | None = None,
    thumbnail: Thumbnail | None = None,
    raw_features: RawFeatures | None = None,
    run_config: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
) -> Path:
    """Writes `metrics.json` and `index.html` into `out_dir` and returns the path of the page.

    `notes` stand on top of the page ("random CLIP weights: a trial, not a result"). `thumbnail(name, frame)`
    gives a JPEG, or None; `raw_features(name)` gives (T, D) features before the model, for t-SNE; the curves
    of training are drawn where the file exists (imported weights have none).
    """
    figures = metrics(evaluation, title=title, notes=notes, run_config=run_config, digests=digests)
    out_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(out_dir / "metrics.json", text + "\n")
    drawn = curves_csv if curves_csv and curves_csv.is_file() else None
    page = render_report(evaluation, figures, drawn, thumbnail, raw_features)
    write_atomically(out_dir / "index.html", page)
    return out_dir / "index.html"


def read_metrics(path: Path) -> dict[str, Any]:
    """The figures of a written report. Raises ValueError for a file of another schema."""
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if figures.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path}: not a metrics.json of schema {SCHEMA_VERSION}; evaluate the run again")
    return figures


def metrics(
    evaluation: Evaluation,
    *,
    title: str,
    notes: Sequence[str] = (),
    run_config: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What `metrics.json` holds. Figures that can't be had are null, and `missing` says why."""
    frame = evaluation.frame
    n_test = len(evaluation.videos) + len(evaluation.left_out)
    paper = published_for(evaluation.classes, n_test)
    roc, pr = _curves(evaluation)
    figures: dict[str, Any] = _jsonable(
        {
            "schema_version": SCHEMA_VERSION,
            "title": title,
            "notes": list(notes),
            **{name: getattr(frame, name, None) for name in FRAME_FIGURES},
            "missing": _missing(evaluation),
            "threshold": evaluation.config.threshold,
            "map": {p: asdict(found) for p, found in evaluation.segments.items()} or None,
            "video": asdict(evaluation.video),
            "confidence_level": evaluation.config.confidence,
            "confidence_intervals": {name: _pair(found) for name, found in evaluation.confidence.items()},
            "per_class": [asdict(figures) for figures in evaluation.per_class],
            "confusion": {c.title: c.counts_CC.tolist() for c in evaluation.confusions},
            "paper": None if paper is None else {**asdict(paper), "classes": sorted(paper.classes)},
            "normal_distance": _distance_means(evaluation),
            "counts": _counts(evaluation),
            "left_out": list(evaluation.left_out),
            "videos": [_video(video) for video in evaluation.videos],
            "curves": {"roc": roc, "pr": pr},
            "config": {"evaluate": evaluation.config.model_dump(), **(run_config or {})},
            "digests": {**evaluation.digests, **(digests or {})},
            "versions": _versions(),
        }
    )
    return figures


def _video(video: VideoResult) -> dict[str, Any]:
    return {
        "name": video.truth.name,
        "labels": video.truth.labels,
        "predicted": video.predicted,
        "error": video.error,
        "missed": video.missed,
        "false_alarm": video.false_alarm,
    }


def _missing(evaluation: Evaluation) -> dict[str, str]:
    """Reason by the name of every figure that is null."""
    missing: dict[str, str] = {}
    if evaluation.no_classes:
        missing |= dict.fromkeys(("map", *CLASS_FIGURES), evaluation.no_classes)
    if evaluation.missing:
        return missing | dict.fromkeys((*FRAME_FIGURES, "map"), evaluation.missing)
    undefined = [name for name in FRAME_FIGURES if getattr(evaluation.frame, name) is None]
    return missing | dict.fromkeys(undefined, "undefined: the test set has frames of one kind only")


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


def _curves(evaluation: Evaluation) -> tuple[list[list[float]] | None, list[list[float]] | None]:
    """ROC and PR as [x values, y values], thinned for drawing; the figures come from all points."""
    if evaluation.ranking is None:
        return None, None
    found = (evaluation.ranking.roc_curve(), evaluation.ranking.pr_curve())
    roc, pr = ([axis.round(4).tolist() for axis in thin(*curve)] for curve in found)
    return roc, pr


def _distance_means(evaluation: Evaluation) -> dict[str, float] | None:
    """Means of figure 5 (paper: 0.35 and 0.69 on UCF-Crime)."""
    found = evaluation.distances
    if found is None:
        return None
    return {"normal": float(found.normal.mean()), "anomalous": float(found.anomalous.mean())}


def _pair(confidence: Confidence | None) -> list[float] | None:
    return None if confidence is None else [confidence.low, confidence.high]


def _versions() -> dict[str, str]:
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES if name in installed
    }


def _jsonable(value: Any) -> Any:
    """Keys as text, tuples as lists, undefined numbers as null: what JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
