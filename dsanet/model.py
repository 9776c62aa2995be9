"""DSANet (figure 2): wiring only. Each part has a module of its own; the release differs by `Variant`.

B videos, T rows, N rows that count, D width, C classes (0 = normal).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.alignment import alignment_map, class_logits, enhance_text, prototypes
from dsanet.belief import belief_modulation
from dsanet.config import InferConfig, ModelConfig, TrainConfig
from dsanet.detector import Detector, Output
from dsanet.losses import TERMS, loss_terms
from dsanet.normality import NormalityModel, nearest_cosine
from dsanet.rows import Rows
from dsanet.temporal import MLP, TemporalModel
from dsanet.text import TextTower, build_text
from extract.clip import build_clip


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


class DSANet(Detector):
    """The detector of `config`, whose classes must be set.

    `text` takes the place of the text module that the config describes (a checkpoint's constant
    embeddings, an imported tower); without it the text tower comes from `config.clip_weights`,
    and FileNotFoundError says so where it can't be had.
    """

    config: ModelConfig
    terms = TERMS

    def __init__(self, config: ModelConfig, text: nn.Module | None = None) -> None:
        if text is None and config.classes:
            text = build_text(TextTower(build_clip(config.clip_weights)[0]), config)
        super().__init__(config, text)
        width, rules = config.feature_dim, config.rules
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
        features_BTD, rows = self._rows(features_BTD, lengths_B)
        video_ND = self.temporal(features_BTD, lengths_B, rows)
        anomaly_N = self.classifier(video_ND + self.score_mlp(video_ND)).squeeze(-1)
        video_BTD, anomaly_BT = rows.pad(video_ND), rows.pad(anomaly_N)

        text_CD = self.text_embeddings() if text_CD is None else text_CD
        enhanced_BCD = enhance_text(text_CD, anomaly_BT, video_BTD, self.enhance_mlp)
        classes_BTC = alignment_map(video_BTD, enhanced_BCD, self.config.temperature)
        event_BC = background_BC = scores_rec_BT = compact = None
        if self.config.disentangled_alignment:
            pooled = prototypes(video_BTD, anomaly_BT, rows, self.config.rules.prototype_weights)
            event_BC, background_BC = (
                class_logits(prototype_BD, text_CD, self.config.temperature).float()
                for prototype_BD in pooled
            )
        if self.normality is not None and self.training:
            scores_rec_BT, compact = self.normality(video_BTD, anomaly_BT, rows, lengths_B)
            scores_rec_BT, compact = _to_length(scores_rec_BT, length).float(), compact.float()
        return DSANetOutput(
            anomaly_BT=_to_length(anomaly_BT, length).float(),
            classes_BTC=_to_length(classes_BTC, length).float(),
            event_BC=event_BC,
            background_BC=background_BC,
            text_CD=text_CD.float(),
            video_BTD=_to_length(video_BTD, length).float(),
            scores_rec_BT=scores_rec_BT,
            compact=compact,
        )

    def text_embeddings(self) -> Tensor:
        """(C, D): class embeddings. Where the text is tuned they change with each step; never cached."""
        assert self.text is not None
        text_CD: Tensor = self.text()
        return F.normalize(text_CD, dim=-1) if self.config.rules.normalize_text else text_CD

    def loss_terms(self, output: Output, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        """The seven terms (see `dsanet.losses`)."""
        assert isinstance(output, DSANetOutput)
        return loss_terms(output, labels_BC, lengths_B, self.config.rules)

    def loss_weights(self, train: TrainConfig) -> dict[str, float]:
        """λ of eq. (11)."""
        return {"align": train.align_weight}

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
        rows = Rows(
            lengths_B if self.config.rules.mask_padding else torch.full_like(lengths_B, length), length
        )
        patterns_BKD, _ = self.normality.patterns(output.video_BTD, output.anomaly_BT, rows)
        return 1 - nearest_cosine(output.video_BTD, patterns_BKD)

    def _rows(self, features_BTD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Rows]:
        """The batch, cut (paper) to whole windows that hold every true row, and its rows that count."""
        length, window = features_BTD.shape[1], self.config.window
        if length > self.config.bag_length or not 1 <= int(lengths_B.min()) <= int(lengths_B.max()) <= length:
            raise ValueError(
                f"bags of {length} rows with lengths {lengths_B.tolist()}; expected at most "
                f"{self.config.bag_length} rows and 1 ≤ length ≤ rows"
            )
        if self.config.rules.mask_padding:
            needed = -(-int(lengths_B.max()) // window) * window
            return _to_length(features_BTD, needed), Rows(lengths_B, needed)
        if length != self.config.bag_length:
            raise ValueError(
                f"bags of {length} rows; where padding takes part they must have {self.config.bag_length}"
            )
        return features_BTD, Rows(torch.full_like(lengths_B, length), length)


def _to_length(x_BT: Tensor, length: int) -> Tensor:
    """Cut or zero-padded to `length` rows."""
    if x_BT.shape[1] >= length:
        return x_BT[:, :length]
    return torch.cat([x_BT, x_BT.new_zeros(x_BT.shape[0], length - x_BT.shape[1], *x_BT.shape[2:])], dim=1)
