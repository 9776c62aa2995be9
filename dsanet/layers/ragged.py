"""Ragged batches: bags of different lengths in one padded array, without computing on the padding.

`RaggedBatch` packs the valid positions of a padded (B, T, …) array into (N, …), so that position-wise
layers (linear, norm, MLP) skip the padding, and pads them back with zeros for layers that work along time.
If every position is valid, both directions are views.

`lengths_B` and labels are tensors on the CPU, also when the features are on a GPU: shapes and indices follow
from them without waiting for the device. On the device of the features they are accepted too, and each use
waits for their values.

B videos, T snippets, N valid positions, K the largest k of a top-k.
"""

from functools import cached_property

import torch
from torch import Tensor

from dsanet.layers.transfer import to_device


def prefix_mask(lengths_B: Tensor, length: int, device: torch.device) -> Tensor:
    """(B, length) bool on `device`: True at the first `lengths_B` positions of each row."""
    return to_device(torch.arange(length) < lengths_B.cpu()[:, None], device)


class RaggedBatch:
    """The valid positions of a padded batch on `device`: the first `lengths_B` of each video's `length`."""

    def __init__(self, lengths_B: Tensor, length: int, device: torch.device) -> None:
        self.lengths_B, self.device = lengths_B.cpu(), device
        self.shape = (len(lengths_B), length)
        self.full = bool((self.lengths_B == length).all())

    @cached_property
    def mask_BT(self) -> Tensor:  # noqa: N802
        """(B, T) bool: the valid positions."""
        return prefix_mask(self.lengths_B, self.shape[1], self.device)

    @cached_property
    def _index_N(self) -> Tensor:  # noqa: N802
        mask_BT = prefix_mask(self.lengths_B, self.shape[1], torch.device("cpu"))
        return to_device(mask_BT.flatten().nonzero().squeeze(1), self.device)

    def pack(self, x_BT: Tensor) -> Tensor:
        """(B, T, …) to (N, …): the valid positions."""
        flat = x_BT.reshape(-1, *x_BT.shape[2:])
        return flat if self.full else flat.index_select(0, self._index_N)

    def pad(self, x_N: Tensor) -> Tensor:
        """(N, …) to (B, T, …), zero at the invalid positions."""
        if self.full:
            return x_N.reshape(*self.shape, *x_N.shape[1:])
        padded = x_N.new_zeros(self.shape[0] * self.shape[1], *x_N.shape[1:])
        return padded.index_copy(0, self._index_N, x_N).reshape(*self.shape, *x_N.shape[1:])


def topk(values_BTC: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """The k = ⌊n/16⌋ + 1 largest values per column among a video's n snippets.

    Returns (B, K, C) values in descending order, and a (B, K) bool mask: a video with a smaller k than K
    uses only its first k values.
    """
    k_B, device = lengths_B.cpu() // 16 + 1, values_BTC.device
    valid_BT = prefix_mask(lengths_B, values_BTC.shape[1], device)
    ranked_BKC = (
        values_BTC.masked_fill(~valid_BT[..., None], float("-inf")).topk(int(k_B.max()), dim=1).values
    )
    return ranked_BKC, prefix_mask(k_B, ranked_BKC.shape[1], device)


def topk_mean(values_BTC: Tensor, lengths_B: Tensor) -> Tensor:
    """(B, C): mean of the top k per column, the field's multiple-instance pooling (eq. 1 and 2).

    `values_BTC` are probabilities or logits.
    """
    ranked_BKC, used_BK = topk(values_BTC, lengths_B)
    return ranked_BKC.masked_fill(~used_BK[..., None], 0).sum(1) / used_BK.sum(1, keepdim=True)
