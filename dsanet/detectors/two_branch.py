"""What VadCLIP and DSANet share (figure 2): the temporal module, and the two branches over its features.

The detection branch scores rows; the classification branch adds the video's cue to the class
embeddings and aligns the rows with them.

B videos, T rows, N rows that count, D width, C classes (0 = normal).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsanet.detectors.base import Detector
from dsanet.detectors.config import TwoBranchConfig
from dsanet.layers.alignment import alignment_map, enhance_text
from dsanet.layers.ragged import Rows
from dsanet.layers.temporal import MLP, TemporalModel


class Branches(NamedTuple):
    """What both branches say; T is cut to what the batch needs, `rows` are the rows that count."""

    anomaly_BT: Tensor
    """Logits."""
    classes_BTC: Tensor
    """Alignment map: cosine / τ."""
    video_BTD: Tensor
    """F_video."""
    text_CD: Tensor
    """Class embeddings before the video's cue."""
    rows: Rows


class TwoBranch(Detector):
    """Temporal module, detection branch, classification branch; `text` gives the class embeddings."""

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
        """Both branches over padded bags; raises ValueError for bags that don't fit the model."""
        features_BTD, rows = self._rows(features_BTD, lengths_B)
        video_ND = self.temporal(features_BTD, lengths_B, rows)
        anomaly_N = self.classifier(video_ND + self.score_mlp(video_ND)).squeeze(-1)
        video_BTD, anomaly_BT = rows.pad(video_ND), rows.pad(anomaly_N)
        text_CD = self.text_embeddings() if text_CD is None else text_CD
        enhanced_BCD = enhance_text(text_CD, anomaly_BT, video_BTD, self.enhance_mlp)
        classes_BTC = alignment_map(video_BTD, enhanced_BCD, self.config.temperature)
        return Branches(anomaly_BT, classes_BTC, video_BTD, text_CD, rows)

    def text_embeddings(self) -> Tensor:
        """(C, D): class embeddings. Where the text is tuned they change with each step; never cached."""
        assert self.text is not None
        text_CD: Tensor = self.text()
        return text_CD

    def _rows(self, features_BTD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Rows]:
        """The batch, cut (padding masked) to the windows that hold all true rows, and the rows that count."""
        length, window = features_BTD.shape[1], self.config.window
        if length > self.config.bag_length or not 1 <= int(lengths_B.min()) <= int(lengths_B.max()) <= length:
            raise ValueError(
                f"bags of {length} rows with lengths {lengths_B.tolist()}; expected at most "
                f"{self.config.bag_length} rows and 1 ≤ length ≤ rows"
            )
        if self.config.masks_padding:
            needed = -(-int(lengths_B.max()) // window) * window
            return to_length(features_BTD, needed), Rows(lengths_B, needed)
        if length != self.config.bag_length:
            raise ValueError(
                f"bags of {length} rows; where padding takes part they must have {self.config.bag_length}"
            )
        return features_BTD, Rows(torch.full_like(lengths_B, length), length)


def to_length(x_BT: Tensor, length: int) -> Tensor:
    """Cut or zero-padded to `length` rows."""
    if x_BT.shape[1] >= length:
        return x_BT[:, :length]
    return torch.cat([x_BT, x_BT.new_zeros(x_BT.shape[0], length - x_BT.shape[1], *x_BT.shape[2:])], dim=1)
