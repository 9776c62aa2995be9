"""The settings of the detector `dsanet.detectors.vla_gated`, by Zhao et al."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from dsanet.detectors.config import (
    CLASSES,
    InferConfig,
    Preset,
    SegmentedConfig,
    TextConfig,
    TrainConfig,
    unknown_preset,
)
from extract.errors import InputError


class VLAGatedConfig(SegmentedConfig, TextConfig):
    """Architecture and loss weights; defaults are the paper's unless the description says otherwise."""

    feature_note: ClassVar[str] = (
        "CLIP ViT-B/16 features and text in place of the I3D and ViT-B/32 of Zhao et al."
    )

    detector: Literal["vla-gated"] = "vla-gated"
    bag_length: int = Field(
        200, ge=2, le=4096, description="S: segments that a training video is averaged to"
    )
    templates: tuple[str, ...] = Field(
        ("a video of {} happening", "a surveillance video of {}"),
        min_length=1,
        description="prompt templates; {} is the class name",
    )
    dilations: tuple[int, ...] = Field(
        (1, 2, 4), description="dilations of the multi-scale fusion; not in the paper"
    )
    memory_slots: int = Field(60, ge=1, description="K: slots per memory bank, as in UR-DMU")
    layers: int = Field(1, ge=1, le=24, description="layers of the transformer encoder; not in the paper")
    heads: int = Field(4, ge=1, description="attention heads of the transformer encoder; not in the paper")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout in the transformer encoder; not in the paper"
    )
    modulation: float = Field(
        0.02,
        gt=0,
        description="initial gain of the LayerNorm in (2); with 1 the modulation is √D times as long as a "
        "class embedding and all classes start alike. Not in the paper",
    )
    gate: float = Field(0.0, description="initial value of g in (6); not in the paper")
    aligned: float = Field(
        1 / 16, gt=0, le=1, description="r of (12): part of the segments that is aligned; not in the paper"
    )
    calm: float = Field(1.0, ge=0, description="α of (11); not in the paper")
    align_weight: float = Field(1.0, ge=0, description="λ1 of (9); not in the paper")
    class_weight: float = Field(1.0, ge=0, description="λ2 of (9); not in the paper")
    consistency_weight: float = Field(1.0, ge=0, description="λ3 of (9); not in the paper")

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if "{}" not in template:
                raise InputError(f"template {template!r} has no {{}} for the class name")
        return templates

    @property
    def encoded_texts(self) -> tuple[str, ...]:
        return tuple(template.format(text) for text in self.texts for template in self.templates)

    @classmethod
    def preset(cls, name: str) -> Preset:
        if name not in CLASSES:
            raise unknown_preset(name)
        # The paper's batch of 32 is read as 16 normal and 16 anomalous bags; no plateau patience is given.
        source = TrainConfig(
            steps=3000, batch_size=16, optimizer="adam", lr=2e-4, weight_decay=0.0, plateau=10
        )
        if name == "small":
            source = source.model_copy(update={"steps": None, "epochs": 60, "batch_size": 8, "plateau": None})
            return Preset(cls(bag_length=16), source, InferConfig())
        return Preset(cls(classes=CLASSES[name]), source, InferConfig())
