"""Optimisers and their schedules: the paper's AdamW, and the pair of the release.

The schedules are functions of the step, so that resuming needs nothing but the step.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from dsanet.config import TrainConfig

WARMUP_STEPS = 100


class StableAdamW(Optimizer):
    """AdamW whose step is divided by the RMS of gradient / √second moment where that exceeds 1.

    After Wortsman et al. 2023 ("Stable and low-precision training for large-scale vision-language
    models", update clipping as in AdaFactor), with AMSGrad's maximum of the second moment.
    """

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
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
                state[name] = torch.zeros_like(parameter)
        state["step"] += 1
        step = int(state["step"])
        state["exp_avg"].lerp_(parameter.grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
        torch.maximum(state["max_exp_avg_sq"], state["exp_avg_sq"], out=state["max_exp_avg_sq"])
        scale = state["max_exp_avg_sq"].sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
        rms = float((parameter.grad / scale).square().mean().sqrt())
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        step_size = group["lr"] / (1 - beta1**step) / max(1.0, rms)
        parameter.addcdiv_(state["exp_avg"], scale, value=-step_size)


class Scheduled(NamedTuple):
    """An optimiser and its learning rate at a step (0-based)."""

    optimizer: Optimizer
    rate: Callable[[int], float]

    def step(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.step()


def build_optimizers(model: nn.Module, config: TrainConfig, steps_per_epoch: int) -> tuple[Scheduled, ...]:
    """The optimisers of `config`; in the release's pair SG-NM (`normality.*`) has one of its own."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        optimizer = AdamW([p for _, p in named], lr=config.lr, weight_decay=config.weight_decay, fused=True)
        return (Scheduled(optimizer, lambda step: config.lr),)
    normality = [p for name, p in named if name.startswith("normality.")]
    rest = [p for name, p in named if not name.startswith("normality.")]
    main = Scheduled(
        AdamW(rest, lr=config.lr, weight_decay=config.weight_decay, fused=True),
        lambda step: cosine_rate(step // steps_per_epoch, config.epochs, config.lr, 0.0),
    )
    if not normality:
        return (main,)
    steps = config.epochs * steps_per_epoch
    return main, Scheduled(
        StableAdamW(normality, lr=config.lr), lambda step: warm_cosine_rate(step, steps, config.lr)
    )


def cosine_rate(step: int, steps: int, first: float, last: float) -> float:
    """Half a cosine from `first` at step 0 to `last` at `steps`."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * step / steps))


def warm_cosine_rate(step: int, steps: int, lr: float) -> float:
    """Linear from 0 to `lr` in the first 100 steps (fewer in a short run), then a cosine down to a tenth."""
    warmup = min(WARMUP_STEPS, steps - 1)
    if step < warmup:
        return lr * step / max(warmup - 1, 1)
    return cosine_rate(step - warmup, steps - warmup, lr, lr / 10)
