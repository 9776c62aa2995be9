"""Temporal module (DSANet, section 3.1, from VadCLIP): local transformer, then two graph channels → F_video.

Same as the paper. Attention is computed per window instead of on a masked T × T matrix, and position-wise
layers skip the padding (`RaggedBatch`).

B videos, T snippets, N valid positions, D width, H = D / 2, W windows of w snippets.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.layers.linear import Linear, linear
from dsanet.layers.ragged import RaggedBatch, prefix_mask


class QuickGELU(nn.Module):
    """CLIP's activation, x · sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        # silu(1.702 x) / 1.702: the same function, but autograd saves one tensor and has a short backward.
        return F.silu(1.702 * x, inplace=not torch.is_grad_enabled()).div_(1.702)


class MLP(nn.Sequential):
    """Linear to 4 × width, activation, linear back to width."""

    def __init__(self, width: int, activation: type[nn.Module] = QuickGELU) -> None:
        super().__init__(Linear(width, 4 * width), activation(), Linear(4 * width, width))


class LocalBlock(nn.Module):
    """CLIP's pre-norm residual block with attention inside non-overlapping windows."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.mlp = MLP(width)

    def forward(self, x_ND: Tensor, ragged: RaggedBatch) -> Tensor:
        x_ND = x_ND + self.out(self._attend(self.qkv(self.norm1(x_ND)), ragged))
        return x_ND + self.mlp(self.norm2(x_ND))

    def _attend(self, qkv_ND: Tensor, ragged: RaggedBatch) -> Tensor:
        qkv = ragged.pad(qkv_ND).reshape(-1, self.window, 3, self.heads, qkv_ND.shape[1] // 3 // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (W, heads, w, D / heads) each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self._key_mask(ragged))
        return ragged.pack(mixed.transpose(1, 2).reshape(*ragged.shape, -1))

    def _key_mask(self, ragged: RaggedBatch) -> Tensor | None:
        """(W, 1, 1, w): valid keys. In a window of padding alone every key is used; its output is dropped."""
        if ragged.full:
            return None
        mask_Ww = ragged.mask_BT.reshape(-1, self.window)
        return (mask_Ww | ~mask_Ww.any(1, keepdim=True))[:, None, None]


def similarity_graph(x_BTD: Tensor, lengths_B: Tensor, threshold: float) -> Tensor:
    """(B, T, T): row-wise softmax of the cosines of snippets; cosines up to `threshold` enter it as 0.

    Rows and columns beyond a video's length are 0.
    """
    unit_BTD = F.normalize(x_BTD, dim=-1)
    cosine_BTT = unit_BTD @ unit_BTD.transpose(1, 2)
    kept_BTT = F.threshold(cosine_BTT, threshold, 0.0)
    valid_BT = prefix_mask(lengths_B, x_BTD.shape[1], x_BTD.device)
    graph_BTT = kept_BTT.masked_fill(~valid_BT[:, None], float("-inf")).softmax(-1)
    return graph_BTT * valid_BT[..., None]


def distance_graph(length: int, device: torch.device) -> Tensor:
    """(T, T): exp(−|i − j| / e), without normalisation."""
    position_T = torch.arange(length, device=device)
    return torch.exp(-(position_T[:, None] - position_T).abs() / math.e)


class GraphConvolution(nn.Module):
    """A·X·W plus a residual: X if the widths match, else a 1-D convolution of X (kernel 5, padding 2)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width_in, width_out)))
        self.residual = (
            nn.Identity() if width_in == width_out else nn.Conv1d(width_in, width_out, 5, padding=2)
        )

    def forward(self, x_ND: Tensor, graph: Tensor, ragged: RaggedBatch) -> Tensor:
        mixed_ND = ragged.pack(graph @ ragged.pad(linear(x_ND, self.weight.T)))
        if isinstance(self.residual, nn.Identity):
            return mixed_ND + x_ND
        return mixed_ND + ragged.pack(self.residual(ragged.pad(x_ND).transpose(1, 2)).transpose(1, 2))


class GraphChannel(nn.Module):
    """Two graph convolutions D → D/2 → D/2, each followed by QuickGELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (
            GraphConvolution(width, width // 2),
            GraphConvolution(width // 2, width // 2),
        )
        self.activation = QuickGELU()

    def forward(self, x_ND: Tensor, graph: Tensor, ragged: RaggedBatch) -> Tensor:
        hidden_NH = self.activation(self.first(x_ND, graph, ragged))
        return self.activation(self.second(hidden_NH, graph, ragged))


class TemporalModel(nn.Module):
    """Snippet features → F_video: position embedding, local transformer, two graph channels, linear."""

    def __init__(
        self, width: int, length: int, layers: int, heads: int, window: int, similarity_threshold: float
    ) -> None:
        super().__init__()
        self.window, self.similarity_threshold = window, similarity_threshold
        self.position = nn.Parameter(torch.randn(length, width) * 0.01)
        self.blocks = nn.ModuleList(LocalBlock(width, heads, window) for _ in range(layers))
        self.similarity, self.distance = GraphChannel(width), GraphChannel(width)
        self.linear = Linear(width, width)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor, ragged: RaggedBatch) -> Tensor:
        """(N, D): F_video of the valid positions of `ragged`.

        T must be a multiple of the window. The similarity graph ends at `lengths_B` even if `ragged`
        includes the padding.
        """
        x_ND = ragged.pack(features_BTD + self.position[: features_BTD.shape[1]])
        for block in self.blocks:
            x_ND = block(x_ND, ragged)
        similarity_BTT = similarity_graph(ragged.pad(x_ND), lengths_B, self.similarity_threshold)
        distance_TT = distance_graph(features_BTD.shape[1], x_ND.device)
        channels = (self.similarity(x_ND, similarity_BTT, ragged), self.distance(x_ND, distance_TT, ragged))
        return self.linear(torch.cat(channels, dim=-1))
