"""What DSANet is: its shape and switches, and its presets with the values of section 4.1.

What its config shares with other detectors' (training and inference among it) is in
`dsanet.detectors.config` and can be had from here too; where paper and release differ is in
`dsanet.detectors.dsanet.variant`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from dsanet.detectors.config import (
    CLASSES,
    PRESETS,
    UCF_CRIME_CLASSES,
    XD_VIOLENCE_CLASSES,
    InferConfig,
    Preset,
    TrainConfig,
    TwoBranchConfig,
    fit_classes,
    unknown_preset,
)
from dsanet.detectors.dsanet.variant import PAPER, RELEASE, Variant, variant_rules

if TYPE_CHECKING:
    from torch import nn

    from dsanet.detectors.base import Detector
    from dsanet.layers.clip_text import TextTower

__all__ = [
    "PAPER",
    "PRESETS",
    "RELEASE",
    "UCF_CRIME_CLASSES",
    "XD_VIOLENCE_CLASSES",
    "InferConfig",
    "ModelConfig",
    "Preset",
    "TrainConfig",
    "Variant",
    "classes_from_labels",
    "fit_classes",
    "preset",
    "variant_rules",
]


class ModelConfig(TwoBranchConfig):
    """DSANet's shape. Defaults are the paper's for UCF-Crime."""

    detector: Literal["dsanet"] = "dsanet"
    variant: Literal["paper", "release"] | Variant = Field(
        "paper", description="a name, or the rules one by one"
    )
    normality: bool = Field(True, description="SG-NM branch (table 5)")
    patterns: int = Field(16, ge=1, description="K: dynamic normal patterns")
    decoder_layers: int = Field(8, ge=1, le=24, description="of the reconstruction")
    normality_heads: int = Field(8, ge=1, description="of its attention")
    candidate_ratio: float = Field(
        0.8, gt=0, le=1, description="M: part of the snippets that count as normal candidates"
    )

    disentangled_alignment: bool = Field(True, description="DCSA: L_event and L_bkg (table 5)")

    text_tuning: Literal["frozen", "manual", "learned", "adapter"] = Field(
        "adapter",
        description="table 6: bare names, prompt_template, learned context, or adapters in the tower",
    )
    prompt_template: str = Field("a video of {label}", description="for text_tuning = manual")
    adapter_layers: int = Field(3, ge=1, le=12, description="L of section 3.4")
    adapter_weight: float = Field(0.1, ge=0, le=1, description="ω of eq. (10)")

    @property
    def rules(self) -> Variant:
        """The variant's differences, resolved."""
        return variant_rules(self.variant)

    @property
    def masks_padding(self) -> bool:
        """True: rows beyond a video's length take no part. The release's do."""
        return self.rules.mask_padding

    @property
    def texts(self) -> tuple[str, ...]:
        """What CLIP's text tower reads, one text a class."""
        if self.text_tuning != "manual":
            return super().texts
        return tuple(self.prompt_template.format(label=text) for text in super().texts)

    def build(self, text: "nn.Module | None" = None) -> "Detector":
        from dsanet.detectors.dsanet.model import DSANet

        return DSANet(self, text)

    def text_module(self, tower: "TextTower") -> "nn.Module":
        from dsanet.layers.clip_text import build_text

        return build_text(tower, self)

    @classmethod
    def preset(cls, name: str) -> Preset:
        """The paper's settings for a data set, or those of `small`. Raises ValueError for another name."""
        return preset(name)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.feature_dim % self.normality_heads:
            raise ValueError(f"normality_heads must divide feature_dim {self.feature_dim}")
        if "{label}" not in self.prompt_template:
            raise ValueError(f"prompt_template {self.prompt_template!r} does not contain {{label}}")
        return self


def preset(name: str) -> Preset:
    """DSANet's three configs of a preset. Raises ValueError for an unknown name."""
    if name == "ucf-crime":
        return Preset(ModelConfig(classes=UCF_CRIME_CLASSES), TrainConfig(), InferConfig())
    if name == "xd-violence":
        return Preset(
            ModelConfig(
                classes=XD_VIOLENCE_CLASSES, layers=1, window=64, adapter_layers=1, adapter_weight=0.6
            ),
            TrainConfig(batch_size=96, balanced=False, lr=1e-5, align_weight=5.0),
            InferConfig(beta=1.0),
        )
    if name == "small":
        return Preset(
            # In clips of a dozen snippets a window of 8 smears an event over all of the clip.
            ModelConfig(bag_length=64, layers=1, window=2, decoder_layers=1),
            TrainConfig(epochs=60, batch_size=8, lr=2e-4),
            InferConfig(beta=1.0),
        )
    raise unknown_preset(name)


def classes_from_labels(labels: Iterable[str], preset_name: str) -> tuple[str, ...]:
    """The class list for these labels, `normal` first: the preset's own if they fit into it, else sorted."""
    if preset_name not in CLASSES:
        raise unknown_preset(preset_name)
    return fit_classes(labels, CLASSES[preset_name])
