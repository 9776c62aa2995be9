"""Temporal modelling (section 3.1, after VadCLIP): a local transformer, then two graph channels → F_video.

Same as the paper. Attention is computed on the windows themselves rather than on a masked T × T
matrix, and rows that don't count are left out of everything that works on rows (`Rows`).

B videos, T rows, N rows that count, D width, H = D / 2, W windows of w rows.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.layers.linear import Linear, linear
from dsanet.layers.ragged import Rows


class QuickGELU(nn.Module):
    """CLIP's activation, x · sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        # The same with one saved tensor, or none, and a short backward.
        return F.silu(1.702 * x, inplace=not torch.is_grad_enabled()).div_(1.702)


class MLP(nn.Sequential):
    """Linear ×4, activation, linear."""

    def __init__(self, width: int, activation: type[nn.Module] = QuickGELU) -> None:
        super().__init__(Linear(width, 4 * width), activation(), Linear(4 * width, width))


class LocalBlock(nn.Module):
    """CLIP's pre-norm residual block, its attention confined to non-overlapping windows."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.mlp = MLP(width)

    def forward(self, x_ND: Tensor, rows: Rows) -> Tensor:
        x_ND = x_ND + self.out(self._attend(self.qkv(self.norm1(x_ND)), rows))
        return x_ND + self.mlp(self.norm2(x_ND))

    def _attend(self, qkv_ND: Tensor, rows: Rows) -> Tensor:
        qkv = rows.pad(qkv_ND).reshape(-1, self.window, 3, self.heads, qkv_ND.shape[1] // 3 // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (W, heads, w, D / heads) each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self._key_mask(rows))
        return rows.pack(mixed.transpose(1, 2).reshape(*rows.shape, -1))

    def _key_mask(self, rows: Rows) -> Tensor | None:
        """(W, 1, 1, w): keys that count. A window without any attends to itself; its rows are dropped."""
        if rows.full:
            return None
        mask_Ww = rows.mask_BT.reshape(-1, self.window)
        return (mask_Ww | ~mask_Ww.any(1, keepdim=True))[:, None, None]


def similarity_graph(x_BTD: Tensor, lengths_B: Tensor, threshold: float) -> Tensor:
    """(B, T, T): row-softmax of the cosines, those not above `threshold` set to 0 (and taking part).

    Rows and columns beyond a video's length are 0.
    """
    unit_BTD = F.normalize(x_BTD, dim=-1)
    cosine_BTT = unit_BTD @ unit_BTD.transpose(1, 2)
    kept_BTT = F.threshold(cosine_BTT, threshold, 0.0)
    valid_BT = torch.arange(x_BTD.shape[1], device=lengths_B.device) < lengths_B[:, None]
    graph_BTT = kept_BTT.masked_fill(~valid_BT[:, None], float("-inf")).softmax(-1)
    return graph_BTT * valid_BT[..., None]


def distance_graph(length: int, device: torch.device) -> Tensor:
    """(T, T): exp(−|i − j| / e), not normalised."""
    position_T = torch.arange(length, device=device)
    return torch.exp(-(position_T[:, None] - position_T).abs() / math.e)


class GraphConvolution(nn.Module):
    """A·X·W plus a residual: X where the widths match, else its 1-D convolution (kernel 5, padding 2)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width_in, width_out)))
        self.residual = (
            nn.Identity() if width_in == width_out else nn.Conv1d(width_in, width_out, 5, padding=2)
        )

    def forward(self, x_ND: Tensor, graph: Tensor, rows: Rows) -> Tensor:
        mixed_ND = rows.pack(graph @ rows.pad(linear(x_ND, self.weight.T)))
        if isinstance(self.residual, nn.Identity):
            return mixed_ND + x_ND
        return mixed_ND + rows.pack(self.residual(rows.pad(x_ND).transpose(1, 2)).transpose(1, 2))


class GraphChannel(nn.Module):
    """Two graph convolutions D → D/2 → D/2, each followed by QuickGELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (
            GraphConvolution(width, width // 2),
            GraphConvolution(width // 2, width // 2),
        )
        self.activation = QuickGELU()

    def forward(self, x_ND: Tensor, graph: Tensor, rows: Rows) -> Tensor:
        hidden_NH = self.activation(self.first(x_ND, graph, rows))
        return self.activation(self.second(hidden_NH, graph, rows))


class TemporalModel(nn.Module):
    """Features of snippets → F_video, with context: position, local transformer, two graph channels."""

    def __init__(
        self, width: int, length: int, layers: int, heads: int, window: int, similarity_threshold: float
    ) -> None:
        super().__init__()
        self.window, self.similarity_threshold = window, similarity_threshold
        self.position = nn.Parameter(torch.randn(length, width) * 0.01)
        self.blocks = nn.ModuleList(LocalBlock(width, heads, window) for _ in range(layers))
        self.similarity, self.distance = GraphChannel(width), GraphChannel(width)
        self.linear = Linear(width, width)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor, rows: Rows) -> Tensor:
        """(N, D): F_video of the rows that count.

        `rows` says which rows count; the similarity graph ends at `lengths_B` in any case. T is a
        multiple of the window.
        """
        x_ND = rows.pack(features_BTD + self.position[: features_BTD.shape[1]])
        for block in self.blocks:
            x_ND = block(x_ND, rows)
        similarity_BTT = similarity_graph(rows.pad(x_ND), lengths_B, self.similarity_threshold)
        distance_TT = distance_graph(features_BTD.shape[1], x_ND.device)
        channels = (self.similarity(x_ND, similarity_BTT, rows), self.distance(x_ND, distance_TT, rows))
        return self.linear(torch.cat(channels, dim=-1))
