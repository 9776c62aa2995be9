"""Optimisers and schedules of the release's pair, against hand-computed steps."""

import math

import pytest
import torch

from dsanet.detectors.config import TrainConfig
from dsanet.training.optim import StableAdamW, build_optimizers, cosine_rate, warm_cosine_rate
from tests.dsanet.helpers import small_model


def test_stable_adamw_clips_a_step_that_is_out_of_proportion() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = StableAdamW([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.tensor([2.0])
    optimizer.step()
    # First step: both moments are the gradient's, so the step is lr, after the decay by 1 − 0.1 · 0.5.
    assert parameter.item() == pytest.approx(0.95 - 0.1, rel=1e-6)
    parameter.grad = torch.tensor([20.0])
    optimizer.step()
    first, second = 0.9 * 0.2 + 0.1 * 20, 0.999 * 0.004 + 0.001 * 400
    scale = math.sqrt(second) / math.sqrt(1 - 0.999**2)
    rms = 20 / scale
    assert rms > 1  # so the rate is divided by it
    expected = 0.85 * 0.95 - 0.1 / (1 - 0.9**2) / rms * first / scale
    assert parameter.item() == pytest.approx(expected, rel=1e-5)


def test_amsgrad_keeps_the_largest_second_moment() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = StableAdamW([parameter], lr=0.1, weight_decay=0.0)
    for gradient in (10.0, 0.0):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    assert optimizer.state[parameter]["max_exp_avg_sq"].item() == pytest.approx(0.1)
    assert optimizer.state[parameter]["exp_avg_sq"].item() == pytest.approx(0.0999)


def test_schedules() -> None:
    assert [cosine_rate(epoch, 10, 1.0, 0.0) for epoch in (0, 5)] == pytest.approx([1.0, 0.5])
    rates = [warm_cosine_rate(step, 300, 1.0) for step in (0, 50, 99, 100, 200, 299)]
    end = 0.1 + 0.45 * (1 + math.cos(math.pi * 199 / 200))
    assert rates == pytest.approx([0, 50 / 99, 1, 1, 0.55, end])
    assert [warm_cosine_rate(step, 2, 1.0) for step in (0, 1)] == pytest.approx([0, 1])


def test_the_pair_gives_sgnm_an_optimiser_of_its_own() -> None:
    model = small_model()
    main, normality = build_optimizers(
        model, TrainConfig(optimizer="release-pair", epochs=4), steps_per_epoch=5
    )
    assert isinstance(normality.optimizer, StableAdamW)
    owned = {id(p) for p in normality.optimizer.param_groups[0]["params"]}
    assert owned == {id(p) for p in model.normality.parameters()}
    trained = sum(1 for p in model.parameters() if p.requires_grad)
    assert len(main.optimizer.param_groups[0]["params"]) == trained - len(owned)
    assert [main.rate(step) for step in (0, 4, 5)] == pytest.approx(
        [7e-5, 7e-5, 7e-5 * (1 + math.cos(math.pi / 4)) / 2]
    )
    by_steps = TrainConfig(optimizer="release-pair", epochs=99, steps=18)  # 4 epochs, the last one not whole
    rest, second = build_optimizers(model, by_steps, steps_per_epoch=5)
    assert [rest.rate(step) for step in range(18)] == [main.rate(step) for step in range(18)]
    assert [second.rate(step) for step in range(18)] == [
        warm_cosine_rate(step, 18, by_steps.lr) for step in range(18)
    ]
    (alone,) = build_optimizers(model, TrainConfig(), steps_per_epoch=5)
    assert [alone.rate(step) for step in (0, 19)] == [7e-5, 7e-5]


def test_parameters_updated_together_have_the_bits_of_single_updates() -> None:
    random = torch.Generator().manual_seed(0)
    together = [
        torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in ((3, 5), (7,), (2, 1, 4))
    ]
    alone = [parameter.detach().clone() for parameter in together]
    moments = [[torch.zeros_like(parameter) for _ in range(3)] for parameter in alone]
    optimizer = StableAdamW(together, lr=0.1, weight_decay=0.01)
    for step in range(1, 6):
        for parameter, single, (mean, square, largest) in zip(together, alone, moments, strict=True):
            # The last ones are out of proportion, so that their rate is divided by the RMS.
            grad = torch.randn(single.shape, generator=random) * (100 if step > 3 else 1)
            parameter.grad = grad.clone()
            mean.lerp_(grad, 1 - 0.9)
            square.mul_(0.999).addcmul_(grad, grad, value=1 - 0.999)
            torch.maximum(largest, square, out=largest)
            scale = largest.sqrt().div_(math.sqrt(1 - 0.999**step)).add_(1e-10)
            rms = float((grad / scale).square().mean().sqrt())
            single.mul_(1 - 0.1 * 0.01).addcdiv_(mean, scale, value=-0.1 / (1 - 0.9**step) / max(1.0, rms))
        optimizer.step()
    assert all(torch.equal(parameter, single) for parameter, single in zip(together, alone, strict=True))
