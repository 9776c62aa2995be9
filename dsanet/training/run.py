"""One training, alone or as one of the processes of a group: from a plan to the checkpoint."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event

import torch

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
    save_checkpoint,
    text_digest,
)
from dsanet.detectors.base import Detector
from dsanet.detectors.registry import build_detector
from dsanet.training.bag_file import remove_other_bag_files
from dsanet.training.bag_sources import opened_bags
from dsanet.training.group import Group
from dsanet.training.loop import TrainingLoop, TrainProgress
from dsanet.training.plan import Plan
from dsanet.training.resume import RESUME_FILE
from dsanet.training.seeding import run_seeded
from extract.errors import InputError

TEST_NOTE = "checkpoint chosen on the test split (select_on = test): its figures are optimistic"
RANDOM_NOTE = "random CLIP weights: for trials only"
NO_SELECTION_NOTE = "too few videos for a validation split: the weights are the last epoch's"


def is_done(plan: Plan) -> bool:
    """True if the folder holds the checkpoint of this plan; a save that was cut off is completed."""
    finished = is_finished(plan.out_dir, plan.run_id)
    if finished:
        complete_save(plan.out_dir)
    return finished


def run_training(
    plan: Plan,
    device: torch.device,
    on_progress: Callable[[TrainProgress], None] | None = None,
    on_epoch: Callable[[int, Detector], None] | None = None,
    group: Group | None = None,
) -> None:
    """Train from the beginning or from the saved state, and write the checkpoint. Raises as `dsanet.train`.

    In a `group` the first process reads and writes the state and calls the callbacks.
    """
    is_first = group is None or group.first
    with opened_bags(plan.lists, plan.out_dir / DRAFT, group.on_machine if group else 1) as opened:

        def run(interrupted: Event) -> tuple[Detector, TrainingLoop]:
            if group is not None and device.type == "cuda":
                torch.cuda.set_device(device)  # of this thread
            net = _initial_model(plan, group).to(device)
            to_train, *to_select = opened
            folder = _draft_folder(plan.out_dir) if is_first else plan.out_dir / DRAFT
            loop = TrainingLoop(
                net, to_train, to_select[0] if to_select else None, plan.config, folder, plan.run_id, group
            )
            loop.run(on_progress, interrupted, on_epoch)
            return net, loop

        net, loop = run_seeded(plan.config.seed, run)
    if group is not None:
        _remove_caches(plan.out_dir / DRAFT)
        group.from_each(None)  # the folder may be shared: the first process empties it when all have done so
    if is_first:
        if loop.best is not None:
            load_trained(net, loop.best.weights)
        save_checkpoint(plan.out_dir, net.eval(), _describe(net, plan, loop))


def _remove_caches(draft: Path) -> None:
    remove_other_bag_files(draft, ())
    with suppress(OSError):
        draft.rmdir()


def _draft_folder(out_dir: Path) -> Path:
    """The folder of the unfinished training, with the state that an earlier version has left in `out_dir`."""
    draft = out_dir / DRAFT
    draft.mkdir(parents=True, exist_ok=True)
    if not (out_dir / INFO_FILE).exists() and (out_dir / RESUME_FILE).is_file():
        for name in (CURVES_FILE, RESUME_FILE):
            (out_dir / name).replace(draft / name)
    return draft


def _initial_model(plan: Plan, group: Group | None) -> Detector:
    """A detector with fresh weights, or those of the checkpoint `start_from`; in a group, the first one's."""
    if group is None:
        return _own_initial_model(plan)
    net = _own_initial_model(plan) if group.first else build_detector(plan.model)
    group.share_model(net)
    return net


def _own_initial_model(plan: Plan) -> Detector:
    if plan.start_from is None:
        return build_detector(plan.model)
    net, info = load_for_training(plan.start_from)
    if info.model != plan.model:
        raise InputError(
            f"{plan.start_from} has another model config or other classes ({list(info.model.classes)}); "
            "train on it with the config in its model.json"
        )
    return net


def _describe(net: Detector, plan: Plan, loop: TrainingLoop) -> CheckpointInfo:
    """The contents of `model.json` for a finished training."""
    return CheckpointInfo(
        model=plan.model,
        train=plan.config,
        infer=plan.infer,
        encoder=plan.bags.encoder,
        extract=plan.bags.extract,
        text_digest=text_digest(net),
        feature_digests=plan.bags.digests,
        step=loop.best.step if loop.best else loop.steps,
        parameters=sum(p.numel() for p in net.parameters() if p.requires_grad),
        metrics=loop.best.metrics if loop.best else {},
        notes=_notes(plan, selected=loop.best is not None),
        run_id=loop.run_id,
    )


def _notes(plan: Plan, selected: bool) -> tuple[str, ...]:
    """Notes that every report on this checkpoint shows."""
    encoder, select_on = plan.bags.encoder, plan.config.select_on
    random = clip_weights(plan.model) == "random" or encoder.weights_digest.startswith("random")
    notes = {
        NO_SELECTION_NOTE: not selected and select_on != "none",
        TEST_NOTE: select_on == "test",
        RANDOM_NOTE: random,
        plan.model.feature_note: bool(plan.model.feature_note),
    }
    return tuple(note for note, applies in notes.items() if applies)
