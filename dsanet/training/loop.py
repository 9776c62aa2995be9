"""The training loop: updates, validation, curves and the state that an interrupted training resumes from."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np
import torch

from dsanet.checkpoint import load_trained
from dsanet.detectors.base import Detector
from dsanet.detectors.config import TrainConfig
from dsanet.layers.split_batch import split_batch
from dsanet.layers.transfer import HostCopy
from dsanet.training.bags import Bags, Batch, Sampler
from dsanet.training.curves import Curves
from dsanet.training.group import Group
from dsanet.training.optim import ScheduledOptimizer, build_optimizers, plateau_drops, total_steps
from dsanet.training.read_ahead import read_ahead
from dsanet.training.resume import RESUME_FILE, read_progress, restore, write_resume
from dsanet.training.selection import Best, better, validate
from dsanet.training.split_step import WholeOutput, require_splittable
from extract.errors import InputError


class NonFiniteLossError(InputError, ArithmeticError):
    """A loss term is NaN or infinite. The model has not been updated with it."""


@dataclass(frozen=True)
class TrainProgress:
    """`step` of `steps` updates are done, the last one in `epoch` (from 1) of `epochs`.

    `losses` are the values of the loss terms and `total` in that update.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    losses: dict[str, float]


class TrainingLoop:
    """Trains `net` on `bags` and keeps the best weights on `select` (`best`; None if there is no validation).

    Continues a run with the same `run_id` that was interrupted in `out_dir`, else starts at step 0. In a
    `group` the processes train one detector together; only the first one reads and writes in `out_dir`, has
    `best` weights and calls the callbacks.
    """

    def __init__(
        self,
        net: Detector,
        bags: Bags,
        select: Bags | None,
        config: TrainConfig,
        out_dir: Path,
        run_id: str,
        group: Group | None = None,
    ) -> None:
        if group is not None:
            require_splittable(net)
            bags = replace(bags, rank=group.rank, processes=group.size)
        self.net, self.bags, self.select, self.group = net, bags, select, group
        self.is_first = group is None or group.first
        self.device = next(net.parameters()).device
        self.config, self.out_dir, self.run_id = config, out_dir, run_id
        self.sampler = Sampler(bags.listed.anomalous, config.batch_size, config.balanced, config.seed)
        self.steps_per_epoch = self.sampler.steps_per_epoch
        self.steps = total_steps(config, self.steps_per_epoch)
        self.optimizers = build_optimizers(net, config, self.steps_per_epoch)
        self.best: Best | None = None
        self.history: list[float] = []
        """Validation losses so far."""
        self.first_step = self._resume()
        self.curves = Curves(out_dir, self.first_step, net.terms) if self.is_first else None

    def run(
        self,
        on_progress: Callable[[TrainProgress], None] | None,
        interrupted: Event,
        on_epoch: Callable[[int, Detector], None] | None = None,
    ) -> None:
        """Train to the last step, or until `interrupted` is set. Raises NonFiniteLossError."""
        epochs = -(-self.steps // self.steps_per_epoch)
        order = map(self.sampler.step, range(self.first_step, self.steps))
        with closing(read_ahead(self.bags, order, self.device)) as batches:
            for step, batch in enumerate(batches, self.first_step):
                if interrupted.is_set():
                    return
                epoch = step // self.steps_per_epoch + 1
                losses = self._update(step, batch)
                metrics = self._validate(step + 1)
                if self._validation_due(step + 1):
                    self._end_epoch(step + 1, on_epoch)
                if self.curves is not None:
                    self.curves.write(epoch, step + 1, losses | metrics)
                if (step + 1) % self.config.save_every == 0 and step + 1 < self.steps and self.is_first:
                    self._save(step + 1)
                if on_progress is not None and self.is_first:
                    on_progress(TrainProgress(step + 1, self.steps, epoch, epochs, losses))

    def _update(self, step: int, batch: Batch) -> dict[str, float]:
        drops = plateau_drops(self.history, self.config.plateau)
        for optimizer in self.optimizers:
            optimizer.drops = drops
        return train_step(self.net, batch, self.optimizers, self.config, step, self.group)

    def _validate(self, steps_done: int) -> dict[str, float]:
        """Validation metrics, and an update of `best`, if a validation is due; else an empty dict."""
        if self.select is None or not self._validation_due(steps_done):
            return {}
        metrics = validate(self.net, self.select, self.config, self.group)
        self.history.append(metrics["val_loss"])
        if self.is_first and better(metrics, self.best):
            self.best = Best(metrics, steps_done, self.net.own_state())
        return metrics

    def _end_epoch(self, steps_done: int, on_epoch: Callable[[int, Detector], None] | None) -> None:
        if on_epoch is not None and self.is_first:
            on_epoch(steps_done, self.net.eval())
        if self.group is not None:
            self.group.share_random_state()  # `on_epoch` may have drawn numbers

    def _validation_due(self, steps_done: int) -> bool:
        epochs_done, remainder = divmod(steps_done, self.steps_per_epoch)
        return steps_done == self.steps or (remainder == 0 and epochs_done % self.config.validate_every == 0)

    def _resume(self) -> int:
        """Restore the interrupted run with this `run_id`; returns the next step, 0 for a new run."""
        state = self._saved_state() if self.group is None else self.group.from_first(self._saved_state)
        if state is None:
            return 0
        optimizers = [scheduled.optimizer for scheduled in self.optimizers]
        progress, weights = restore(state, optimizers, self.device)
        load_trained(self.net, weights["model"])
        if self.is_first and (best := progress["best"]):
            self.best = Best(best["metrics"], best["step"], weights["best"])
        self.history = progress["history"]
        return int(progress["step"])

    def _saved_state(self) -> bytes | None:
        progress = read_progress(self.out_dir)
        if progress is None or progress["run_id"] != self.run_id:
            return None
        return (self.out_dir / RESUME_FILE).read_bytes()

    def _save(self, step: int) -> None:
        best = self.best
        progress = {
            "run_id": self.run_id,
            "step": step,
            "history": self.history,
            "best": best and {"metrics": best.metrics, "step": best.step},
        }
        weights = {"model": self.net.own_state()} | ({"best": best.weights} if best else {})
        optimizers = [scheduled.optimizer for scheduled in self.optimizers]
        write_resume(self.out_dir, progress, weights, optimizers, self.device)


def train_step(
    net: Detector,
    batch: Batch,
    optimizers: Sequence[ScheduledOptimizer],
    config: TrainConfig,
    step: int,
    group: Group | None = None,
) -> dict[str, float]:
    """One update of `net` at `step` (0-based); returns the loss terms and `total`.

    In a `group` each process gives the part of the batch that `batch.rows` names.

    On a GPU there is one wait for the device: for the losses, while the backward pass runs. Raises
    NonFiniteLossError before any optimizer changes a weight.
    """
    net.train()
    device = next(net.parameters()).device
    batch = batch.to(device)
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"),
        split_batch(batch.rows),
    ):
        output = net(batch.features_BTD, batch.computed_lengths_B)
    whole = None
    if group is not None and batch.rows is not None:
        output = whole = WholeOutput(output, batch.rows, group, net.config.detector)
    terms = net.loss_terms(output, batch.labels_BC, batch.lengths_B)
    total = net.total_loss(terms, config)
    values = HostCopy(torch.stack([*terms.values(), total]).detach())
    for scheduled in optimizers:
        scheduled.optimizer.zero_grad()
    if whole is None:
        total.backward()
    else:
        whole.backward(total, net.parameters())
    losses = dict(zip((*terms, "total"), values.read().tolist(), strict=True))
    if bad := [name for name, value in losses.items() if not np.isfinite(value)]:
        raise NonFiniteLossError(
            f"loss term {', '.join(bad)} is not finite at step {step + 1}; lower train.lr, or look at the "
            f"videos of the batch: {', '.join(sorted(set(batch.names)))}"
        )
    for scheduled in optimizers:
        scheduled.step(step)
    return losses
