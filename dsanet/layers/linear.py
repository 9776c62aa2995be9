"""Linear layers whose float32 matrix products run in oneDNN instead of MKL on a CPU.

PyTorch dispatches float32 `F.linear` to MKL, which is slow on processors that are not Intel's: on an AMD EPYC
with AVX-512, oneDNN (part of every PyTorch build) is twice as fast. The operator that calls oneDNN is meant
for PyTorch's compiler and has no derivative; this module adds it. On a GPU, under autocast and for other
dtypes, `F.linear` is called.

N rows, I width in, O width out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b as `F.linear` computes it: (…, I) to (…, O)."""
    on_cpu = HAS_ONEDNN and x.device.type == "cpu" and x.dtype == weight_OI.dtype == torch.float32
    if not on_cpu or x.numel() == 0 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight_OI, bias_O)
    return _OneDNNLinear.apply(x.flatten(0, -2), weight_OI, bias_O).unflatten(0, x.shape[:-1])


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_NI, weight_OI)
        return _product(x_NI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (x_NI, weight_OI), needed = ctx.saved_tensors, ctx.needs_input_grad
        return (
            _product(grad_NO, weight_OI.T) if needed[0] else None,
            _weight_gradient(grad_NO, x_NI) if needed[1] else None,
            grad_NO.sum(0) if needed[2] else None,
        )


def _product(a_NK: Tensor, b_MK: Tensor, bias_M: Tensor | None = None) -> Tensor:
    """(N, M): a·bᵀ + bias."""
    return torch.ops.mkldnn._linear_pointwise(a_NK, b_MK, bias_M, "none", [], "")


def _weight_gradient(grad_NO: Tensor, x_NI: Tensor) -> Tensor:
    """(O, I): gradᵀ·x. The operator copies a transposed first factor, so the narrower one goes first."""
    if grad_NO.shape[1] > x_NI.shape[1]:
        return _product(x_NI.T, grad_NO.T).T
    return _product(grad_NO.T, x_NI.T)
