"""VadCLIP: Wu et al., "VadCLIP: Adapting Vision-Language Models for Weakly Supervised Video Anomaly
Detection", AAAI 2024. DSANet's baseline: the same temporal module and branches, learned context around
the classes' names, and three losses.

L_det + L_align + w · mean |cos(normal, class)|, the weight w being the release's (0.1 on UCF-Crime,
1e-4 on XD-Violence). Fine scores are the softmax of the alignment map. Padding takes part in the
release (`mask_padding` = false, set for imported weights); the paper is silent, so here it does not.

Published: UCF-Crime AUC 88.02, Ano-AUC 70.23, mAP AVG 6.68; XD-Violence AP 84.51, mAP AVG 24.70.
"""

from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from dsanet.detectors.base import Output
from dsanet.detectors.config import (
    CLASSES,
    InferConfig,
    Preset,
    TrainConfig,
    TwoBranchConfig,
    unknown_preset,
)
from dsanet.detectors.dsanet.losses import alignment_loss, detection_loss, separation_loss
from dsanet.detectors.two_branch import TwoBranch, to_length
from dsanet.layers.clip_text import LearnedContext, TextTower


class VadCLIPConfig(TwoBranchConfig):
    """Defaults are the paper's and its release's for UCF-Crime."""

    detector: Literal["vadclip"] = "vadclip"
    separation: float = Field(0.1, ge=0, description="weight of the mean |cos(normal, class)|")
    mask_padding: bool = Field(
        True, description="rows beyond a video's length take no part. Release: they do"
    )

    @property
    def masks_padding(self) -> bool:
        return self.mask_padding

    def text_module(self, tower: TextTower) -> nn.Module:
        return LearnedContext(tower, self.texts, self.context_tokens)

    def build(self, text: nn.Module | None = None) -> "VadCLIP":
        return VadCLIP(self, text)

    @classmethod
    def preset(cls, name: str) -> Preset:
        if name == "ucf-crime":
            train = TrainConfig(lr=2e-5, milestones=(4, 8), align_weight=1.0)
            return Preset(cls(classes=CLASSES[name]), train, InferConfig())
        if name == "xd-violence":
            train = TrainConfig(
                batch_size=96, balanced=False, lr=1e-5, milestones=(3, 6, 10), align_weight=1.0
            )
            model = cls(classes=CLASSES[name], layers=1, window=64, separation=1e-4)
            return Preset(model, train, InferConfig())
        if name == "small":
            # Few learned vectors: the text tower is most of a step's time on a CPU.
            model = cls(bag_length=64, layers=1, window=2, context_tokens=2)
            train = TrainConfig(epochs=40, batch_size=8, lr=2e-4, align_weight=1.0)
            return Preset(model, train, InferConfig())
        raise unknown_preset(name)


class VadCLIPOutput(NamedTuple):
    anomaly_BT: Tensor
    """Logits."""
    classes_BTC: Tensor
    """Alignment map: cosine / τ."""
    video_BTD: Tensor
    """F_video."""
    text_CD: Tensor
    """Class embeddings before the video's cue."""


class VadCLIP(TwoBranch):
    """The two branches over learned context."""

    config: VadCLIPConfig
    terms = ("det", "align", "sep")

    def forward(
        self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None
    ) -> VadCLIPOutput:
        found, length = self.branches(features_BTD, lengths_B, text_CD), features_BTD.shape[1]
        return VadCLIPOutput(
            anomaly_BT=to_length(found.anomaly_BT, length).float(),
            classes_BTC=to_length(found.classes_BTC, length).float(),
            video_BTD=to_length(found.video_BTD, length).float(),
            text_CD=found.text_CD.float(),
        )

    def loss_terms(self, output: Output, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        assert isinstance(output, VadCLIPOutput)
        labels_BC = labels_BC.float()
        return {
            "det": detection_loss(output.anomaly_BT, labels_BC, lengths_B),
            "align": alignment_loss(output.classes_BTC, labels_BC, lengths_B),
            "sep": separation_loss(output.text_CD, mean=True),
        }

    def loss_weights(self, train: TrainConfig) -> dict[str, float]:
        return {"align": train.align_weight, "sep": self.config.separation}

    def class_scores(self, output: Output, infer: InferConfig) -> Tensor:
        """(B, T, C): softmax of the alignment map."""
        assert isinstance(output, VadCLIPOutput)
        return output.classes_BTC.softmax(-1)
