"""Linear layers through oneDNN are `F.linear`, value and gradient, and leave to it what they can't do."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dsanet.layers.linear import Linear, linear


def operands(*rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(*shape, generator=random, dtype=dtype).requires_grad_()
        for shape in ((*rows, 48), (80, 48), (80,))
    )


@pytest.mark.parametrize("rows", [(1,), (130,), (3, 7), (0,)])
@pytest.mark.parametrize("bias", [True, False])
def test_value_and_gradients_are_those_of_the_plain_layer(rows: tuple[int, ...], bias: bool) -> None:
    x, weight, b = operands(*rows)
    inputs = (x, weight, b) if bias else (x, weight)
    got, expected = linear(*inputs), F.linear(*inputs)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    up = torch.randn(*expected.shape, generator=torch.Generator().manual_seed(1))
    for ours, plain in zip(
        torch.autograd.grad(got, inputs, up), torch.autograd.grad(expected, inputs, up), strict=True
    ):
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-5)


def test_a_transposed_weight_and_strided_rows_are_read_right() -> None:
    x, weight, _ = operands(64)
    torch.testing.assert_close(linear(x[::2], weight.T.contiguous().T), F.linear(x[::2], weight))
    expanded = x.sum(0).expand(5, -1)
    torch.testing.assert_close(linear(expanded, weight), F.linear(expanded, weight))


def test_an_input_that_needs_no_gradient_gets_none() -> None:
    x, weight, b = operands(9)
    linear(x.detach(), weight, b.detach()).sum().backward()
    assert x.grad is None
    assert b.grad is None
    assert weight.grad is not None


def test_other_precisions_are_the_plain_layers_own() -> None:
    x, weight, b = operands(9, dtype=torch.float64)
    assert torch.equal(linear(x, weight, b), F.linear(x, weight, b))
    layer = Linear(48, 80)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.zeros(2, 48)).dtype == torch.bfloat16
    assert set(layer.state_dict()) == {"weight", "bias"}
