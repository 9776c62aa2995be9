"""The interface of every detector for training, inference and checkpoints.

A detector runs on padded bags, names its loss terms and turns its output into scores. Code outside a
detector's own module uses this interface only.

B bags, T snippets, D width, C classes (0 = normal).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dsanet.detectors.config import DetectorConfig, InferConfig, TextConfig, TrainConfig
from dsanet.layers.belief import belief_modulation
from dsanet.layers.clip_text import TextTower
from extract.clip import build_clip
from extract.errors import InputError


class Output(Protocol):
    """Fields that every detector's output has, in float32. Positions beyond a bag's length are undefined."""

    @property
    def anomaly_BT(self) -> Tensor:  # noqa: N802
        """Anomaly logits; their sigmoid is the anomaly score."""

    @property
    def classes_BTC(self) -> Tensor | None:  # noqa: N802
        """Class logits; None from a detector without anomaly classes."""

    @property
    def video_BTD(self) -> Tensor:  # noqa: N802
        """Features that the scores are computed from."""


OutputT = TypeVar("OutputT", bound=Output)


class Detector(nn.Module, Generic[OutputT]):
    """Base class of all detectors; `OutputT` is the type that `forward` returns.

    `text` is the module that embeds the classes: called without arguments it returns (C, D). If it is given
    (a checkpoint's constant embeddings, an imported tower) it replaces the one that the config asks for;
    otherwise a config with text loads CLIP's text tower from `clip_weights`. Raises ValueError for a config
    without classes and FileNotFoundError for CLIP weights that are not available.
    """

    terms: ClassVar[tuple[str, ...]]
    """Names of the loss terms, in the order of `loss_terms`."""

    def __init__(self, config: DetectorConfig, text: nn.Module | None = None) -> None:
        super().__init__()
        if not config.classes:
            raise ValueError("the model's classes are empty; set them, or derive them from the labels")
        if text is None and isinstance(config, TextConfig):
            text = self.text_module(config, load_text_tower(config.clip_weights))
        self.config = config
        self.text = text

    @staticmethod
    def text_module(config: Any, tower: TextTower) -> nn.Module:
        """The module that embeds the classes of `config`, a `TextConfig`: its call returns (C, D)."""
        raise NotImplementedError

    def forward(self, features_BTD: Tensor, lengths_B: Tensor, text_CD: Tensor | None = None) -> OutputT:
        """One pass over padded bags whose first `lengths_B` (1 … T) snippets are valid.

        `lengths_B` is on the CPU, whatever the device of the features (`layers.ragged`). `text_CD` is the
        result of `text_embeddings`; passing it saves its recomputation where it is constant.
        """
        raise NotImplementedError

    def loss_terms(self, output: OutputT, labels_BC: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        """Unweighted scalar loss terms by name. `labels_BC` are multi-hot, column 0 = normal.

        Labels and lengths are on the CPU, whatever the device of the output.
        """
        raise NotImplementedError

    def loss_weights(self, train: TrainConfig) -> Mapping[str, float]:
        """Weights of the loss terms; a term that is not named has weight 1."""
        return {}

    def total_loss(self, terms: Mapping[str, Tensor], train: TrainConfig) -> Tensor:
        """The weighted sum of the terms."""
        weights = self.loss_weights(train)
        return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()

    def text_embeddings(self) -> Tensor | None:
        """(C, D) class embeddings, None without text. If the text is tuned they change with each update."""
        return None if self.text is None else self.text()

    def scores(self, output: OutputT, lengths_B: Tensor, infer: InferConfig) -> dict[str, Tensor]:
        """Score arrays by name, (B, T) or (B, T, …), as the score file holds them.

        `anomaly` in [0, 1]; `classes`, distributions over C, if the detector has anomaly classes; `learned`
        and `normal_distance` as `infer` asks.
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

    def class_scores(self, output: OutputT, infer: InferConfig) -> Tensor | None:
        """(B, T, C) distributions: the anomaly score, divided among the anomaly classes by their logits."""
        if output.classes_BTC is None:
            return None
        return belief_modulation(output.anomaly_BT, output.classes_BTC, beta=1.0)

    def normal_distance(self, output: OutputT, lengths_B: Tensor) -> Tensor:
        """(B, T): smallest cosine distance of each snippet to its video's normal patterns.

        Raises ValueError for a detector without normal patterns.
        """
        raise InputError(f"normal distances need SG-NM, which the detector {self.config.detector} lacks")

    def own_state(self) -> dict[str, Tensor]:
        """Copies of the model's tensors on the CPU, without CLIP's frozen tower."""
        state = self.state_dict()
        return {
            name: t.detach().cpu().clone() for name, t in state.items() if not name.startswith("text.tower.")
        }


def load_text_tower(clip_weights: str) -> TextTower:
    """CLIP's frozen text tower. Raises FileNotFoundError if the weights are not available."""
    return TextTower(build_clip(clip_weights)[0])
