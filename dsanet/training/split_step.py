"""The gradients of a whole batch from several processes, each of which has computed a part of it.

Losses over bags are no means over parts of the batch: they pair bags, rank them, take norms of all. So every
process computes the loss of the whole batch, from the outputs of all processes, and brings its gradient back
through its own rows; the sum over the processes is the gradient of one process with the whole batch. What
does not come from rows, for example a term over the weights, counts in the first process only.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dsanet.detectors.base import Detector
from dsanet.layers import split_batch
from dsanet.layers.encoder_layer import EncoderLayer
from dsanet.layers.split_batch import Rows
from dsanet.training.group import Group
from extract.errors import InputError

_ROWS_NAME, _OTHER_NAME = re.compile(r"_B[A-Z0-9]*$"), re.compile(r"_[AC-Z][A-Z0-9]*$")
_BATCH_NORM = nn.modules.batchnorm._BatchNorm
_DRAWING = (nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention)
"""Layers that drop values."""


class WholeOutput:
    """The output for the whole batch, with the fields of a detector's output; gathered when first read.

    The names of the fields tell their axes: `…_B…` has the bags along the first one and is gathered, others
    (`text_CD`) are equal in all processes. Raises InputError for a field whose name tells none.
    """

    def __init__(self, computed: Any, rows: Rows, group: Group, detector: str) -> None:
        self._computed, self._rows, self._group, self._detector = computed, rows, group, detector
        self._read: dict[str, Tensor] = {}
        """Leaves of the loss's graph."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._computed, name)
        if not isinstance(value, Tensor):
            return value
        if name not in self._read:
            self._read[name] = self._whole(name, value.detach()).requires_grad_(value.requires_grad)
        return self._read[name]

    def backward(self, total: Tensor, parameters: Iterable[Tensor]) -> None:
        """Add the gradient of `total`, of the whole batch, to the gradients of the parameters."""
        leaves = {name: leaf for name, leaf in self._read.items() if leaf.requires_grad}
        total.backward(inputs=None if self._group.first else list(leaves.values()))
        pairs = [
            (getattr(self._computed, name), self._own_gradient(name, leaf)) for name, leaf in leaves.items()
        ]
        used = [(computed, gradient) for computed, gradient in pairs if gradient is not None]
        torch.autograd.backward([computed for computed, _ in used], [gradient for _, gradient in used])
        self._group.sum_gradients(parameters)

    def _whole(self, name: str, value: Tensor) -> Tensor:
        if _ROWS_NAME.search(name):
            return self._group.gather_rows(value, self._rows)
        if _OTHER_NAME.search(name):
            return value
        raise InputError(
            f"the detector {self._detector} cannot be trained on several devices: the name of its output "
            f"{name!r} does not tell its axes, as `{name}_B` would, with the bags first"
        )

    def _own_gradient(self, name: str, leaf: Tensor) -> Tensor | None:
        """The part of the leaf's gradient that goes through this process's output."""
        rows = self._rows
        if leaf.grad is None or not _ROWS_NAME.search(name):
            return leaf.grad if self._group.first else None
        own_B = leaf.grad[rows.own]
        return own_B if rows.count else own_B.new_zeros(1, *own_B.shape[1:])


def require_splittable(net: Detector) -> None:
    """Raise InputError for a layer whose result for a part of a batch is not that of the whole batch."""
    handled = {id(part.self_attn) for part in net.modules() if isinstance(part, EncoderLayer)}
    for name, layer in net.named_modules():
        if isinstance(layer, split_batch.Dropout | split_batch.BatchNorm1d) or id(layer) in handled:
            continue
        if isinstance(layer, _BATCH_NORM) or (isinstance(layer, _DRAWING) and _drops(layer)):
            raise InputError(
                f"the detector {net.config.detector} cannot be trained on several devices: its layer {name} "
                f"is torch's {type(layer).__name__}; use those of dsanet.layers.split_batch, or one device"
            )


def _drops(layer: nn.Module) -> bool:
    return float(getattr(layer, "dropout", getattr(layer, "p", 0.0))) > 0
