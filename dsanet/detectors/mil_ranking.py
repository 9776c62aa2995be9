"""Ranking of bags by their highest segment: Sultani, Chen and Shah, "Real-world Anomaly Detection in
Surveillance Videos", CVPR 2018.

A three-layer perceptron scores each of a video's 32 segments. The loss ranks, for every pair of an anomalous
and a normal video, the highest anomalous segment above the highest normal one by a margin of 1; smoothness
and sparsity terms apply to the scores of anomalous videos (section 3.2, eq. 4 to 8).

Differences from the source: CLIP features instead of C3D; at inference each snippet is scored instead of 32
segments, which resolves anomalies shorter than a segment. The learning rate is the paper's 0.001 (its
release uses 0.01). Published: UCF-Crime AUC 75.41 (C3D), 77.92 (I3D), 84.14 (CLIP, by VadCLIP's authors).

B videos, S segments, T snippets, D width, C classes (0 = normal), A anomalous and N normal videos of a batch.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.detectors.base import Detector
from dsanet.detectors.config import TrainConfig
from dsanet.detectors.settings.mil_ranking import MILRankingConfig as MILRankingConfig
from dsanet.layers.bag_losses import anomalous_and_normal, smoothness
from dsanet.layers.ragged import prefix_mask
from dsanet.layers.split_batch import Dropout


class MILRankingOutput(NamedTuple):
    anomaly_BT: Tensor
    """Anomaly logits."""
    video_BTD: Tensor
    """Output of the last hidden layer."""
    classes_BTC: None = None


class MILRanking(Detector[MILRankingOutput]):
    """The perceptron and its ranking loss; `text` is not used."""

    config: MILRankingConfig
    terms = ("rank", "smooth", "sparse", "decay")

    def __init__(self, config: MILRankingConfig, text: nn.Module | None = None) -> None:
        super().__init__(config)
        widths = (config.feature_dim, *config.hidden, 1)
        self.first, self.second, self.last = (nn.Linear(a, b) for a, b in pairwise(widths))
        self.dropout = Dropout(config.dropout)
        for layer in (self.first, self.second, self.last):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None
    ) -> MILRankingOutput:
        """Scores each segment independently. Only the first layer has a ReLU, as in the release."""
        hidden = self.dropout(F.relu(self.first(F.normalize(features_BTD, dim=-1))))
        hidden = self.dropout(self.second(hidden))
        return MILRankingOutput(self.last(hidden).squeeze(-1).float(), hidden.float())

    def loss_terms(self, output: MILRankingOutput, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        mask_BT = prefix_mask(lengths_B, output.anomaly_BT.shape[1], output.anomaly_BT.device)
        scores_BT = torch.sigmoid(output.anomaly_BT) * mask_BT
        anomalous_AT, _ = anomalous_and_normal(scores_BT, labels_BC)
        mask_AT, _ = anomalous_and_normal(mask_BT, labels_BC)
        return {
            "rank": ranking_loss(scores_BT, labels_BC),
            "smooth": smoothness(anomalous_AT, mask_AT),
            "sparse": anomalous_AT.sum(),
            "decay": torch.stack([w.square().sum() for w in self._weights()]).sum(),
        }

    def _weights(self) -> tuple[Tensor, ...]:
        return self.first.weight, self.second.weight, self.last.weight

    def loss_weights(self, train: TrainConfig) -> dict[str, float]:
        config = self.config
        return {"smooth": config.smoothness, "sparse": config.sparsity, "decay": config.decay}


def ranking_loss(scores_BT: Tensor, labels_BC: Tensor) -> Tensor:
    """Mean over all pairs of max(0, 1 − highest anomalous + highest normal score); 0 without a pair.

    `scores_BT` are in [0, 1] and 0 beyond a bag's length.
    """
    anomalous_A, normal_N = anomalous_and_normal(scores_BT.amax(1), labels_BC)
    hinges_AN = F.relu(1 - anomalous_A[:, None] + normal_N)
    return hinges_AN.sum() / max(hinges_AN.numel(), 1)
