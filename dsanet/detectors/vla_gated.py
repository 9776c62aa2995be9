"""Gated vision-language alignment: Zhao et al., "A Multimodal Video Anomaly Detection Method Based on
Vision-Language Alignment". Equation numbers are the paper's.

The visual branch (multi-scale fusion, a normal and an abnormal memory, a transformer encoder) scores the
segments and provides the video context. The semantic branch aligns the segments with class embeddings:
prompt templates in CLIP's text tower, plus a learned offset per class and a modulation by the video context.
A learned gate mixes the scores of the branches; four losses train both.

Differences from the source: CLIP ViT-B/16 features and text instead of I3D features and ViT-B/32 text.
Published: UCF-Crime AUC 87.83, FAR 3.24; XD-Violence AP 83.30, FAR 5.63 (its tables 2 to 5).

Not specified by the paper, and a config field or chosen as follows:
- The class scores of a segment in (5) are the softmax of the cosines over τ, so that its anomaly columns sum
  to at most 1. The cross-entropies also take the cosines over τ.
- Each memory bank has as many slots as in UR-DMU (Zhou et al., AAAI 2023), the paper's baseline, is read by
  sigmoid attention, and is combined with the segment by a linear layer.
- The video context C_v is the mean of F_c. A class embedding is the mean over its templates.
- For a video with several labels, each of its classes has the same weight in (12).
- The class distribution of a snippet divides the fused score among the anomaly classes by their alignment.

B videos, T segments or snippets, D width, C classes (0 = normal), K memory slots, P texts.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.detectors.base import Detector
from dsanet.detectors.config import (
    TrainConfig,
)
from dsanet.detectors.settings.vla_gated import VLAGatedConfig as VLAGatedConfig
from dsanet.layers.alignment import alignment_map
from dsanet.layers.bag_losses import anomalous_and_normal, detection_loss, soft_cross_entropy
from dsanet.layers.clip_text import FixedText, TextTower
from dsanet.layers.dilated import DilatedBank
from dsanet.layers.encoder_layer import EncoderLayer
from dsanet.layers.ragged import prefix_mask, topk_mean
from dsanet.layers.transfer import to_device


class VLAGatedOutput(NamedTuple):
    anomaly_BT: Tensor
    """Logits of the fused anomaly score (7)."""
    classes_BTC: Tensor
    """Alignment map (3): cosine / τ."""
    video_BTD: Tensor
    """F_c."""
    visual_BT: Tensor
    """S_c: score of the visual branch, in [0, 1]."""
    semantic_BT: Tensor
    """S_a (5): score of the semantic branch, in [0, 1]."""


class DualMemory(nn.Module):
    """A normal and an abnormal bank of learned slots, read by sigmoid attention and added to each segment."""

    def __init__(self, width: int, slots: int) -> None:
        super().__init__()
        self.banks_2KD = nn.Parameter(torch.randn(2, slots, width) / math.sqrt(width))
        self.join = nn.Linear(3 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        attention_2BTK = torch.sigmoid(
            torch.einsum("btd,ekd->ebtk", x_BTD, self.banks_2KD) / math.sqrt(x_BTD.shape[-1])
        )
        normal_BTD, abnormal_BTD = torch.einsum("ebtk,ekd->ebtd", attention_2BTK, self.banks_2KD)
        return x_BTD + self.join(torch.cat([x_BTD, normal_BTD, abnormal_BTD], dim=-1))


class VisualBranch(nn.Module):
    """Multi-scale fusion, dual memory, transformer encoder → F_c."""

    def __init__(self, config: VLAGatedConfig) -> None:
        super().__init__()
        width = config.feature_dim
        self.scales = DilatedBank(width, width // 4, config.dilations)
        self.fuse = nn.Linear(width // 4 * len(config.dilations), width)
        self.memory = DualMemory(width, config.memory_slots)
        layer = EncoderLayer(width, config.heads, 2 * width, config.dropout)
        self.encoder = nn.TransformerEncoder(
            layer, config.layers, nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, features_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        x_BTD = features_BTD + self.fuse(self.scales(features_BTD, mask_BT))
        video_BTD: Tensor = self.encoder(self.memory(x_BTD), src_key_padding_mask=~mask_BT)
        return video_BTD * mask_BT[..., None]


class VLAGated(Detector[VLAGatedOutput]):
    """Visual branch, semantic branch and gate."""

    config: VLAGatedConfig
    terms = ("main", "align", "cls", "con")

    def __init__(self, config: VLAGatedConfig, text: nn.Module | None = None) -> None:
        super().__init__(config, text)
        width = config.feature_dim
        self.visual, self.score = VisualBranch(config), nn.Linear(width, 1)
        self.project = nn.Linear(width, width)
        self.context, self.context_norm = nn.Linear(width, width), nn.LayerNorm(width)
        nn.init.constant_(self.context_norm.weight, config.modulation)
        self.offsets_CD = nn.Parameter(torch.zeros(len(config.classes), width))
        self.gate = nn.Parameter(torch.tensor(config.gate))

    @staticmethod
    def text_module(config: VLAGatedConfig, tower: TextTower) -> nn.Module:
        """Constant class embeddings of length 1: the mean of the normalised embeddings of the templates."""
        each_PD = F.normalize(FixedText.encode(tower, config.encoded_texts).text_CD, dim=-1)
        mean_CD = each_PD.unflatten(0, (len(config.texts), len(config.templates))).mean(1)
        return FixedText(F.normalize(mean_CD, dim=-1))

    def forward(
        self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None
    ) -> VLAGatedOutput:
        mask_BT = prefix_mask(lengths_B, features_BTD.shape[1], features_BTD.device)
        video_BTD = self.visual(features_BTD, mask_BT)
        # In this order: a gradient is summed in the order of the operations, and rounds accordingly.
        visual_BT = self._visual_scores(video_BTD)
        context_BD = video_BTD.sum(1) / to_device(lengths_B, video_BTD.device)[:, None]
        return self._fused(video_BTD, visual_BT, context_BD, text_CD)

    def score_rows(self, video_BTD: Tensor, context_BD: Tensor, text_CD: Tensor | None) -> VLAGatedOutput:
        """The output for some segments of F_c, `video_BTD`, of videos with the context C_v."""
        return self._fused(video_BTD, self._visual_scores(video_BTD), context_BD, text_CD)

    def _visual_scores(self, video_BTD: Tensor) -> Tensor:
        return torch.sigmoid(self.score(video_BTD).squeeze(-1).float())

    def _fused(
        self, video_BTD: Tensor, visual_BT: Tensor, context_BD: Tensor, text_CD: Tensor | None
    ) -> VLAGatedOutput:
        text_CD = self.text_embeddings() if text_CD is None else text_CD
        modulation_BD = self.context_norm(self.context(context_BD))  # (2)
        classes_BTC = alignment_map(  # (1) and (3); alignment_map normalises both sides
            self.project(video_BTD), text_CD + modulation_BD[:, None], self.config.temperature
        ).float()
        semantic_BT = classes_BTC.softmax(-1)[..., 1:].sum(-1)  # (5)
        weight = torch.sigmoid(self.gate)  # (6)
        fused_BT = weight * visual_BT + (1 - weight) * semantic_BT  # (7)
        return VLAGatedOutput(
            torch.logit(fused_BT, eps=1e-6), classes_BTC, video_BTD.float(), visual_BT, semantic_BT
        )

    def text_embeddings(self) -> Tensor:
        """(C, D): the class embeddings plus the learned offsets, normalised."""
        assert self.text is not None
        return F.normalize(self.text() + self.offsets_CD, dim=-1)

    def loss_terms(self, output: VLAGatedOutput, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        labels_BC, config = labels_BC.float(), self.config
        return {
            "main": detection_loss(output.anomaly_BT, labels_BC, lengths_B),
            "align": segment_alignment_loss(output.classes_BTC, labels_BC, lengths_B, config.aligned),
            "cls": class_loss(
                output.classes_BTC, labels_BC, lengths_B, calm=config.calm, temperature=config.temperature
            ),
            "con": consistency_loss(output.visual_BT, output.semantic_BT, lengths_B),
        }

    def loss_weights(self, train: TrainConfig) -> dict[str, float]:
        config = self.config
        return {"align": config.align_weight, "cls": config.class_weight, "con": config.consistency_weight}


def segment_alignment_loss(classes_BTC: Tensor, labels_BC: Tensor, lengths_B: Tensor, part: float) -> Tensor:
    """L_align (12): mean cross-entropy of the ⌈r·n⌉ segments nearest to each true class; `part` is r."""
    device = classes_BTC.device
    mask_BT = prefix_mask(lengths_B, classes_BTC.shape[1], device)
    count_B = (lengths_B.cpu() * part).ceil().long()
    ranked_BTC = classes_BTC.masked_fill(~mask_BT[..., None], float("-inf")).argsort(dim=1, descending=True)
    nearest_BKC = ranked_BTC[:, : int(count_B.max())]
    cross_entropy_BKC = -classes_BTC.log_softmax(-1).take_along_dim(nearest_BKC, dim=1)
    used_BK = prefix_mask(count_B, nearest_BKC.shape[1], device)
    per_class_BC = (cross_entropy_BKC * used_BK[..., None]).sum(1) / to_device(count_B, device)[:, None]
    labels_BC = to_device(labels_BC, device)
    return ((per_class_BC * labels_BC).sum(1) / labels_BC.sum(1)).mean()


def class_loss(
    classes_BTC: Tensor, labels_BC: Tensor, lengths_B: Tensor, *, calm: float, temperature: float
) -> Tensor:
    """L_cls (10) plus the term (11) that `calm` (α) weights.

    (10) is the cross-entropy of the class scores (4), the top-k means; (11) is the mean square of the normal
    videos' anomaly class scores, as cosines.
    """
    scores_BC = topk_mean(classes_BTC, lengths_B)
    loss = soft_cross_entropy(scores_BC, labels_BC, 0.0)
    _, normal_NC = anomalous_and_normal(scores_BC, labels_BC)
    cosines_NC = temperature * normal_NC[:, 1:]
    return loss + calm * cosines_NC.square().sum() / max(cosines_NC.numel(), 1)


def consistency_loss(visual_BT: Tensor, semantic_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """L_con (13): mean squared difference of the branches' video scores, which are top-k means."""
    visual_B1, semantic_B1 = (topk_mean(scores[..., None], lengths_B) for scores in (visual_BT, semantic_BT))
    return (visual_B1 - semantic_B1).square().mean()
