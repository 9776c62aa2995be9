"""Ragged batches: bags of different lengths in one padded array, without computing on the padding.

`RaggedBatch` packs the valid positions of a padded (B, T, …) array into (N, …), so that position-wise
layers (linear, norm, MLP) skip the padding, and pads them back with zeros for layers that work along time.
If every position is valid, both directions are views.

B videos, T snippets, N valid positions, K the largest k of a top-k.
"""

import torch
from torch import Tensor


class RaggedBatch:
    """The valid positions of a padded batch: the first `lengths_B` of each video's `length` positions."""

    def __init__(self, lengths_B: Tensor, length: int) -> None:
        self.lengths_B = lengths_B
        self.shape = (len(lengths_B), length)
        self.mask_BT = torch.arange(length, device=lengths_B.device) < lengths_B[:, None]
        self.full = bool((lengths_B == length).all())
        self._index_N = None if self.full else self.mask_BT.flatten().nonzero().squeeze(1)

    def pack(self, x_BT: Tensor) -> Tensor:
        """(B, T, …) to (N, …): the valid positions."""
        flat = x_BT.reshape(-1, *x_BT.shape[2:])
        return flat if self._index_N is None else flat.index_select(0, self._index_N)

    def pad(self, x_N: Tensor) -> Tensor:
        """(N, …) to (B, T, …), zero at the invalid positions."""
        if self._index_N is None:
            return x_N.reshape(*self.shape, *x_N.shape[1:])
        padded = x_N.new_zeros(self.shape[0] * self.shape[1], *x_N.shape[1:])
        return padded.index_copy(0, self._index_N, x_N).reshape(*self.shape, *x_N.shape[1:])


def topk(values_BTC: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """The k = ⌊n/16⌋ + 1 largest values per column among a video's n snippets.

    Returns (B, K, C) values in descending order, and a (B, K) bool mask: a video with a smaller k than K
    uses only its first k values.
    """
    k_B = lengths_B // 16 + 1
    invalid_BT = torch.arange(values_BTC.shape[1], device=values_BTC.device) >= lengths_B[:, None]
    ranked_BKC = (
        values_BTC.masked_fill(invalid_BT[..., None], float("-inf")).topk(int(k_B.max()), dim=1).values
    )
    return ranked_BKC, torch.arange(ranked_BKC.shape[1], device=k_B.device) < k_B[:, None]


def topk_mean(values_BTC: Tensor, lengths_B: Tensor) -> Tensor:
    """(B, C): mean of the top k per column, the field's multiple-instance pooling (eq. 1 and 2).

    `values_BTC` are probabilities or logits.
    """
    ranked_BKC, used_BK = topk(values_BTC, lengths_B)
    return ranked_BKC.masked_fill(~used_BK[..., None], 0).sum(1) / used_BK.sum(1, keepdim=True)
