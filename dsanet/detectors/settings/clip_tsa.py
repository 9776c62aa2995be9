"""The settings of CLIP-TSA; the detector is `dsanet.detectors.clip_tsa`."""

from typing import Literal

from pydantic import Field

from dsanet.detectors.config import CLASSES, InferConfig, Preset, SegmentedConfig, TrainConfig, unknown_preset


class CLIPTSAConfig(SegmentedConfig):
    """Architecture and loss weights; defaults are the paper's for UCF-Crime."""

    detector: Literal["clip-tsa"] = "clip-tsa"
    scorer_hidden: int = Field(256, ge=1, description="width of the scorer's hidden layer")
    nominated: float = Field(
        0.95, gt=0, le=1, description="κ: part of the segments that the perturbed top-κ selects"
    )
    samples: int = Field(100, ge=1, description="M: noise samples")
    noise: float = Field(0.05, gt=0, description="σ: standard deviation of the noise added to the scores")
    dilations: tuple[int, ...] = Field((1, 2, 4), description="dilations of the width-3 convolutions")
    hidden: tuple[int, int] = Field((128, 32), description="widths of the classifier's hidden layers")
    dropout: float = Field(
        0.7, ge=0, lt=1, description="dropout in the classifier and in the selection by magnitude"
    )
    chosen: float = Field(
        0.1, gt=0, le=1, description="part of the segments, by magnitude, that represents the video"
    )
    margin: float = Field(100.0, gt=0, description="target magnitude of an anomalous video's mean feature")
    magnitude: float = Field(1e-4, ge=0, description="weight of the feature magnitude loss")
    smoothness: float = Field(8e-4, ge=0, description="weight of the squared differences of adjacent scores")
    sparsity: float = Field(8e-3, ge=0, description="weight of the L2 norm of the anomalous bags' scores")

    @classmethod
    def preset(cls, name: str) -> Preset:
        if name not in CLASSES:
            raise unknown_preset(name)
        source = TrainConfig(steps=4000, batch_size=16, optimizer="adam", lr=1e-3, weight_decay=5e-3)
        if name == "small":
            source = source.model_copy(update={"steps": None, "epochs": 200, "batch_size": 8, "lr": 1e-4})
            return Preset(cls(bag_length=16), source, InferConfig())
        nominated = 0.95 if name == "ucf-crime" else 0.9
        return Preset(cls(classes=CLASSES[name], nominated=nominated), source, InferConfig())
