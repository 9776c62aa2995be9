"""DSANet (figure 2): wiring only. Each part has a module of its own; the release differs by `Variant`.

B videos, T rows, N rows that count, D width, C classes (0 = normal).
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.detectors.base import Output
from dsanet.detectors.dsanet.config import InferConfig, ModelConfig, TrainConfig
from dsanet.detectors.dsanet.losses import TERMS, loss_terms, total_loss
from dsanet.detectors.dsanet.normality import NormalityModel, nearest_cosine
from dsanet.detectors.two_branch import TwoBranch, to_length
from dsanet.layers.alignment import class_logits, prototypes
from dsanet.layers.belief import belief_modulation
from dsanet.layers.ragged import Rows


class DSANetOutput(NamedTuple):
    """What the model says of a batch, float32. Rows beyond a video's length mean nothing (paper: 0)."""

    anomaly_BT: Tensor
    """S_det: logits."""
    classes_BTC: Tensor
    """Alignment map: cosine / τ."""
    event_BC: Tensor | None
    """Event prototype against the classes: cosine / τ (None without DCSA)."""
    background_BC: Tensor | None
    """Background prototype against the classes: cosine / τ (None without DCSA)."""
    text_CD: Tensor
    """Class embeddings before the vision-text enhance."""
    video_BTD: Tensor
    """F_video."""
    scores_rec_BT: Tensor | None
    """S_rec in [0, 1]; in training with SG-NM only."""
    compact: Tensor | None
    """L_compact (eq. 3), a scalar; in training with SG-NM only."""


class DSANet(TwoBranch):
    """The two branches, with SG-NM and DCSA around them."""

    config: ModelConfig
    terms = TERMS

    def __init__(self, config: ModelConfig, text: nn.Module | None = None) -> None:
        super().__init__(config, text)
        width, rules = config.feature_dim, config.rules
        self.normality = (
            NormalityModel(
                width,
                config.normality_heads,
                config.patterns,
                config.decoder_layers,
                config.candidate_ratio,
                decoder_residuals=rules.decoder_residuals,
                learned_scale=rules.decoder_attention == "relu-cosine",
            )
            if config.normality
            else None
        )

    def forward(self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None) -> DSANetOutput:
        """One pass over padded bags.

        `features_BTD` has T ≤ bag_length rows, of which `lengths_B` (1 … T) are true. `text_CD`
        saves computing the class embeddings again where they don't change (see `text_embeddings`).
        """
        length = features_BTD.shape[1]
        anomaly_BT, classes_BTC, video_BTD, text_CD, rows = self.branches(features_BTD, lengths_B, text_CD)
        event_BC = background_BC = scores_rec_BT = compact = None
        if self.config.disentangled_alignment:
            pooled = prototypes(video_BTD, anomaly_BT, rows, self.config.rules.prototype_weights)
            event_BC, background_BC = (
                class_logits(prototype_BD, text_CD, self.config.temperature).float()
                for prototype_BD in pooled
            )
        if self.normality is not None and self.training:
            scores_rec_BT, compact = self.normality(video_BTD, anomaly_BT, rows, lengths_B)
            scores_rec_BT, compact = to_length(scores_rec_BT, length).float(), compact.float()
        return DSANetOutput(
            anomaly_BT=to_length(anomaly_BT, length).float(),
            classes_BTC=to_length(classes_BTC, length).float(),
            event_BC=event_BC,
            background_BC=background_BC,
            text_CD=text_CD.float(),
            video_BTD=to_length(video_BTD, length).float(),
            scores_rec_BT=scores_rec_BT,
            compact=compact,
        )

    def text_embeddings(self) -> Tensor:
        """(C, D): class embeddings. Where the text is tuned they change with each step; never cached."""
        text_CD = super().text_embeddings()
        return F.normalize(text_CD, dim=-1) if self.config.rules.normalize_text else text_CD

    def loss_terms(self, output: Output, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        """The seven terms (see `dsanet.detectors.dsanet.losses`)."""
        assert isinstance(output, DSANetOutput)
        return loss_terms(output, labels_BC, lengths_B, self.config.rules)

    def total_loss(self, terms: Mapping[str, Tensor], train: TrainConfig) -> Tensor:
        """Eq. (11)."""
        return total_loss(terms, train.align_weight)

    def scores(self, output: Output, lengths_B: Tensor, infer: InferConfig) -> dict[str, Tensor]:
        """Beside the rows' scores both prototypes' classes (`event`, `background`), the same in every row."""
        assert isinstance(output, DSANetOutput)
        arrays = super().scores(output, lengths_B, infer)
        if output.event_BC is not None and output.background_BC is not None:
            # Repeated, so that averaging a video's rows weighs its windows by their length.
            rows = output.anomaly_BT.shape[1]
            arrays["event"] = output.event_BC.softmax(-1)[:, None].expand(-1, rows, -1)
            arrays["background"] = output.background_BC.softmax(-1)[:, None].expand(-1, rows, -1)
        return arrays

    def class_scores(self, output: Output, infer: InferConfig) -> Tensor:
        """(B, T, C): belief modulation with temperature β."""
        assert isinstance(output, DSANetOutput)
        return belief_modulation(output.anomaly_BT, output.classes_BTC, infer.beta)

    def normal_distance(self, output: Output, lengths_B: Tensor) -> Tensor:
        """(B, T): smallest cosine distance of each row to its video's normal patterns (figure 5), in [0, 2].

        Raises ValueError for a model without SG-NM.
        """
        if self.normality is None:
            raise ValueError("normal distances need SG-NM; this model was built with normality = false")
        length = output.video_BTD.shape[1]
        rows = Rows(lengths_B if self.config.masks_padding else torch.full_like(lengths_B, length), length)
        patterns_BKD, _ = self.normality.patterns(output.video_BTD, output.anomaly_BT, rows)
        return 1 - nearest_cosine(output.video_BTD, patterns_BKD)
