"""Layers for a batch whose rows several processes compute: their results are those of the whole batch.

A process computes the `Rows` that `split_batch` names. Random numbers are drawn for the whole batch in every
process, from generators in the same state, and each takes its own rows. Batch statistics are summed over the
processes. Without `split_batch` the layers are torch's own, bit for bit.

B bags of the whole batch along the first dimension, T snippets, D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that this process computes."""

    first: int
    count: int
    total: int
    """Rows of the whole batch."""

    @classmethod
    def of(cls, total: int, rank: int, size: int) -> "Rows":
        """The rows of process `rank` of `size`: blocks in order, whose lengths differ by at most 1."""
        first = total * rank // size
        return cls(first, total * (rank + 1) // size - first, total)

    @property
    def own(self) -> slice:
        """The rows whose results count; empty in a batch with fewer rows than processes."""
        return slice(self.first, self.first + self.count)

    @property
    def computed(self) -> slice:
        """The own rows, or without any the first row, whose results are dropped."""
        return self.own if self.count else slice(0, 1)


_ROWS: ContextVar[Rows | None] = ContextVar("rows of the batch", default=None)


@contextmanager
def split_batch(rows: Rows | None) -> Iterator[None]:
    """The input of the layers is `rows.computed` of a batch; the whole batch for None."""
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)


def is_split() -> bool:
    """True if the input of the layers is a part of a batch."""
    return _ROWS.get() is not None


class Dropout(nn.Dropout):
    """`nn.Dropout` for inputs (B, …)."""

    def forward(self, x_B: Tensor) -> Tensor:
        return dropout(x_B, self.p) if self.training and is_split() else super().forward(x_B)


def dropout(x: Tensor, p: float, axis: int = 0) -> Tensor:
    """`F.dropout` of the computed rows of a split batch, which are along `axis`."""
    rows = _ROWS.get()
    if rows is None or p == 0:
        return F.dropout(x, p)
    whole = (*x.shape[:axis], rows.total, *x.shape[axis + 1 :])
    scale = F.dropout(x.new_ones(whole), p)
    return x * scale.narrow(axis, rows.computed.start, x.shape[axis])


class BatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` for inputs (B, D, T)."""

    def forward(self, x_BDT: Tensor) -> Tensor:
        rows = _ROWS.get()
        if rows is None or not self.training:
            return super().forward(x_BDT)
        count = rows.total * x_BDT.shape[2]
        values_BDT = x_BDT.to(torch.promote_types(x_BDT.dtype, torch.float32))
        counted_BDT = values_BDT[: rows.count]
        mean_D = sum_over_processes(counted_BDT.sum((0, 2))) / count
        squares_BDT = (counted_BDT - mean_D[:, None]).square()
        variance_D = sum_over_processes(squares_BDT.sum((0, 2))) / count
        self._remember(mean_D.detach(), variance_D.detach() * (count / max(count - 1, 1)))
        scaled_BDT = (values_BDT - mean_D[:, None]) * torch.rsqrt(variance_D + self.eps)[:, None]
        return (scaled_BDT * self.weight[:, None] + self.bias[:, None]).to(x_BDT.dtype)

    @torch.no_grad()
    def _remember(self, mean_D: Tensor, variance_D: Tensor) -> None:
        """Update the statistics that inference uses."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean_D, self.momentum)
        self.running_var.lerp_(variance_D, self.momentum)


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of the processes' tensors; its gradient is the sum of their gradients."""
    total: Tensor = _Sum.apply(x)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _summed(grad)


def _summed(x: Tensor) -> Tensor:
    total = x.contiguous().clone()
    torch.distributed.all_reduce(total)
    return total
