"""VadCLIP: Wu et al., "VadCLIP: Adapting Vision-Language Models for Weakly Supervised Video Anomaly
Detection", AAAI 2024. DSANet's baseline: the same temporal module and branches, learned context around
the class names, and three losses.

The loss is L_det + L_align + w · mean |cos(normal, class)| with the release's w (0.1 on UCF-Crime, 1e-4 on
XD-Violence). Class scores are the softmax of the alignment map. The release does not mask padding
(`mask_padding` = false, set for imported weights); the paper does not specify it, and the default masks it.

Published: UCF-Crime AUC 88.02, Ano-AUC 70.23, mAP AVG 6.68; XD-Violence AP 84.51, mAP AVG 24.70.
"""

from typing import NamedTuple

from torch import Tensor, nn

from dsanet.detectors.config import (
    InferConfig,
    TrainConfig,
)
from dsanet.detectors.settings.vadclip import VadCLIPConfig as VadCLIPConfig
from dsanet.detectors.two_branch import TwoBranch, to_length
from dsanet.layers.bag_losses import alignment_loss, detection_loss, separation_loss
from dsanet.layers.clip_text import LearnedContext, TextTower


class VadCLIPOutput(NamedTuple):
    anomaly_BT: Tensor
    """Anomaly logits."""
    classes_BTC: Tensor
    """Alignment map: cosine / τ."""
    video_BTD: Tensor
    """F_video."""
    text_CD: Tensor
    """Class embeddings without the visual cue."""


class VadCLIP(TwoBranch[VadCLIPOutput]):
    """The two branches with learned context around the class names."""

    config: VadCLIPConfig
    terms = ("det", "align", "sep")

    @staticmethod
    def text_module(config: VadCLIPConfig, tower: TextTower) -> nn.Module:
        return LearnedContext(tower, config.texts, config.context_tokens)

    def forward(
        self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None
    ) -> VadCLIPOutput:
        branches, length = self.branches(features_BTD, lengths_B, text_CD), features_BTD.shape[1]
        return VadCLIPOutput(
            anomaly_BT=to_length(branches.anomaly_BT, length).float(),
            classes_BTC=to_length(branches.classes_BTC, length).float(),
            video_BTD=to_length(branches.video_BTD, length).float(),
            text_CD=branches.text_CD.float(),
        )

    def loss_terms(self, output: VadCLIPOutput, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        labels_BC = labels_BC.float()
        return {
            "det": detection_loss(output.anomaly_BT, labels_BC, lengths_B),
            "align": alignment_loss(output.classes_BTC, labels_BC, lengths_B),
            "sep": separation_loss(output.text_CD, mean=True),
        }

    def loss_weights(self, train: TrainConfig) -> dict[str, float]:
        return {"align": train.align_weight, "sep": self.config.separation}

    def class_scores(self, output: VadCLIPOutput, infer: InferConfig) -> Tensor:
        """(B, T, C): softmax of the alignment map."""
        return output.classes_BTC.softmax(-1)
