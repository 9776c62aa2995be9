"""What a detector is to training, inference and checkpoints: the one protocol that all of them implement.

Its config builds it (`DetectorConfig.build`); it runs on padded bags, names its loss terms, and turns
its output into scores. Nobody outside a detector's own file asks which one it is.

B bags, T rows, D width, C classes (0 = normal).
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from dsanet.detectors.config import DetectorConfig, InferConfig, TextConfig, TrainConfig
from dsanet.layers.belief import belief_modulation
from dsanet.layers.clip_text import TextTower
from extract.clip import build_clip


class Output(Protocol):
    """What every detector's `forward` gives, float32; rows beyond a bag's length mean nothing."""

    @property
    def anomaly_BT(self) -> Tensor:  # noqa: N802
        """Logits: sigmoid of them is the anomaly score."""

    @property
    def classes_BTC(self) -> Tensor | None:  # noqa: N802
        """Logits of the classes; None from a detector that tells only normal from anomalous."""

    @property
    def video_BTD(self) -> Tensor:  # noqa: N802
        """The features that the scores are made from."""


class Detector(nn.Module):
    """Base of all detectors. `terms` are the names of its loss terms.

    `text` is the module that embeds the classes, where there is one: calling it gives (C, D). One that is
    given (a checkpoint's constant embeddings, an imported tower) takes the place of the config's; without
    it the tower comes from `clip_weights`, and FileNotFoundError says so where it can't be had.
    """

    terms: ClassVar[tuple[str, ...]]

    def __init__(self, config: DetectorConfig, text: nn.Module | None = None) -> None:
        super().__init__()
        if not config.classes:
            raise ValueError("the model's classes are empty; set them, or take them from the labels")
        if text is None and isinstance(config, TextConfig):
            text = config.text_module(text_tower(config.clip_weights))
        self.config = config
        self.text = text

    def forward(self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None) -> Output:
        """One pass over bags of which the first `lengths_B` rows (1 … T) are true.

        `text_CD`, from `text_embeddings`, saves computing it again where it doesn't change.
        """
        raise NotImplementedError

    def loss_terms(self, output: Output, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        """The terms by name, scalars, not yet weighed. `labels_BC` are multi-hot, column 0 = normal."""
        raise NotImplementedError

    def loss_weights(self, train: TrainConfig) -> Mapping[str, float]:
        """Weights of the terms; 1 for a term that is not named."""
        return {}

    def total_loss(self, terms: Mapping[str, Tensor], train: TrainConfig) -> Tensor:
        """The weighted sum of the terms."""
        weights = self.loss_weights(train)
        return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()

    def text_embeddings(self) -> Tensor | None:
        """(C, D), or None without text. Where the text is tuned they change with each step; never cached."""
        return None if self.text is None else self.text()

    def scores(self, output: Output, lengths_B: Tensor, infer: InferConfig) -> dict[str, Tensor]:
        """What a score file holds of each row, by name, (B, T) or (B, T, …).

        `anomaly` in [0, 1] and, where the detector knows them, `classes`: distributions over C.
        """
        arrays = {"anomaly": torch.sigmoid(output.anomaly_BT)}
        classes_BTC = self.class_scores(output, infer)
        if classes_BTC is not None:
            arrays["classes"] = classes_BTC
        if infer.learned_features:
            arrays["learned"] = output.video_BTD
        if infer.normal_distance:
            arrays["normal_distance"] = self.normal_distance(output, lengths_B)
        return arrays

    def class_scores(self, output: Output, infer: InferConfig) -> Tensor | None:
        """(B, T, C) distributions: the anomaly score, shared among the anomaly classes by their logits."""
        if output.classes_BTC is None:
            return None
        return belief_modulation(output.anomaly_BT, output.classes_BTC, beta=1.0)

    def normal_distance(self, output: Output, lengths_B: Tensor) -> Tensor:
        """(B, T): smallest cosine distance of each row to its video's normal patterns; ValueError without."""
        raise ValueError(f"normal distances need SG-NM, which {self.config.detector} has not")

    def own_state(self) -> dict[str, Tensor]:
        """Copies of the model's tensors on the CPU, without CLIP's frozen tower."""
        state = self.state_dict()
        return {
            name: t.detach().cpu().clone() for name, t in state.items() if not name.startswith("text.tower.")
        }


def text_tower(clip_weights: str) -> TextTower:
    """CLIP's text tower, frozen. Raises FileNotFoundError where its weights can't be had."""
    return TextTower(build_clip(clip_weights)[0])
