"""Training of any detector (DSANet: sections 3.5 and 4.1): `train_step()` and a short `train()`."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dsanet.checkpoint import (
    INFO_FILE,
    CheckpointInfo,
    clip_weights,
    is_finished,
    load_for_training,
    load_trained,
    read_info,
    save_checkpoint,
    text_digest,
)
from dsanet.detectors.base import Detector
from dsanet.detectors.config import DetectorConfig, InferConfig, TrainConfig, fit_classes
from dsanet.training.bags import Bags, Batch, Sampler, load_bags, make_batch
from dsanet.training.curves import Curves
from dsanet.training.optim import Scheduled, build_optimizers, plateau_drops
from dsanet.training.resume import RESUME_FILE, read_progress, restore, write_resume
from dsanet.training.seeding import seeded
from dsanet.training.selection import Best, better, split_records, validate
from extract.encoder import resolve_device
from extract.manifest import VideoRecord

TEST_NOTE = "checkpoint chosen on the test split (select_on = test): its figures are optimistic"
RANDOM_NOTE = "random CLIP weights: for trials only"
NO_SELECTION_NOTE = "too few videos for a validation split: the weights are the last epoch's"


class NonFiniteLossError(ArithmeticError):
    """A loss term is NaN or infinite; nothing was updated."""


@dataclass(frozen=True)
class TrainProgress:
    """`step` of `steps` are done, the last one in `epoch` (from 1), with `losses` (the terms and `total`)."""

    step: int
    steps: int
    epoch: int
    epochs: int
    losses: dict[str, float]


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
) -> Path:
    """Train on the `train` records and write a checkpoint to `out_dir`; returns `out_dir`.

    `infer` is kept in it as the way it is meant to score. `model.classes` gives way to the sorted
    labels where they don't fit into it. An interrupted run of the same inputs goes on where it was;
    a finished one is not repeated. `start_from` is a checkpoint (of the same `model`) to train on
    from. Raises ValueError where the videos or the checkpoint don't serve, FileNotFoundError for
    missing features and NonFiniteLossError.
    """
    model = _with_classes(model, records)
    bags, select = _load(records, features_dir, model, config)
    run_id = _run_id(model, config, bags, select, start_from)
    if is_finished(out_dir, run_id):
        return out_dir
    with seeded(config.seed):
        net = (model.build() if start_from is None else _continued(start_from, model)).to(
            resolve_device(device)
        )
        sampler = Sampler(bags.anomalous, config.batch_size, config.balanced, config.seed)
        optimizers = build_optimizers(net, config, sampler.steps_per_epoch)
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / INFO_FILE).unlink(missing_ok=True)
        first, best, history = _resume(out_dir, run_id, net, optimizers)
        curves = Curves(out_dir, first, net.terms)
        steps = config.steps or config.epochs * sampler.steps_per_epoch
        epochs = -(-steps // sampler.steps_per_epoch)
        for step in range(first, steps):
            epoch = step // sampler.steps_per_epoch + 1
            batch = make_batch([bags.bags[i] for i in sampler.step(step)], model.bag_length)
            for scheduled in optimizers:
                scheduled.drops = plateau_drops(history, config.plateau)
            losses = train_step(net, batch, optimizers, config, step)
            metrics: dict[str, float] = {}
            if select is not None and _validation_due(step + 1, steps, sampler.steps_per_epoch, config):
                metrics = validate(net, select, config)
                history.append(metrics["val_loss"])
                if better(metrics, best):
                    best = Best(metrics, step + 1, net.own_state())
            curves.write(epoch, step + 1, losses | metrics)
            if (step + 1) % config.save_every == 0 and step + 1 < steps:
                _save_state(out_dir, run_id, step + 1, net, best, history, optimizers)
            if on_progress is not None:
                on_progress(TrainProgress(step + 1, steps, epoch, epochs, losses))
    if best is not None:
        load_trained(net, best.weights)
    info = CheckpointInfo(
        model=model,
        train=config,
        infer=infer or InferConfig(),
        encoder=bags.encoder,
        extract=bags.extract,
        text_digest=text_digest(net),
        feature_digests=dict(bags.digests),
        step=best.step if best else steps,
        parameters=sum(p.numel() for p in net.parameters() if p.requires_grad),
        metrics=best.metrics if best else {},
        notes=_notes(model, config, bags, best),
        run_id=run_id,
    )
    save_checkpoint(out_dir, net.eval(), info)
    (out_dir / RESUME_FILE).unlink(missing_ok=True)
    return out_dir


def train_step(
    net: Detector, batch: Batch, optimizers: Sequence[Scheduled], config: TrainConfig, step: int
) -> dict[str, float]:
    """One update. Returns the terms and `total`. Raises NonFiniteLossError before any optimiser steps."""
    net.train()
    batch = batch.to(next(net.parameters()).device)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and batch.features_BTD.is_cuda)
    with torch.autocast(batch.features_BTD.device.type, torch.bfloat16, enabled=bf16):
        output = net(batch.features_BTD, batch.lengths_B)
    terms = net.loss_terms(output, batch.labels_BC, batch.lengths_B)
    total = net.total_loss(terms, config)
    names = (*terms, "total")
    losses = dict(zip(names, torch.stack([*terms.values(), total]).tolist(), strict=True))
    if bad := [name for name, value in losses.items() if not np.isfinite(value)]:
        raise NonFiniteLossError(
            f"loss term {', '.join(bad)} is not finite at step {step + 1}; the videos of the batch are "
            f"{', '.join(sorted(set(batch.names)))}"
        )
    for scheduled in optimizers:
        scheduled.optimizer.zero_grad()
    total.backward()
    for scheduled in optimizers:
        scheduled.step(step)
    return losses


def _with_classes(model: DetectorConfig, records: Sequence[VideoRecord]) -> DetectorConfig:
    labels = [label for record in records for label in record.labels]
    return type(model).model_validate(model.model_dump() | {"classes": fit_classes(labels, model.classes)})


def _load(
    records: Sequence[VideoRecord], features_dir: Path, model: DetectorConfig, config: TrainConfig
) -> tuple[Bags, Bags | None]:
    to_train, to_select = split_records(records, config)
    load = partial(load_bags, classes=model.classes, length=model.bag_length, segmented=model.segmented)
    bags = load(to_train, features_dir)
    return bags, load(to_select, features_dir, every_crop=False, like=bags) if to_select else None


def _run_id(
    model: DetectorConfig, config: TrainConfig, bags: Bags, select: Bags | None, start_from: Path | None
) -> str:
    """Names a run by all that it is made from."""
    parts: list[object] = [model.model_dump(), config.model_dump()]
    for some in (bags, select):
        parts.append([some.digests, {bag.name: bag.labels_C.tolist() for bag in some.bags}] if some else None)
    parts.append(read_info(start_from).weights_digest if start_from else None)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _continued(start_from: Path, model: DetectorConfig) -> Detector:
    net, info = load_for_training(start_from)
    if info.model != model:
        raise ValueError(
            f"{start_from} is of another model or of other classes ({list(info.model.classes)}); "
            "train on it with the config in its model.json"
        )
    return net


def _resume(
    out_dir: Path, run_id: str, net: Detector, optimizers: Sequence[Scheduled]
) -> tuple[int, Best | None, list[float]]:
    """The step to go on from, the best so far and the validation losses; (0, None, []) for a new run."""
    progress = read_progress(out_dir)
    if progress is None or progress["run_id"] != run_id:
        return 0, None, []
    weights = restore(out_dir, [scheduled.optimizer for scheduled in optimizers])
    load_trained(net, weights["model"])
    best = progress["best"] and Best(progress["best"]["metrics"], progress["best"]["step"], weights["best"])
    return progress["step"], best, progress["history"]


def _save_state(
    out_dir: Path,
    run_id: str,
    step: int,
    net: Detector,
    best: Best | None,
    history: list[float],
    optimizers: Sequence[Scheduled],
) -> None:
    progress = {
        "run_id": run_id,
        "step": step,
        "history": history,
        "best": best and {"metrics": best.metrics, "step": best.step},
    }
    weights = {"model": net.own_state()} | ({"best": best.weights} if best else {})
    write_resume(out_dir, progress, weights, [scheduled.optimizer for scheduled in optimizers])


def _validation_due(steps_done: int, steps: int, steps_per_epoch: int, config: TrainConfig) -> bool:
    epochs_done, rest = divmod(steps_done, steps_per_epoch)
    return steps_done == steps or (rest == 0 and epochs_done % config.validate_every == 0)


def _notes(model: DetectorConfig, config: TrainConfig, bags: Bags, best: Best | None) -> tuple[str, ...]:
    """What every report on this checkpoint must say."""
    random = clip_weights(model) == "random" or bags.encoder.weights_digest.startswith("random")
    notes = {
        NO_SELECTION_NOTE: best is None,
        TEST_NOTE: config.select_on == "test",
        RANDOM_NOTE: random,
        model.stand_in: bool(model.stand_in),
    }
    return tuple(note for note, applies in notes.items() if applies)
