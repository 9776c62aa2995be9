"""Optimizers and learning rate schedules of DSANet (paper and release) and of the other detectors.

A schedule is a function of the step, and of the previous validation losses if `plateau` is set, so a resumed
training needs no schedule state.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adagrad, Adam, AdamW, Optimizer

from dsanet.detectors.config import TrainConfig
from dsanet.layers.transfer import to_device

WARMUP_STEPS = 100
DROP = 0.1
"""Factor of the learning rate at a milestone or plateau."""
SINGLE_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": partial(AdamW, fused=True),
    "adam": Adam,
    "adagrad": Adagrad,
}


class StableAdamW(Optimizer):
    """AdamW with update clipping: steps are divided by the RMS of gradient / √second moment if above 1.

    After Wortsman et al. 2023 ("Stable and low-precision training for large-scale vision-language
    models", update clipping as in AdaFactor), with AMSGrad's maximum of the second moment.
    """

    MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-10,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """One update of all `parameters`: on a GPU one kernel for each operation, and no value is read."""
        beta1, beta2 = group["betas"]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        states = [self._state_of(parameter) for parameter in parameters]
        means, squares, largest = ([state[name] for state in states] for name in self.MOMENTS)
        for state in states:
            state["step"] += 1
        steps = [int(state["step"]) for state in states]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        torch._foreach_maximum_(largest, squares)
        scales = torch._foreach_sqrt(largest)
        torch._foreach_div_(scales, [math.sqrt(1 - beta2**step) for step in steps])
        torch._foreach_add_(scales, group["eps"])
        ratios = torch._foreach_div(gradients, scales)
        rms_P = torch.stack([ratio.square_().mean() for ratio in ratios]).sqrt_()
        rates_P = torch.tensor([group["lr"] / (1 - beta1**step) for step in steps], dtype=torch.float64)
        rates_P = (to_device(rates_P, rms_P.device) / rms_P.double().clamp(min=1)).to(rms_P.dtype)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        updates = torch._foreach_mul(means, list(rates_P.unbind()))
        torch._foreach_div_(updates, scales)
        torch._foreach_sub_(parameters, updates)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # on the CPU, where its value is needed
            state |= {name: torch.zeros_like(parameter) for name in self.MOMENTS}
        return state


@dataclass
class ScheduledOptimizer:
    """An optimizer with its learning rate by step (0-based), lowered by `DROP` `drops` times."""

    optimizer: Optimizer
    rate: Callable[[int], float]
    drops: int = 0

    def step(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step) * DROP**self.drops
        self.optimizer.step()


def build_optimizers(
    model: nn.Module, config: TrainConfig, steps_per_epoch: int
) -> tuple[ScheduledOptimizer, ...]:
    """The optimizers of `config`: one, or with release-pair a second one for SG-NM (`normality.*`)."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if config.optimizer in SINGLE_OPTIMIZERS:
        optimizer = SINGLE_OPTIMIZERS[config.optimizer](
            [p for _, p in named], lr=config.lr, weight_decay=config.weight_decay
        )
        return (ScheduledOptimizer(optimizer, lambda step: milestone_rate(step // steps_per_epoch, config)),)
    normality = [p for name, p in named if name.startswith("normality.")]
    rest = [p for name, p in named if not name.startswith("normality.")]
    steps = total_steps(config, steps_per_epoch)
    epochs = math.ceil(steps / steps_per_epoch)
    main = ScheduledOptimizer(
        AdamW(rest, lr=config.lr, weight_decay=config.weight_decay, fused=True),
        lambda step: cosine_rate(step // steps_per_epoch, epochs, config.lr, 0.0),
    )
    if not normality:
        return (main,)
    return main, ScheduledOptimizer(
        StableAdamW(normality, lr=config.lr), lambda step: warm_cosine_rate(step, steps, config.lr)
    )


def total_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Number of updates of a whole training."""
    return config.steps or config.epochs * steps_per_epoch


def milestone_rate(epoch: int, config: TrainConfig) -> float:
    """Learning rate in an epoch (0-based): divided by 10 at each milestone."""
    return config.lr * DROP ** sum(epoch >= milestone for milestone in config.milestones)


def plateau_drops(losses: Sequence[float], patience: int | None) -> int:
    """Number of times that `patience` consecutive losses did not fall below the lowest one; 0 for None."""
    lowest, waited, drops = math.inf, 0, 0
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(loss, lowest)
        if waited == patience:
            waited, drops = 0, drops + 1
    return drops


def cosine_rate(step: int, steps: int, first: float, last: float) -> float:
    """Half a cosine from `first` at step 0 to `last` at step `steps`."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * step / steps))


def warm_cosine_rate(step: int, steps: int, lr: float) -> float:
    """Linear warm-up from 0 to `lr` in 100 steps (fewer in a short run), then a cosine to lr / 10."""
    warmup = min(WARMUP_STEPS, steps - 1)
    if step < warmup:
        return lr * step / max(warmup - 1, 1)
    return cosine_rate(step - warmup, steps - warmup, lr, lr / 10)
