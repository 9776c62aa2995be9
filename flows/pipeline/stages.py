"""The four stages: what each reads, how it does its work, and what it leaves behind.

EXTRACT   videos → features/NAME.h5     the frozen CLIP image tower
TRAIN     features → model/             a detector (model.detector), DSANet by default
INFER     model, features → scores/     windows, DSANet's belief modulation
EVALUATE  scores, annotations → report/ metrics.json, index.html
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsanet.checkpoint import INFO_FILE, WEIGHTS_FILE, read_info
from dsanet.detectors.dsanet.config import fit_classes
from dsanet.inference import infer
from dsanet.training.curves import CURVES_FILE
from dsanet.training.train import TrainProgress, train
from evaluate.annotations import VideoTruth, read_annotations, video_truth
from evaluate.report.write import evaluate_scores, write_report
from evaluate.scores import score_path
from extract.encoder import resolve_device
from extract.engine import extract_videos
from extract.manifest import VideoRecord
from extract.store import FeatureFileError, feature_path, read_features, read_meta
from flows.pipeline.artifacts import progress_record, show_curves, show_failures, show_metrics
from flows.pipeline.cache import Stage
from flows.pipeline.progress import Report, show_extraction, stage_progress
from flows.pipeline.thumbnails import thumbnailer
from flows.workspace.locks import device_turn
from flows.workspace.run import Run
from flows.workspace.workspace import check_testable, check_trainable, digest_of


@contextmanager
def _at_work(run: Run, stage: str, unit: str) -> Iterator[Report]:
    """The run's GPU, if it has one, for this stage alone; yields the function that shows its progress."""
    device = str(resolve_device(run.config.runtime.device))
    with device_turn(device), stage_progress(stage, unit, progress_record(stage)) as report:
        yield report


# --- extract ------------------------------------------------------------------------------------------------


def _extract_reads(run: Run) -> Any:
    sources = {record.name: _source_digest(run, record) for record in run.records}
    config = run.config.extract
    weights = run.digest(Path(config.weights))  # of a path: what is in it, not what it is called
    return (
        sources,
        config.model_dump(exclude={"weights"}),
        weights or config.weights,
        run.config.runtime.partial,
    )


def _source_digest(run: Run, record: VideoRecord) -> str | None:
    """sha256 of the video; taken from its feature file while size and modification time say it's the same."""
    status = record.path.stat()
    try:
        source = read_meta(feature_path(run.workspace.features, record.name)).source
    except (FileNotFoundError, FeatureFileError):
        return run.digest(record.path)
    unchanged = (source.size, source.mtime_ns) == (status.st_size, status.st_mtime_ns)
    return source.sha256 if unchanged else run.digest(record.path)


def _extract_work(run: Run) -> str:
    with _at_work(run, "extract", "snippets") as report:
        result = extract_videos(
            run.records,
            run.workspace.features,
            run.config.extract,
            run.config.runtime,
            on_progress=show_extraction(report),
        )
    done = len(result.extracted) + len(result.reused)
    failed = f", {len(result.failures)} failed (features/failures.csv)" if result.failures else ""
    return f"{done} videos, {len(result.reused)} of them reused{failed}"


def _extract_written(run: Run) -> str | None:
    """None while a video has no features: what failed is tried again in the next run, and only that."""
    return None if run.without_features() else _features_digest(run)


def _features_digest(run: Run) -> str:
    return digest_of(_digests(run, run.records))


def _digests(run: Run, records: Iterable[VideoRecord]) -> dict[str, str | None]:
    return {r.name: run.digest(feature_path(run.workspace.features, r.name)) for r in records}


EXTRACT = Stage("extract", 1, _extract_reads, _extract_work, _extract_written, show_failures)

# --- train --------------------------------------------------------------------------------------------------


def _train_records(run: Run) -> list[VideoRecord]:
    splits = ("train", "val", "test") if run.config.train.select_on == "test" else ("train", "val")
    records = run.having_features(*splits)
    check_trainable(records)
    return records


def _train_reads(run: Run) -> Any:
    records = _train_records(run)
    labels = {record.name: (record.labels, record.split) for record in records}
    begins_with = run.digest(run.start_from / WEIGHTS_FILE) if run.start_from else None
    return labels, _digests(run, records), run.config.model, run.config.train, begins_with


def _train_work(run: Run) -> str:
    records = _train_records(run)
    config = run.config
    labels = (label for record in run.records for label in record.labels)
    classes = fit_classes(labels, config.model.classes)
    with _at_work(run, "train", "steps") as report:

        def show(progress: TrainProgress) -> None:
            loss = f"loss {progress.losses['total']:.3f}"
            report(progress.step, progress.steps, f"epoch {progress.epoch}/{progress.epochs}, {loss}")

        train(
            records,
            run.workspace.features,
            run.workspace.model,
            config.model.model_copy(update={"classes": classes}),
            config.train,
            infer=config.infer,
            device=config.runtime.device,
            start_from=run.start_from,
            on_progress=show,
        )
    amount = f"{config.train.steps} steps" if config.train.steps else f"{config.train.epochs} epochs"
    return f"{sum(r.split == 'train' for r in records)} videos, {amount}"


def _model_digest(run: Run) -> str | None:
    parts = [run.digest(run.workspace.model / name) for name in (WEIGHTS_FILE, INFO_FILE)]
    return digest_of(parts) if all(parts) else None


TRAIN = Stage("train", 1, _train_reads, _train_work, _model_digest, show_curves)

# --- infer --------------------------------------------------------------------------------------------------


def _infer_reads(run: Run) -> Any:
    records = run.having_features("test")
    check_classes(records, run.workspace.model)
    return _model_digest(run), _digests(run, records), run.config.infer


def check_classes(records: Iterable[VideoRecord], model: Path) -> None:
    """Raises ValueError if a video has a label that the checkpoint in `model` was not trained for."""
    known = read_info(model).model.classes
    unknown = sorted({label for record in records for label in record.labels} - set(known))
    if unknown:
        raise ValueError(
            f"the manifest has labels {', '.join(unknown)}, which the checkpoint in {model} does not know "
            f"(it knows {', '.join(known)}); train again, or use a manifest of the same classes"
        )


def _infer_work(run: Run) -> str:
    workspace, config = run.workspace, run.config
    names = [record.name for record in run.having_features("test")]
    with _at_work(run, "infer", "videos") as report:
        infer(
            names,
            workspace.features,
            workspace.model,
            workspace.scores,
            config.infer,
            device=config.runtime.device,
            on_progress=lambda done, total: report(done, total, ""),
        )
    return f"{len(names)} videos scored"


def _scores_digest(run: Run) -> str:
    names = [record.name for record in run.records if record.split == "test"]
    return digest_of({name: run.digest(score_path(run.workspace.scores, name)) for name in names})


INFER = Stage("infer", 1, _infer_reads, _infer_work, _scores_digest, lambda run: None)

# --- evaluate -----------------------------------------------------------------------------------------------


def read_truths(run: Run) -> list[VideoTruth]:
    """Labels and segments of the test videos that could be read; what failed to decode stays out, by name."""
    annotations = read_annotations(run.inputs.annotations) if run.inputs.annotations else {}
    records = run.having_features("test")
    return [video_truth(record.name, record.path, record.labels, annotations) for record in records]


def _evaluate_reads(run: Run) -> Any:
    check_testable(run.records)
    curves = run.digest(run.workspace.model / CURVES_FILE)
    truths = [(truth.name, truth.labels, truth.segments) for truth in read_truths(run)]
    return _scores_digest(run), truths, run.config.evaluate, curves, run.inputs.title, _notes(run)


def _notes(run: Run) -> list[str]:
    """What a reader of the report must know before the figures."""
    failed = [record.name for record in run.without_features()]
    left_out = (
        [f"{len(failed)} videos could not be read and are left out: {', '.join(failed)}"] if failed else []
    )
    return [*read_info(run.workspace.model).notes, *left_out]


def _evaluate_work(run: Run) -> str:
    workspace = run.workspace
    evaluation = evaluate_scores(workspace.scores, read_truths(run), run.config.evaluate)
    write_report(
        workspace.report,
        evaluation,
        title=run.inputs.title,
        notes=_notes(run),
        curves_csv=workspace.model / CURVES_FILE,
        thumbnail=thumbnailer(run.records),
        raw_features=_raw_features(run) if run.config.evaluate.tsne else None,
        run_config=run.config.model_dump(mode="json"),
        digests=_digests_of_inputs(run),
    )
    return f"report in {workspace.report / 'index.html'}"


def _raw_features(run: Run) -> Callable[[str], NDArray[np.float16]]:
    """A function (video name) → its features (T, D), crops averaged: the left half of figure 4."""
    return lambda name: read_features(feature_path(run.workspace.features, name)).features.mean(axis=1)


def _digests_of_inputs(run: Run) -> dict[str, str]:
    annotations = run.digest(run.inputs.annotations) if run.inputs.annotations else None
    digests = {"features": _features_digest(run), "model": _model_digest(run), "annotations": annotations}
    return {name: digest for name, digest in digests.items() if digest}


def _report_digest(run: Run) -> str | None:
    parts = [run.digest(run.workspace.report / name) for name in ("metrics.json", "index.html")]
    return digest_of(parts) if all(parts) else None


EVALUATE = Stage("evaluate", 1, _evaluate_reads, _evaluate_work, _report_digest, show_metrics)
