"""Training of any detector, from feature files to a checkpoint (DSANet: sections 3.5 and 4.1)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Event

from pydantic import ValidationError

from dsanet.checkpoint import (
    CURVES_FILE,
    DRAFT,
    INFO_FILE,
    CheckpointInfo,
    clip_weights,
    complete_save,
    is_finished,
    load_for_training,
    load_trained,
    read_info,
    save_checkpoint,
    text_digest,
)
from dsanet.detectors.base import Detector
from dsanet.detectors.config import DetectorConfig, InferConfig, TrainConfig, fit_classes
from dsanet.detectors.registry import build_detector
from dsanet.training.bag_sources import opened_bags
from dsanet.training.bags import BagList, list_bags
from dsanet.training.loop import TrainingLoop, TrainProgress
from dsanet.training.resume import RESUME_FILE
from dsanet.training.seeding import run_seeded
from dsanet.training.selection import Best, split_records
from extract.encoder import resolve_device
from extract.errors import InputError
from extract.manifest import VideoRecord

TEST_NOTE = "checkpoint chosen on the test split (select_on = test): its figures are optimistic"
RANDOM_NOTE = "random CLIP weights: for trials only"
NO_SELECTION_NOTE = "too few videos for a validation split: the weights are the last epoch's"


def train(
    records: Sequence[VideoRecord],
    features_dir: Path,
    out_dir: Path,
    model: DetectorConfig,
    config: TrainConfig,
    *,
    infer: InferConfig | None = None,
    device: str = "auto",
    start_from: Path | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
    on_epoch: Callable[[int, Detector], None] | None = None,
) -> Path:
    """Train a detector on the `train` records and write a checkpoint to `out_dir`; returns `out_dir`.

    A finished run with the same inputs is not repeated, an interrupted one continues where it was; on a CPU
    both give the bytes of an uninterrupted run. A checkpoint of other inputs can be used until the end, when
    it is replaced in one step.

    Args:
        records: Videos with labels and splits; without `val` records a part of `train` is used to select the
            checkpoint.
        features_dir: Folder with one feature file per record, `<name>.h5`.
        out_dir: Folder of the checkpoint.
        model: Settings of the detector. Classes that do not contain every label are replaced by the sorted
            labels.
        config: Settings of the training.
        infer: Stored in the checkpoint as its default inference settings.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        start_from: A checkpoint with the same `model`, whose weights the training starts from.
        on_progress: Called after every update, in the thread of the training.
        on_epoch: Called at the end of the epochs of `train.validate_every`, with the number of updates so far
            and the detector; a training that continues calls it again for the epochs that it repeats.

    Raises:
        FileNotFoundError: A feature file is missing.
        FeatureFileError: A feature file is damaged (a ValueError); raised before the first step if the bags
            fit in memory, else when the file is first needed.
        ValueError: The videos are unsuitable, for example all normal, or `start_from` does not fit.
        NonFiniteLossError: A loss term is NaN or infinite.

    Examples:
        >>> from pathlib import Path
        >>> from dsanet import train
        >>> from dsanet.detectors.registry import detector_preset
        >>> from extract.manifest import read_manifest
        >>> model, config, infer = detector_preset("mil-ranking", "small")
        >>> records = read_manifest(Path("videos.csv"))
        >>> train(records, Path("ws/features"), Path("ws/model"), model, config, infer=infer)
        PosixPath('ws/model')
    """
    model = _with_classes(model, records)
    bags, select = _list(records, features_dir, model, config)
    run_id = _run_id(model, config, bags, select, start_from)
    if is_finished(out_dir, run_id):
        complete_save(out_dir)
        return out_dir

    with opened_bags([bags, *([select] if select else [])], out_dir / DRAFT) as opened:

        def run(interrupted: Event) -> tuple[Detector, TrainingLoop]:
            net = _initial_model(model, start_from).to(resolve_device(device))
            to_train, *to_select = opened
            folder = _draft_folder(out_dir)
            loop = TrainingLoop(net, to_train, to_select[0] if to_select else None, config, folder, run_id)
            loop.run(on_progress, interrupted, on_epoch)
            return net, loop

        net, loop = run_seeded(config.seed, run)
    if loop.best is not None:
        load_trained(net, loop.best.weights)
    info = _describe(net, model, config, infer or InferConfig(), bags, loop)
    return save_checkpoint(out_dir, net.eval(), info)


def _draft_folder(out_dir: Path) -> Path:
    """The folder of the unfinished training, with the state that an earlier version has left in `out_dir`."""
    draft = out_dir / DRAFT
    draft.mkdir(parents=True, exist_ok=True)
    if not (out_dir / INFO_FILE).exists() and (out_dir / RESUME_FILE).is_file():
        for name in (CURVES_FILE, RESUME_FILE):
            (out_dir / name).replace(draft / name)
    return draft


def _with_classes(model: DetectorConfig, records: Sequence[VideoRecord]) -> DetectorConfig:
    classes = fit_classes((label for record in records for label in record.labels), model.classes)
    try:
        return type(model).model_validate(model.model_dump() | {"classes": classes})
    except ValidationError as error:
        raise InputError(
            f"the settings of {model.detector} do not fit the classes {', '.join(classes)}: "
            f"{error.errors()[0]['msg']}"
        ) from error


def _list(
    records: Sequence[VideoRecord], features_dir: Path, model: DetectorConfig, config: TrainConfig
) -> tuple[BagList, BagList | None]:
    """The bags to train on, and those to select the checkpoint on."""
    to_train, to_select = split_records(records, config)
    of = partial(list_bags, classes=model.classes, length=model.bag_length, segmented=model.segmented)
    bags = of(to_train, features_dir)
    return bags, of(to_select, features_dir, every_crop=False, like=bags) if to_select else None


def _run_id(
    model: DetectorConfig, config: TrainConfig, bags: BagList, select: BagList | None, start_from: Path | None
) -> str:
    """Digest of all inputs of a run."""
    parts: list[object] = [model.model_dump(), config.model_dump()]
    for part in (bags, select):
        labels = dict(zip(part.names, part.labels_VC.tolist(), strict=True)) if part else {}
        parts.append([part.digests, labels] if part else None)
    parts.append(read_info(start_from).weights_digest if start_from else None)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _initial_model(model: DetectorConfig, start_from: Path | None) -> Detector:
    """A detector with fresh weights, or with those of the checkpoint `start_from`."""
    if start_from is None:
        return build_detector(model)
    net, info = load_for_training(start_from)
    if info.model != model:
        raise InputError(
            f"{start_from} has another model config or other classes ({list(info.model.classes)}); "
            "train on it with the config in its model.json"
        )
    return net


def _describe(
    net: Detector,
    model: DetectorConfig,
    config: TrainConfig,
    infer: InferConfig,
    bags: BagList,
    loop: TrainingLoop,
) -> CheckpointInfo:
    """The contents of `model.json` for a finished training."""
    return CheckpointInfo(
        model=model,
        train=config,
        infer=infer,
        encoder=bags.encoder,
        extract=bags.extract,
        text_digest=text_digest(net),
        feature_digests=bags.digests,
        step=loop.best.step if loop.best else loop.steps,
        parameters=sum(p.numel() for p in net.parameters() if p.requires_grad),
        metrics=loop.best.metrics if loop.best else {},
        notes=_notes(model, config, bags, loop.best),
        run_id=loop.run_id,
    )


def _notes(model: DetectorConfig, config: TrainConfig, bags: BagList, best: Best | None) -> tuple[str, ...]:
    """Notes that every report on this checkpoint shows."""
    random = clip_weights(model) == "random" or bags.encoder.weights_digest.startswith("random")
    notes = {
        NO_SELECTION_NOTE: best is None and config.select_on != "none",
        TEST_NOTE: config.select_on == "test",
        RANDOM_NOTE: random,
        model.feature_note: bool(model.feature_note),
    }
    return tuple(note for note, applies in notes.items() if applies)
