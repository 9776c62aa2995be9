"""Time of mAP@IoU on the published ground truths, and of a complete evaluation with its report.

    python tests/benchmarks/evaluate_speed.py

Needs the published ground truths beside the project (see tests/evaluate/published.py). Scores are random: the
time depends on the number of proposals and segments, not on their quality.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evaluate.annotations import Segment, VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.metrics.segments import PROTOCOLS, segment_map
from evaluate.report.write import write_report
from evaluate.scores import VideoScores, score_path, write_scores
from extract.labels import UCF_CRIME_CLASSES, XD_VIOLENCE_CODES
from tests.evaluate.published import PublishedSet, ucf_crime, xd_violence


def main() -> None:
    measure("UCF-Crime", ucf_crime(), UCF_CRIME_CLASSES)
    measure("XD-Violence", xd_violence(), tuple(XD_VIOLENCE_CODES.values()))


def measure(name: str, published: PublishedSet, classes: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    scores = [rng.random((length, len(classes)), dtype=np.float32) for length in published.snippets]
    print(f"{name}: {len(scores)} videos, {sum(published.snippets):,} snippets")
    for protocol in PROTOCOLS:
        arguments = (scores, published.segments, published.classes, protocol)
        spent = min(timed(segment_map, *arguments)[0] for _ in range(3))
        print(f"  segment_map, {protocol:9}           {spent:6.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        truths = write_run(Path(folder), published, scores, classes)
        spent, evaluation = timed(evaluate_scores, Path(folder), truths, EvaluateConfig())
        print(f"  evaluate_scores, 1000 resamples  {spent:6.2f} s")
        spent, page = timed(write_report, Path(folder) / "report", evaluation, title=name)
        print(f"  write_report, {page.stat().st_size / 1e6:4.1f} MB            {spent:6.2f} s")


def timed(work: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Wall-clock seconds of one call, and its result."""
    started = time.perf_counter()
    result = work(*arguments, **options)
    return time.perf_counter() - started, result


def write_run(
    folder: Path, published: PublishedSet, scores: list[Any], classes: tuple[str, ...]
) -> list[VideoTruth]:
    """Write score files with random scores for the published test set; return its ground truth."""
    truths = []
    codes = dict(zip(published.classes, classes, strict=True)) | {"A": "normal"}
    for name, segments, values in zip(published.names, published.segments, scores, strict=True):
        labels = tuple(dict.fromkeys(codes[label] for label, *_ in segments))
        kept = tuple(Segment(codes[label], int(a), int(b)) for label, a, b in segments if label != "A")
        truths.append(VideoTruth(name, labels, kept))
        normal, others = values[:, :1], values[:, 1:]
        classes_TC = np.concatenate([1 - normal, normal * others / others.sum(axis=1, keepdims=True)], axis=1)
        n_frames = 16 * len(values)
        record = VideoScores(name, normal[:, 0], classes_TC, classes, 16, n_frames, 30.0)
        write_scores(score_path(folder, name), record, {})
    return truths


if __name__ == "__main__":
    main()
