"""Stage `train`: features and video-level labels → the checkpoint model/."""

from typing import Any

from dsanet.checkpoint import WEIGHTS_FILE
from dsanet.detectors.config import fit_classes
from dsanet.training.loop import TrainProgress
from dsanet.training.train import train
from extract.manifest import VideoRecord
from flows.pipeline.artifacts import publish_curves
from flows.pipeline.cache import Stage
from flows.pipeline.progress import Report
from flows.pipeline.stages.device import computing
from flows.pipeline.stages.digests import feature_digests, model_digest
from flows.workspace.run import Run, check_trainable


def _inputs(run: Run) -> Any:
    """Labels, splits and features of the videos, the settings, and the initial weights."""
    records = _records(run)
    return (
        {record.name: (record.labels, record.split) for record in records},
        feature_digests(run, records),
        run.config.model,
        run.config.train,
        run.digest(run.start_from / WEIGHTS_FILE) if run.start_from else None,
    )


def _records(run: Run) -> list[VideoRecord]:
    """The videos that training reads: those of the test split only if the best epoch is selected on it."""
    splits = ("train", "val", "test") if run.config.train.select_on == "test" else ("train", "val")
    records = run.having_features(*splits)
    check_trainable(records)
    return records


def _work(run: Run) -> str:
    records, config = _records(run), run.config
    labels = (label for record in run.records for label in record.labels)
    classes = fit_classes(labels, config.model.classes)
    with computing(run, "train", "steps") as report:
        train(
            records,
            run.workspace.features,
            run.workspace.model,
            config.model.model_copy(update={"classes": classes}),
            config.train,
            infer=config.infer,
            device=config.runtime.device,
            start_from=run.start_from,
            on_progress=lambda progress: _report_training(report, progress),
        )
    amount = f"{config.train.steps} steps" if config.train.steps else f"{config.train.epochs} epochs"
    return f"{sum(r.split == 'train' for r in records)} videos, {amount}"


def _report_training(report: Report, progress: TrainProgress) -> None:
    note = f"epoch {progress.epoch}/{progress.epochs}, loss {progress.losses['total']:.3f}"
    report(progress.step, progress.steps, note)


TRAIN = Stage("train", 1, _inputs, _work, model_digest, publish_curves)
