"""The settings of VadCLIP; the detector is `dsanet.detectors.vadclip`."""

from typing import Literal

from pydantic import Field

from dsanet.detectors.config import CLASSES, InferConfig, Preset, TrainConfig, TwoBranchConfig, unknown_preset


class VadCLIPConfig(TwoBranchConfig):
    """Architecture and loss weight; defaults are those of paper and release for UCF-Crime."""

    detector: Literal["vadclip"] = "vadclip"
    separation: float = Field(0.1, ge=0, description="weight of the mean |cos(normal, class)|")
    mask_padding: bool = Field(
        True, description="positions beyond a video's length are excluded. Release: included"
    )

    @property
    def masks_padding(self) -> bool:
        return self.mask_padding

    @property
    def learned_tokens(self) -> int:
        return 2 * self.context_tokens

    @classmethod
    def preset(cls, name: str) -> Preset:
        if name == "ucf-crime":
            train = TrainConfig(lr=2e-5, milestones=(4, 8), align_weight=1.0)
            return Preset(cls(classes=CLASSES[name]), train, InferConfig())
        if name == "xd-violence":
            train = TrainConfig(
                batch_size=96, balanced=False, lr=1e-5, milestones=(3, 6, 10), align_weight=1.0
            )
            model = cls(classes=CLASSES[name], layers=1, window=64, separation=1e-4)
            return Preset(model, train, InferConfig())
        if name == "small":
            # Two learned vectors: the text tower dominates the time of a step on a CPU.
            model = cls(bag_length=64, layers=1, window=2, context_tokens=2)
            train = TrainConfig(epochs=40, batch_size=8, lr=2e-4, align_weight=1.0)
            return Preset(model, train, InferConfig())
        raise unknown_preset(name)
