"""Any video straight to its anomalous intervals, by a trained model: no manifest, no labels, no server."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsanet.checkpoint import INFO_FILE, read_info
from dsanet.inference import infer
from evaluate.metrics.intervals import Interval, anomalous_intervals
from evaluate.report.plots import save_timeline
from evaluate.scores import VideoScores, read_scores, score_path
from extract.config import ExtractRuntime
from extract.engine import extract_videos
from extract.failures import Failure
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from flows.pipeline.progress import show_extraction, stage_progress
from flows.workspace.workspace import Workspace


@dataclass(frozen=True)
class ScoredVideo:
    """One video's scores and the intervals in which they pass the threshold."""

    scores: VideoScores
    intervals: list[Interval]


@dataclass(frozen=True)
class ScoreResult:
    """The videos that could be read, those that could not, and what to know of the model (`notes`)."""

    videos: list[ScoredVideo]
    failures: list[Failure]
    notes: tuple[str, ...]


def score_videos(
    videos: Sequence[Path],
    model: Path,
    out: Path,
    *,
    threshold: float,
    weights: str | None = None,
    runtime: ExtractRuntime | None = None,
) -> ScoreResult:
    """Extract, score and cut into intervals; writes `out/intervals.csv` and `out/timeline.png`.

    `model` is a checkpoint folder or a workspace that has one. Features are made as the checkpoint's own;
    `weights` only says where CLIP's are now. Raises FileNotFoundError or ValueError for what cannot be used.
    """
    model = model if (model / INFO_FILE).is_file() else Workspace(model).model
    info = read_info(model)
    config = info.extract.model_copy(update={"weights": weights} if weights else {})
    workspace, runtime = Workspace(out), runtime or ExtractRuntime()
    records = _records(videos)
    with stage_progress("extract", "snippets") as report:
        extracted = extract_videos(
            records, workspace.features, config, runtime, on_progress=show_extraction(report)
        )
    failed = {failure.name for failure in extracted.failures}
    names = [record.name for record in records if record.name not in failed]
    if names:
        infer(names, workspace.features, model, workspace.scores, info.infer, device=runtime.device)
    scored = [_cut(read_scores(score_path(workspace.scores, name)), threshold) for name in names]
    if scored:
        write_intervals(out / "intervals.csv", scored)
        save_timeline(
            out / "timeline.png", [v.scores for v in scored], [v.intervals for v in scored], threshold
        )
    return ScoreResult(scored, extracted.failures, info.notes)


def _records(videos: Sequence[Path]) -> list[VideoRecord]:
    """One record a file; files of one name in several folders get `-2`, `-3` … behind it."""
    seen: Counter[str] = Counter()
    records = []
    for path in videos:
        if not path.is_file():
            raise FileNotFoundError(f"no video at {path}")
        seen[path.stem] += 1
        number = f"-{seen[path.stem]}" if seen[path.stem] > 1 else ""
        records.append(VideoRecord(path.stem + number, path, (NORMAL,), "test"))
    return records


def _cut(scores: VideoScores, threshold: float) -> ScoredVideo:
    return ScoredVideo(scores, anomalous_intervals(scores, threshold))


def write_intervals(path: Path, scored: Sequence[ScoredVideo]) -> None:
    """A CSV with one row an interval: times in seconds, frames end exclusive."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "start_s", "end_s", "start_frame", "end_frame", "class", "score"))
        for video in scored:
            for i in video.intervals:
                times = (f"{i.start_s:.2f}", f"{i.end_s:.2f}", i.start_frame, i.end_frame)
                writer.writerow((video.scores.name, *times, i.label, f"{i.score:.4f}"))
