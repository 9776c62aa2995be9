"""Temporal self-attention over CLIP features: Joo et al., "CLIP-TSA: CLIP-Assisted Temporal Self-Attention
for Weakly-Supervised Video Anomaly Detection", ICIP 2023.

A scorer rates the segments; a perturbed, differentiable top-κ (Cordonnier et al. 2021) selects κ of them, and
each segment is weighted by the fraction of noise samples that select it. Dilated convolutions and a non-local
block add temporal context. The segments with the largest feature magnitude represent the video: the magnitude
of their mean feature is pushed up for anomalous videos and down for normal ones, and their mean score is
trained on the label.

Published: UCF-Crime AUC 87.58, XD-Violence AP 82.19. Not specified by the source and chosen here: inference
uses fixed noise samples, so that a video's scores are reproducible; the smoothness term does not cross the
border of two videos.

B bags (A anomalous, N normal), T segments or snippets, D width, C classes (0 = normal), M noise samples.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.detectors.base import Detector
from dsanet.detectors.config import TrainConfig
from dsanet.detectors.settings.clip_tsa import CLIPTSAConfig as CLIPTSAConfig
from dsanet.layers.bag_losses import anomalous_and_normal, smoothness
from dsanet.layers.dilated import DilatedBank
from dsanet.layers.ragged import prefix_mask
from dsanet.layers.split_batch import BatchNorm1d, Dropout
from dsanet.layers.transfer import to_device


class CLIPTSAOutput(NamedTuple):
    anomaly_BT: Tensor
    """Anomaly logits."""
    video_BTD: Tensor
    """Aggregated features; their L2 norm is the feature magnitude."""
    classes_BTC: None = None


def perturbed_topk(scores_BT: Tensor, count_B: Tensor, noise_MT: Tensor, sigma: float) -> Tensor:
    """(B, T): fraction of the noise samples in which a segment is among the `count_B` highest of its bag.

    `noise_MT` is standard normal noise and `sigma` its scale. The gradient is that of the expectation,
    E[selected · noiseᵀ] / σ (Berthet et al. 2020). Scores of −∞ are not selected if `count_B` others exist.
    """
    noisy_MBT = scores_BT.detach() + sigma * noise_MT[:, None, : scores_BT.shape[1]]
    ranked_MBT = noisy_MBT.sort(dim=-1, descending=True).values
    last_MB1 = ranked_MBT.take_along_dim((count_B - 1)[None, :, None], dim=-1)
    chosen_MBT = (noisy_MBT >= last_MB1).to(scores_BT.dtype)
    # Value 0, gradient 1: the forward value stays the mean, the gradient becomes the expectation's.
    moved_BT = (scores_BT - scores_BT.detach()).nan_to_num(0.0)
    along_MB = torch.einsum("mt,bt->mb", noise_MT[:, : scores_BT.shape[1]], moved_BT) / sigma
    return (chosen_MBT * (1 + along_MB[..., None])).mean(0)


class TemporalSelfAttention(nn.Module):
    """Scorer and perturbed top-κ: segments weighted by their selection frequency."""

    fixed_noise_MT: Tensor

    def __init__(self, config: CLIPTSAConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.feature_dim, config.scorer_hidden
        self.scorer = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())
        longest = max(config.bag_length, config.window_length)
        noise_MT = torch.randn(config.samples, longest, generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed_noise_MT", noise_MT, persistent=False)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Tensor:
        scores_BT = self.scorer(features_BTD).squeeze(-1).masked_fill(~mask_BT, float("-inf"))
        count_B = (lengths_B * self.config.nominated).long().clamp(min=1)
        noise_MT = torch.randn_like(self.fixed_noise_MT) if self.training else self.fixed_noise_MT
        weights_BT = perturbed_topk(scores_BT, count_B, noise_MT, self.config.noise)
        return features_BTD * weights_BT[..., None]


class NonLocalBlock(nn.Module):
    """Attention over the whole bag: dot products divided by its length (Wang et al. 2018), residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width // 2) for _ in range(3))
        self.out = nn.Linear(width // 2, width)

    def forward(self, x_BTD: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Tensor:
        key, value = (part(x_BTD) * mask_BT[..., None] for part in (self.key, self.value))
        related_BTT = self.query(x_BTD) @ key.transpose(1, 2) / lengths_B[:, None, None]
        return x_BTD + self.out(related_BTT @ value)


class Aggregation(nn.Module):
    """Dilated convolutions and a non-local block in parallel (equal widths), fused, with a residual."""

    def __init__(self, width: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        part = width // (len(dilations) + 1)
        self.scales = DilatedBank(width, part, dilations)
        self.narrow, self.non_local = nn.Linear(width, part), NonLocalBlock(part)
        self.fuse = nn.Conv1d(part * (len(dilations) + 1), width, 3, padding=1, bias=False)
        self.norm = BatchNorm1d(width)

    def forward(self, x_BTD: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Tensor:
        whole = self.non_local(self.narrow(x_BTD), lengths_B, mask_BT) * mask_BT[..., None]
        parts = torch.cat([self.scales(x_BTD, mask_BT), whole], dim=-1)
        fused_BTD = self.norm(F.relu(self.fuse(parts.transpose(1, 2)))).transpose(1, 2)
        return (x_BTD + fused_BTD) * mask_BT[..., None]


class CLIPTSA(Detector[CLIPTSAOutput]):
    """Temporal self-attention, aggregation, classifier; `text` is not used."""

    config: CLIPTSAConfig
    terms = ("det", "magnitude", "smooth", "sparse")

    def __init__(self, config: CLIPTSAConfig, text: nn.Module | None = None) -> None:
        super().__init__(config)
        self.attention = TemporalSelfAttention(config)
        self.aggregation = Aggregation(config.feature_dim, config.dilations)
        self.dropout = Dropout(config.dropout)
        first, second = config.hidden
        self.classifier = nn.Sequential(
            *(nn.Linear(config.feature_dim, first), nn.ReLU(), Dropout(config.dropout)),
            *(nn.Linear(first, second), nn.ReLU(), Dropout(config.dropout), nn.Linear(second, 1)),
        )

    def forward(
        self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None
    ) -> CLIPTSAOutput:
        mask_BT = prefix_mask(lengths_B, features_BTD.shape[1], features_BTD.device)
        lengths_B = to_device(lengths_B, features_BTD.device)
        selected_BTD = self.attention(features_BTD, lengths_B, mask_BT)
        video_BTD = self.dropout(self.aggregation(selected_BTD, lengths_B, mask_BT))
        return CLIPTSAOutput(self.classifier(video_BTD).squeeze(-1).float(), video_BTD.float())

    def loss_terms(self, output: CLIPTSAOutput, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        device = output.anomaly_BT.device
        mask_BT = prefix_mask(lengths_B, output.anomaly_BT.shape[1], device)
        chosen_BT = self._chosen(output.video_BTD, to_device(lengths_B, device), mask_BT)
        scores_BT = torch.sigmoid(output.anomaly_BT) * mask_BT
        video_B = (scores_BT * chosen_BT).sum(1)
        magnitudes_B = (chosen_BT[:, None] @ output.video_BTD).squeeze(1).norm(dim=-1)
        anomalous_AT, _ = anomalous_and_normal(scores_BT, labels_BC)
        mask_AT, _ = anomalous_and_normal(mask_BT, labels_BC)
        return {
            "det": F.binary_cross_entropy(
                video_B.clamp(0, 1), 1 - to_device(labels_BC, device)[:, 0].float()
            ),
            "magnitude": magnitude_loss(magnitudes_B, labels_BC, self.config.margin),
            "smooth": smoothness(anomalous_AT, mask_AT),
            "sparse": anomalous_AT.norm(),
        }

    def loss_weights(self, train: TrainConfig) -> dict[str, float]:
        config = self.config
        return {"magnitude": config.magnitude, "smooth": config.smoothness, "sparse": config.sparsity}

    def _chosen(self, video_BTD: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, T), sums to 1 along T: equal weights of the segments of largest magnitude.

        In train mode dropout removes segments before the selection.
        """
        kept_BT = self.dropout(torch.ones_like(mask_BT, dtype=torch.float32))
        magnitudes_BT = (kept_BT * video_BTD.detach().norm(dim=-1)).masked_fill(~mask_BT, -1.0)
        count_B = (lengths_B * self.config.chosen).long().clamp(min=1)
        rank_BT = magnitudes_BT.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank_BT < count_B[:, None]).float() / count_B[:, None]


def magnitude_loss(magnitudes_B: Tensor, labels_BC: Tensor, margin: float) -> Tensor:
    """Mean over pairs of (|margin − anomalous magnitude| + normal magnitude)²; 0 without a pair.

    `magnitudes_B` are the L2 norms of the videos' mean features. Pairs are formed by position in the batch,
    as in the release.
    """
    anomalous_A, normal_N = anomalous_and_normal(magnitudes_B, labels_BC)
    pairs = min(len(anomalous_A), len(normal_N))
    squares = ((margin - anomalous_A[:pairs]).abs() + normal_N[:pairs]).square()
    return squares.sum() / max(pairs, 1)
