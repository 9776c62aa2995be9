"""Self-guided normality modelling, SG-NM (section 3.2): normal patterns and reconstruction from them.

Used in training only. The release differs in three fields of `Variant`: `mask_padding` (which positions are
candidates), `decoder_residuals` and `decoder_attention`.

B videos, T snippets, N valid positions, M candidates, K patterns, D width, h heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.layers.linear import Linear
from dsanet.layers.ragged import RaggedBatch
from dsanet.layers.temporal import MLP


class CrossAttention(nn.Module):
    """Multi-head cross-attention: softmax, or ReLU of scaled cosines with `learned_scale`."""

    def __init__(self, width: int, heads: int, learned_scale: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = Linear(width, width), Linear(width, 2 * width), Linear(width, width)
        self.scale = nn.Parameter(torch.ones(heads, 1, 1)) if learned_scale else None

    def forward(
        self, x_ND: Tensor, ragged: RaggedBatch, memory_BKD: Tensor, memory_mask_BK: Tensor | None = None
    ) -> Tensor:
        q = self._heads(ragged.pad(self.q(x_ND)))
        k, v = (self._heads(part) for part in self.kv(memory_BKD).chunk(2, dim=-1))
        if self.scale is None:
            mask = None if memory_mask_BK is None else memory_mask_BK[:, None, None]
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            cosine = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            mixed = F.relu(cosine * self.scale) @ v
        return self.out(ragged.pack(mixed.transpose(1, 2).flatten(2)))

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, T, D / h)


class CrossBlock(nn.Module):
    """Pre-norm cross-attention and residual MLP; queries and keys share one norm."""

    def __init__(self, width: int, heads: int, *, residual: bool, learned_scale: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.attention = CrossAttention(width, heads, learned_scale)
        self.mlp = MLP(width, nn.GELU)

    def forward(
        self, x_ND: Tensor, ragged: RaggedBatch, memory_BKD: Tensor, memory_mask_BK: Tensor | None = None
    ) -> Tensor:
        mixed_ND = self.attention(self.norm1(x_ND), ragged, self.norm1(memory_BKD), memory_mask_BK)
        x_ND = x_ND + mixed_ND if self.residual else mixed_ND
        return x_ND + self.mlp(self.norm2(x_ND))


def normal_candidates(
    video_BTD: Tensor, anomaly_BT: Tensor, ragged: RaggedBatch, ratio: float
) -> tuple[Tensor, RaggedBatch]:
    """The snippets with the lowest anomaly logits, (B, M, D) without gradient, and their numbers by video.

    Each video has int(ratio · its valid positions) candidates, at least 1; M is the largest of the batch.
    """
    count_B = (ragged.lengths_B.double() * ratio).long().clamp(min=1)
    # A full sort of σ(S_det), as in the release, so that saturated (equal) scores are taken in its order.
    scores_BT = torch.sigmoid(anomaly_BT.detach()).masked_fill(~ragged.mask_BT, float("inf"))
    lowest_BM = scores_BT.topk(ragged.shape[1], dim=1, largest=False).indices[:, : int(count_B.max())]
    candidates_BMD = video_BTD.detach().take_along_dim(lowest_BM[..., None], dim=1)
    return candidates_BMD, RaggedBatch(count_B, lowest_BM.shape[1], video_BTD.device)


def compactness(candidates_BMD: Tensor, mask_BM: Tensor, patterns_BKD: Tensor) -> Tensor:
    """(B,): smallest cosine distance to a pattern, mean over candidates. The mean over videos is (3)."""
    nearest_BM = 1 - nearest_cosine(candidates_BMD, patterns_BKD)
    return (nearest_BM * mask_BM).sum(1) / mask_BM.sum(1)


def nearest_cosine(x_BTD: Tensor, patterns_BKD: Tensor) -> Tensor:
    """(B, T): largest cosine of each snippet to a pattern of its video."""
    cosine_BTK = F.normalize(x_BTD, dim=-1) @ F.normalize(patterns_BKD, dim=-1).transpose(1, 2)
    return cosine_BTK.amax(-1)


class NormalityModel(nn.Module):
    """SG-NM: extracts K dynamic normal patterns per video and reconstructs the video from them alone."""

    def __init__(
        self,
        width: int,
        heads: int,
        patterns: int,
        decoder_layers: int,
        candidate_ratio: float,
        *,
        decoder_residuals: bool,
        learned_scale: bool,
    ) -> None:
        super().__init__()
        self.candidate_ratio = candidate_ratio
        self.queries = nn.Parameter(torch.randn(patterns, width))
        self.extractor = CrossBlock(width, heads, residual=True)
        self.bottleneck = MLP(width)
        # No residual around the first attention: it would let anomalous content bypass the patterns.
        self.decoder = nn.ModuleList(
            CrossBlock(width, heads, residual=decoder_residuals and layer > 0, learned_scale=learned_scale)
            for layer in range(decoder_layers)
        )
        self.apply(_small_linear)

    def forward(
        self, video_BTD: Tensor, anomaly_BT: Tensor, ragged: RaggedBatch, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """S_rec, (B, T) in [0, 1], and the videos' terms of L_compact (B,).

        Candidates are the valid positions of `ragged`. Snippets are reconstructed independently and eq. (4)
        compares only those up to `lengths_B`, so in both variants only these are reconstructed; S_rec is 0
        at the other positions.
        """
        patterns_BKD, compact_B = self.patterns(video_BTD, anomaly_BT, ragged)
        valid = RaggedBatch(lengths_B, ragged.shape[1], ragged.device)
        video_ND = valid.pack(video_BTD)
        rebuilt_ND = self.bottleneck(video_ND)
        for block in self.decoder:
            rebuilt_ND = block(rebuilt_ND, valid, patterns_BKD)
        scores_rec_N = (1 - F.cosine_similarity(rebuilt_ND, video_ND, dim=-1)) / 2
        return valid.pad(scores_rec_N), compact_B

    def patterns(self, video_BTD: Tensor, anomaly_BT: Tensor, ragged: RaggedBatch) -> tuple[Tensor, Tensor]:
        """Dynamic normal patterns (B, K, D), and the videos' terms of L_compact (B,)."""
        candidates_BMD, counts = normal_candidates(video_BTD, anomaly_BT, ragged, self.candidate_ratio)
        videos, count = ragged.shape[0], len(self.queries)
        queries = RaggedBatch(torch.full_like(ragged.lengths_B, count), count, ragged.device)
        packed = self.extractor(
            self.queries.repeat(videos, 1), queries, candidates_BMD, None if counts.full else counts.mask_BT
        )
        patterns_BKD = queries.pad(packed)
        return patterns_BKD, compactness(candidates_BMD, counts.mask_BT, patterns_BKD)


def _small_linear(module: nn.Module) -> None:
    """Initialisation of this branch in the release."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.01, a=-0.03, b=0.03)
        nn.init.zeros_(module.bias)
