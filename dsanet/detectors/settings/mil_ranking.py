"""The settings of the MIL ranking of Sultani et al.; the detector is `dsanet.detectors.mil_ranking`."""

from typing import ClassVar, Literal

from pydantic import Field

from dsanet.detectors.config import CLASSES, InferConfig, Preset, SegmentedConfig, TrainConfig, unknown_preset


class MILRankingConfig(SegmentedConfig):
    """Architecture and loss weights; defaults are the paper's."""

    feature_note: ClassVar[str] = "CLIP features in place of the C3D of Sultani et al."

    detector: Literal["mil-ranking"] = "mil-ranking"
    hidden: tuple[int, int] = Field((512, 32), description="widths of the hidden layers")
    dropout: float = Field(0.6, ge=0, lt=1, description="dropout after each hidden layer")
    smoothness: float = Field(8e-5, ge=0, description="weight of the squared differences of adjacent scores")
    sparsity: float = Field(8e-5, ge=0, description="weight of the sum of the anomalous videos' scores")
    decay: float = Field(1e-3, ge=0, description="weight of the squared weights (L2)")

    @classmethod
    def preset(cls, name: str) -> Preset:
        if name not in CLASSES:
            raise unknown_preset(name)
        source = TrainConfig(steps=20_000, batch_size=30, optimizer="adagrad", lr=1e-3, weight_decay=0.0)
        if name == "small":
            source = source.model_copy(update={"steps": None, "epochs": 150, "batch_size": 8, "lr": 1e-2})
            return Preset(cls(bag_length=16), source, InferConfig())
        return Preset(cls(classes=CLASSES[name]), source, InferConfig())
