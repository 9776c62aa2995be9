"""DSANet (figure 2): the two branches, with SG-NM and DCSA. The parts are in modules of their own.

B videos, T snippets, D width, C classes (0 = normal).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.detectors.config import InferConfig, TrainConfig
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.dsanet.losses import TERMS, loss_terms
from dsanet.detectors.dsanet.normality import NormalityModel, nearest_cosine
from dsanet.detectors.dsanet.output import DSANetOutput
from dsanet.detectors.two_branch import Branches, TwoBranch, to_length
from dsanet.layers.alignment import class_logits, prototypes
from dsanet.layers.belief import belief_modulation
from dsanet.layers.clip_text import AdaptedText, FixedText, LearnedContext, TextTower
from dsanet.layers.ragged import RaggedBatch
from extract.errors import InputError


class DSANet(TwoBranch[DSANetOutput]):
    """DSANet (AAAI 2026), with freshly drawn weights.

    Args:
        config: Architecture, variant and classes.
        text: Replaces the text module that the config asks for: called without arguments it returns (C, 512)
            class embeddings. Without it, CLIP's text tower is loaded from `config.clip_weights`.

    Raises:
        FileNotFoundError: The CLIP weights are not available.
        ValueError: The config has no classes.

    Examples:
        >>> import torch
        >>> from dsanet import DSANet
        >>> from dsanet.detectors.dsanet.config import ModelConfig
        >>> model = DSANet(ModelConfig(classes=("normal", "fire"), clip_weights="random"))
        >>> output = model(torch.zeros(2, 256, 512), torch.tensor([256, 40]))  # bags, and their valid lengths
        >>> output.anomaly_BT.shape, output.classes_BTC.shape
        (torch.Size([2, 256]), torch.Size([2, 256, 2]))
    """

    config: ModelConfig
    terms = TERMS

    def __init__(self, config: ModelConfig, text: nn.Module | None = None) -> None:
        super().__init__(config, text)
        self.normality = _normality(config) if config.normality else None

    @staticmethod
    def text_module(config: ModelConfig, tower: TextTower) -> nn.Module:
        if config.text_tuning in ("frozen", "manual"):
            return FixedText.encode(tower, config.texts)
        if config.text_tuning == "learned":
            return LearnedContext(tower, config.texts, config.context_tokens)
        return AdaptedText(
            tower,
            config.texts,
            config.adapter_layers,
            config.adapter_weight,
            config.rules.learned_text_projection,
        )

    def forward(self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None) -> DSANetOutput:
        """One pass over padded bags.

        Args:
            features_BTD: T ≤ bag_length snippets per bag; the release variant needs T = bag_length.
            lengths_B: Number of valid snippets at the beginning of each bag, 1 … T; on the CPU.
            text_CD: The result of `text_embeddings`; passing it saves its recomputation where it is constant.

        Raises:
            ValueError: The bags do not fit the model.
        """
        length = features_BTD.shape[1]
        branches = self.branches(features_BTD, lengths_B, text_CD)
        event_BC, background_BC = self._prototype_logits(branches)
        scores_rec_BT, compact_B = self._reconstruction(branches, lengths_B, length)
        return DSANetOutput(
            anomaly_BT=to_length(branches.anomaly_BT, length).float(),
            classes_BTC=to_length(branches.classes_BTC, length).float(),
            event_BC=event_BC,
            background_BC=background_BC,
            text_CD=branches.text_CD.float(),
            video_BTD=to_length(branches.video_BTD, length).float(),
            scores_rec_BT=scores_rec_BT,
            compact_B=compact_B,
        )

    def _prototype_logits(self, branches: Branches) -> tuple[Tensor | None, Tensor | None]:
        """DCSA (section 3.3): event and background prototype against the classes, (B, C) each."""
        if not self.config.disentangled_alignment:
            return None, None
        weights = self.config.rules.prototype_weights
        event_BD, background_BD = prototypes(
            branches.video_BTD, branches.anomaly_BT, branches.ragged, weights
        )
        event_BC, background_BC = (
            class_logits(prototype_BD, branches.text_CD, self.config.temperature).float()
            for prototype_BD in (event_BD, background_BD)
        )
        return event_BC, background_BC

    def _reconstruction(
        self, branches: Branches, lengths_B: Tensor, length: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """SG-NM (section 3.2) in train mode: S_rec (B, length) and the videos' terms of L_compact (B,)."""
        if self.normality is None or not self.training:
            return None, None
        scores_rec_BT, compact_B = self.normality(
            branches.video_BTD, branches.anomaly_BT, branches.ragged, lengths_B
        )
        return to_length(scores_rec_BT, length).float(), compact_B

    def text_embeddings(self) -> Tensor:
        text_CD = super().text_embeddings()
        return F.normalize(text_CD, dim=-1) if self.config.rules.normalize_text else text_CD

    def loss_terms(self, output: DSANetOutput, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        """The seven terms of `dsanet.detectors.dsanet.losses`."""
        return loss_terms(output, labels_BC, lengths_B, self.config.rules)

    def loss_weights(self, train: TrainConfig) -> dict[str, float]:
        """Eq. (11): λ for L_align, 1 for the other terms."""
        return {"align": train.align_weight}

    def scores(self, output: DSANetOutput, lengths_B: Tensor, infer: InferConfig) -> dict[str, Tensor]:
        """Scores as of `Detector.scores`, and the prototypes' class distributions `event` and `background`.

        The prototypes' distributions are repeated for each snippet, so that the mean over a video's snippets
        weights its windows by their length.
        """
        arrays = super().scores(output, lengths_B, infer)
        if output.event_BC is not None and output.background_BC is not None:
            snippets = output.anomaly_BT.shape[1]
            arrays["event"] = output.event_BC.softmax(-1)[:, None].expand(-1, snippets, -1)
            arrays["background"] = output.background_BC.softmax(-1)[:, None].expand(-1, snippets, -1)
        return arrays

    def class_scores(self, output: DSANetOutput, infer: InferConfig) -> Tensor:
        """(B, T, C): belief modulation with temperature β."""
        return belief_modulation(output.anomaly_BT, output.classes_BTC, infer.beta)

    def normal_distance(self, output: DSANetOutput, lengths_B: Tensor) -> Tensor:
        """(B, T), in [0, 2]: smallest cosine distance of each snippet to a normal pattern (figure 5).

        Raises ValueError for a model without SG-NM.
        """
        if self.normality is None:
            raise InputError("normal distances need SG-NM; this model was built with normality = false")
        length = output.video_BTD.shape[1]
        valid_B = lengths_B if self.config.masks_padding else torch.full_like(lengths_B, length)
        ragged = RaggedBatch(valid_B, length, output.video_BTD.device)
        patterns_BKD, _ = self.normality.patterns(output.video_BTD, output.anomaly_BT, ragged)
        return 1 - nearest_cosine(output.video_BTD, patterns_BKD)


def _normality(config: ModelConfig) -> NormalityModel:
    return NormalityModel(
        config.feature_dim,
        config.normality_heads,
        config.patterns,
        config.decoder_layers,
        config.candidate_ratio,
        decoder_residuals=config.rules.decoder_residuals,
        learned_scale=config.rules.decoder_attention == "relu-cosine",
    )
