"""Common part of VadCLIP and DSANet (DSANet, figure 2): the temporal module and two branches.

The detection branch scores the snippets; the classification branch adds the visual cue to the class
embeddings and aligns the snippets with them.

B videos, T snippets, N valid positions, D width, C classes (0 = normal).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsanet.detectors.base import Detector, OutputT
from dsanet.detectors.config import TwoBranchConfig
from dsanet.layers.alignment import alignment_map, enhance_text
from dsanet.layers.ragged import RaggedBatch
from dsanet.layers.temporal import MLP, TemporalModel


class Branches(NamedTuple):
    """Output of both branches. T is cut to the windows that the batch needs."""

    anomaly_BT: Tensor
    """Anomaly logits S_det."""
    classes_BTC: Tensor
    """Alignment map: cosine / τ."""
    video_BTD: Tensor
    """F_video."""
    text_CD: Tensor
    """Class embeddings without the visual cue."""
    ragged: RaggedBatch
    """The valid positions."""


class TwoBranch(Detector[OutputT]):
    """Temporal module, detection branch, classification branch."""

    config: TwoBranchConfig

    def __init__(self, config: TwoBranchConfig, text: nn.Module | None = None) -> None:
        super().__init__(config, text)
        width = config.feature_dim
        self.temporal = TemporalModel(
            width,
            config.bag_length,
            config.layers,
            config.heads,
            config.window,
            config.similarity_threshold,
        )
        self.score_mlp, self.classifier = MLP(width), nn.Linear(width, 1)
        self.enhance_mlp = MLP(width)

    def branches(self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None) -> Branches:
        """Both branches on padded bags. Raises ValueError for bags that do not fit the model."""
        features_BTD, ragged = self._ragged(features_BTD, lengths_B)
        video_ND = self.temporal(features_BTD, lengths_B, ragged)
        anomaly_N = self.classifier(video_ND + self.score_mlp(video_ND)).squeeze(-1)
        video_BTD, anomaly_BT = ragged.pad(video_ND), ragged.pad(anomaly_N)
        text_CD = self.text_embeddings() if text_CD is None else text_CD
        enhanced_BCD = enhance_text(text_CD, anomaly_BT, video_BTD, self.enhance_mlp)
        classes_BTC = alignment_map(video_BTD, enhanced_BCD, self.config.temperature)
        return Branches(anomaly_BT, classes_BTC, video_BTD, text_CD, ragged)

    def text_embeddings(self) -> Tensor:
        """(C, D) class embeddings. If the text is tuned they change with each update: never cached."""
        assert self.text is not None
        text_CD: Tensor = self.text()
        return text_CD

    def _ragged(self, features_BTD: Tensor, lengths_B: Tensor) -> tuple[Tensor, RaggedBatch]:
        """The batch and its valid positions; masked padding is cut to the windows that hold all snippets."""
        length, window = features_BTD.shape[1], self.config.window
        if length > self.config.bag_length or not 1 <= int(lengths_B.min()) <= int(lengths_B.max()) <= length:
            raise ValueError(
                f"bags of {length} snippets with lengths {lengths_B.tolist()}; expected at most "
                f"{self.config.bag_length} snippets and 1 ≤ length ≤ snippets"
            )
        if self.config.masks_padding:
            needed = -(-int(lengths_B.max()) // window) * window
            return to_length(features_BTD, needed), RaggedBatch(lengths_B, needed, features_BTD.device)
        if length != self.config.bag_length:
            raise ValueError(
                f"bags of {length} snippets; a model with unmasked padding needs exactly "
                f"{self.config.bag_length}"
            )
        return features_BTD, RaggedBatch(torch.full_like(lengths_B, length), length, features_BTD.device)


def to_length(x_BT: Tensor, length: int) -> Tensor:
    """`x_BT` cut or zero-padded to `length` positions."""
    if x_BT.shape[1] >= length:
        return x_BT[:, :length]
    return torch.cat([x_BT, x_BT.new_zeros(x_BT.shape[0], length - x_BT.shape[1], *x_BT.shape[2:])], dim=1)
