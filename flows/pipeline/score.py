"""Scoring of any videos with a trained model: anomalous intervals, without a manifest, labels or a server."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dsanet.checkpoint import INFO_FILE, CheckpointInfo, load_checkpoint
from dsanet.inference import infer
from evaluate.predictions import Interval, anomalous_intervals
from evaluate.report.png import save_timeline
from evaluate.scores import VideoScores, read_scores, score_path
from extract.atomic import write_atomically
from extract.config import ExtractConfig, ExtractRuntime
from extract.display import encodable
from extract.encoder import FrameEncoder, load_encoder
from extract.engine import extract_videos
from extract.errors import InputError, MissingFileError
from extract.failures import Failure
from extract.inspect import timing_lines
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.remote.listings import one_listing
from extract.remote.path import AnyPath, as_path
from extract.store import feature_path, read_meta
from flows.pipeline.stages.device import device_in_use
from flows.progress import extraction_progress, stage_progress
from flows.workspace.workspace import Workspace, local_folder


@dataclass(frozen=True)
class ScoredVideo:
    """The scores of one video, and the intervals in which they reach the threshold."""

    scores: VideoScores
    intervals: list[Interval]


@dataclass(frozen=True)
class ScoreResult:
    """The result of `score_videos`."""

    videos: list[ScoredVideo]
    failures: list[Failure]
    """The videos that could not be decoded."""
    notes: tuple[str, ...]
    """Restrictions of the model, from its checkpoint, and irregularities of the recordings."""


@one_listing()
def score_videos(
    videos: Sequence[AnyPath],
    model: Path,
    out: Path,
    *,
    threshold: float,
    release: float = 1.0,
    weights: str | None = None,
    runtime: ExtractRuntime | None = None,
) -> ScoreResult:
    """Score video files and cut the scores into anomalous intervals.

    Writes features/ and scores/ below `out`, `out/intervals.csv` and `out/timeline.png`. A video that cannot
    be decoded is skipped and listed in `failures`. Existing feature files of the same videos are reused.
    Paths, checkpoint and CLIP weights are checked before the first video is decoded. While another process
    uses the GPU, waits for it.

    Args:
        videos: paths or addresses of video files; one that is given twice is scored once
        model: a checkpoint folder, or a workspace with a model
        out: folder for the results
        threshold: anomaly score in [0, 1] from which a snippet counts as anomalous
        release: share of the threshold, in (0, 1], below which an interval ends (hysteresis; 1: none)
        weights: CLIP weights (`openai`, `random` or a path) if they are not where they were in training; all
            other extraction settings are those of the checkpoint
        runtime: device, workers and error handling of the extraction

    Raises:
        MissingFileError: a video, the checkpoint or the CLIP weights do not exist
        InputError: the checkpoint is damaged, or the CLIP weights are not those of its training

    Examples:
        >>> from pathlib import Path
        >>> from flows import score_videos
        >>> result = score_videos([Path("video.mp4")], Path("workspace"), Path("scored"), threshold=0.5)
        >>> [(video.scores.name, len(video.intervals)) for video in result.videos]  # doctest: +ELLIPSIS
        [('video', ...)]
    """
    model = local_folder(model)
    model = model if (model / INFO_FILE).is_file() else Workspace(model).model
    info = load_checkpoint(model).info  # the weights too: a damaged file is found before the extraction
    config = info.extract.model_copy(update={"weights": weights} if weights else {})
    workspace, runtime = Workspace(out), runtime or ExtractRuntime()
    records = _make_records([as_path(video) for video in videos])
    with workspace.kept_open():
        with device_in_use(runtime.device):
            encoder = _load_encoder(config, runtime, info)
            failures = _extract(records, workspace, config, runtime, encoder)
            failed = {failure.name for failure in failures}
            names = [record.name for record in records if record.name not in failed]
            if names:
                infer(names, workspace.features, model, workspace.scores, info.infer, device=runtime.device)
        scores = [read_scores(score_path(workspace.scores, name)) for name in names]
        scored = [ScoredVideo(video, anomalous_intervals(video, threshold, release)) for video in scores]
        if scored:
            _write_intervals(workspace.root / "intervals.csv", scored)
            intervals = [video.intervals for video in scored]
            save_timeline(workspace.root / "timeline.png", scores, intervals, threshold)
    timing = {name: read_meta(feature_path(workspace.features, name)).source.timing for name in names}
    return ScoreResult(scored, failures, (*info.notes, *timing_lines(timing)))


def _make_records(videos: Sequence[AnyPath]) -> list[VideoRecord]:
    """One record per file, named after it; if the name is taken, with the first free suffix `-2`, `-3` …"""
    if missing := [path for path in videos if not path.is_file()]:
        more = f" (and at {len(missing) - 1} more of the paths)" if len(missing) > 1 else ""
        raise MissingFileError(f"no video at {missing[0]}{more}")
    records: dict[str, VideoRecord] = {}
    numbers: dict[str, Iterator[int]] = {}
    for path in {path.absolute(): path for path in videos}.values():
        name = stem = _video_name(path)
        while name in records:
            name = f"{stem}-{next(numbers.setdefault(stem, count(2)))}"
        records[name] = VideoRecord(name, path, (NORMAL,), "test")
    return list(records.values())


def _video_name(path: AnyPath) -> str:
    """The stem of a file as a name that `extract.manifest.check_name` accepts: `hidden` for `.hidden.mp4`.

    Bytes that are not UTF-8 become escapes: `caf_xe9`.
    """
    return encodable(path.stem).lstrip(".").replace("\\", "_") or "video"


def _load_encoder(config: ExtractConfig, runtime: ExtractRuntime, info: CheckpointInfo) -> FrameEncoder:
    """The encoder of the extraction. Raises InputError if the model was trained on another one's features."""
    encoder = load_encoder(config.weights, runtime.device, config.precision, runtime.batch_size)
    if not encoder.fingerprint.same_features_as(info.encoder):
        raise InputError(
            f"the model was trained on features of the CLIP weights {info.encoder.weights_digest[:23]}, but "
            f"{config.weights} is {encoder.fingerprint.weights_digest[:23]}; give the others with --weights"
        )
    return encoder


def _extract(
    records: Sequence[VideoRecord],
    workspace: Workspace,
    config: ExtractConfig,
    runtime: ExtractRuntime,
    encoder: FrameEncoder,
) -> list[Failure]:
    with stage_progress("extract", "snippets") as report:
        progress = extraction_progress(report)
        result = extract_videos(
            records, workspace.features, config, runtime, progress, encoder=encoder, retry=True
        )
    return result.failures


def _write_intervals(path: Path, scored: Sequence[ScoredVideo]) -> None:
    """A CSV with one row per interval: times in seconds, frames with exclusive end."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("video", "start_s", "end_s", "start_frame", "end_frame", "class", "score"))
    for video in scored:
        for i in video.intervals:
            times = (f"{i.start_s:.2f}", f"{i.end_s:.2f}", i.start_frame, i.end_frame)
            writer.writerow((video.scores.name, *times, i.label, f"{i.score:.4f}"))
    write_atomically(path, text.getvalue())
