"""Padded batches without the padding's cost.

A batch of bags is a padded (B, T, …) array with true lengths. `Rows` packs the rows that count
into (N, …), so that what works on single rows (linear layers, norms, MLPs) never sees padding, and
pads them back (with zeros) for what works along time. Where every row counts, both are views.

B videos, T rows, N rows that count, k of them in a top-k.
"""

import torch
from torch import Tensor


class Rows:
    """The rows of a padded batch that count: all up to each video's length."""

    def __init__(self, lengths_B: Tensor, length: int) -> None:
        self.lengths_B = lengths_B
        self.shape = (len(lengths_B), length)
        self.mask_BT = torch.arange(length, device=lengths_B.device) < lengths_B[:, None]
        self.full = bool((lengths_B == length).all())
        self._index_N = None if self.full else self.mask_BT.flatten().nonzero().squeeze(1)

    def pack(self, x_BT: Tensor) -> Tensor:
        """(B, T, …) to (N, …)."""
        rows = x_BT.reshape(-1, *x_BT.shape[2:])
        return rows if self._index_N is None else rows.index_select(0, self._index_N)

    def pad(self, x_N: Tensor) -> Tensor:
        """(N, …) to (B, T, …), zeros in the other rows."""
        if self._index_N is None:
            return x_N.reshape(*self.shape, *x_N.shape[1:])
        padded = x_N.new_zeros(self.shape[0] * self.shape[1], *x_N.shape[1:])
        return padded.index_copy(0, self._index_N, x_N).reshape(*self.shape, *x_N.shape[1:])

    def video_of_row(self) -> Tensor:
        """(N,): the number of the video that each packed row belongs to."""
        videos_BT = torch.arange(self.shape[0], device=self.lengths_B.device)[:, None].expand(self.shape)
        return self.pack(videos_BT)


def topk(values_BTC: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """The k = ⌊n/16⌋ + 1 largest values of each column in a video's n rows, and which of them count.

    (B, K, C) in falling order, K the largest k of the batch, and (B, K) bool: a shorter video uses fewer.
    """
    k_B = lengths_B // 16 + 1
    beyond_BT = torch.arange(values_BTC.shape[1], device=values_BTC.device) >= lengths_B[:, None]
    ranked_BKC = (
        values_BTC.masked_fill(beyond_BT[..., None], float("-inf")).topk(int(k_B.max()), dim=1).values
    )
    return ranked_BKC, torch.arange(ranked_BKC.shape[1], device=k_B.device) < k_B[:, None]


def topk_mean(values_BTC: Tensor, lengths_B: Tensor) -> Tensor:
    """(B, C): mean of the top k of each column (eq. 1, 2); `values_BTC` are probabilities or logits.

    The multiple-instance pooling of the whole field.
    """
    ranked_BKC, used_BK = topk(values_BTC, lengths_B)
    return ranked_BKC.masked_fill(~used_BK[..., None], 0).sum(1) / used_BK.sum(1, keepdim=True)
