"""Stage `train`: features and video-level labels → the checkpoint model/."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dsanet.checkpoint_info import WEIGHTS_FILE
from dsanet.detectors.config import DetectorConfig, TextConfig, fit_classes
from dsanet.layers.text_length import surely_fits
from extract.errors import InputError
from extract.manifest import VideoRecord
from extract.weights import require_weights
from flows.pipeline.artifacts import publish_curves
from flows.pipeline.cache import Stage
from flows.pipeline.stages.device import computing
from flows.pipeline.stages.digests import feature_digests, model_digest
from flows.progress import Report
from flows.workspace.run import Run, check_trainable

if TYPE_CHECKING:
    from dsanet.detectors.base import Detector
    from dsanet.training.loop import TrainProgress


def _inputs(run: Run) -> Any:
    """Labels, splits and features of the videos, the settings, and the initial weights."""
    records = _records(run)
    check_detector(run)
    return (
        {record.name: (record.labels, record.split) for record in records},
        feature_digests(run, records),
        run.config.model,
        run.config.train,
        run.digest(run.start_from / WEIGHTS_FILE) if run.start_from else None,
    )


def check_detector(run: Run) -> DetectorConfig:
    """The detector's settings with the classes of the manifest; CLIP's text tower is not loaded.

    Raises InputError for labels or prompts that CLIP does not take, MissingFileError without its weights.
    """
    labels = (label for record in run.records for label in record.labels)
    model = run.config.model
    values = model.model_dump() | {"classes": fit_classes(labels, model.classes)}
    try:
        model = type(model).model_validate(values)
    except ValidationError as error:
        raise InputError(
            f"the settings of the detector do not fit the manifest: {error.errors()[0]['msg']}"
        ) from None
    if isinstance(model, TextConfig):
        require_weights(model.clip_weights)
        _check_lengths(model)
    return model


def _check_lengths(model: TextConfig) -> None:
    if not all(surely_fits(text, model.learned_tokens) for text in model.encoded_texts):
        from dsanet.layers.clip_text import tokenize

        tokenize(model.encoded_texts, model.learned_tokens)


def _records(run: Run) -> list[VideoRecord]:
    """The videos that training reads: those of the test split only if the best epoch is selected on it."""
    splits = ("train", "val", "test") if run.config.train.select_on == "test" else ("train", "val")
    records = run.having_features(*splits)
    check_trainable(records)
    return records


def train_detector(run: Run, on_epoch: "Callable[[int, Detector], None] | None" = None) -> str:
    """The work of the stage; `on_epoch` is that of `dsanet.train`."""
    from dsanet.training.devices import training_devices
    from dsanet.training.train import train
    from extract.devices import selected_devices

    records, config = _records(run), run.config
    devices = training_devices(selected_devices(config.runtime))
    with computing(run, "train", "steps", devices) as report:
        train(
            records,
            run.workspace.features,
            run.workspace.model,
            check_detector(run),
            config.train,
            infer=config.infer,
            device=config.runtime.device,
            devices=devices,
            start_from=run.start_from,
            on_progress=lambda progress: _report_training(report, progress),
            on_epoch=on_epoch,
        )
    amount = f"{config.train.steps} steps" if config.train.steps else f"{config.train.epochs} epochs"
    return f"{sum(r.split == 'train' for r in records)} videos, {amount}"


def _report_training(report: Report, progress: "TrainProgress") -> None:
    note = f"epoch {progress.epoch}/{progress.epochs}, loss {progress.losses['total']:.3f}"
    report(progress.step, progress.steps, note)


TRAIN = Stage("train", 1, _inputs, train_detector, model_digest, publish_curves)
