"""Classification branch of DSANet: vision-text enhance, alignment map (section 3.1), DCSA (section 3.3).

The release differs in `Variant.prototype_weights` and, through the valid positions, in `mask_padding`.

B videos, T snippets, D width, C classes (0 = normal).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dsanet.layers.ragged import RaggedBatch
from dsanet.layers.temporal import MLP

EXPONENTIAL_SCALE = 10.0
"""Scale of the anomaly probability in the release's prototype weights."""


def enhance_text(text_CD: Tensor, anomaly_BT: Tensor, video_BTD: Tensor, mlp: MLP) -> Tensor:
    """(B, C, D): class embeddings plus the visual cue V = Norm(S_detᵀ F_video), plus an MLP of that sum.

    The snippets are weighted by their logits. Padding must be zero in `video_BTD`.
    """
    cue_BD = F.normalize((anomaly_BT[:, None] @ video_BTD).squeeze(1), dim=-1)
    text_BCD = text_CD + cue_BD[:, None]
    return text_BCD + mlp(text_BCD)


def alignment_map(video_BTD: Tensor, text_BCD: Tensor, temperature: float) -> Tensor:
    """(B, T, C): cosine of each snippet and each class, divided by τ."""
    return F.normalize(video_BTD, dim=-1) @ F.normalize(text_BCD, dim=-1).transpose(1, 2) / temperature


def prototypes(
    video_BTD: Tensor, anomaly_BT: Tensor, ragged: RaggedBatch, weights: Literal["softmax", "exponential"]
) -> tuple[Tensor, Tensor]:
    """F_event and F_bkg (eq. 5), (B, D) each: means of the snippets weighted by anomaly and by normality."""
    event_BT, background_BT = _WEIGHTS[weights](anomaly_BT, ragged.mask_BT)
    pooled_B2D = torch.stack([event_BT, background_BT], dim=1) @ video_BTD
    return pooled_B2D[:, 0], pooled_B2D[:, 1]


def _softmax_weights(anomaly_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    event_BT = anomaly_BT.masked_fill(~mask_BT, float("-inf")).softmax(1)
    return event_BT, (1 - event_BT) * mask_BT


def _exponential_weights(anomaly_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    # σ(−s) equals 1 − σ(s) without the cancellation error.
    weights = (
        torch.expm1(EXPONENTIAL_SCALE * torch.sigmoid(sign * anomaly_BT)) * mask_BT for sign in (1, -1)
    )
    event_BT, background_BT = (F.normalize(weight_BT, p=1.0, dim=1) for weight_BT in weights)
    return event_BT, background_BT


_WEIGHTS = {"softmax": _softmax_weights, "exponential": _exponential_weights}


def class_logits(prototype_BD: Tensor, text_CD: Tensor, temperature: float) -> Tensor:
    """(B, C): cosine of a video's prototype and each class embedding without visual cue, divided by τ."""
    return F.normalize(prototype_BD, dim=-1) @ F.normalize(text_CD, dim=-1).T / temperature
