"""DSANet's architecture settings and presets (section 4.1). `variant` holds paper against release."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from dsanet.detectors.config import (
    CLASSES,
    InferConfig,
    Preset,
    TrainConfig,
    TwoBranchConfig,
    unknown_preset,
)
from dsanet.detectors.dsanet.variant import Variant, variant_rules
from extract.errors import InputError


class ModelConfig(TwoBranchConfig):
    """DSANet's architecture. Defaults are the paper's for UCF-Crime."""

    detector: Literal["dsanet"] = "dsanet"
    variant: Literal["paper", "release"] | Variant = Field(
        "paper", description="`paper`, `release`, or single rules (see Variant)"
    )
    normality: bool = Field(True, description="SG-NM branch (table 5)")
    patterns: int = Field(16, ge=1, description="K: dynamic normal patterns per video")
    decoder_layers: int = Field(8, ge=1, le=24, description="layers of the reconstruction decoder")
    normality_heads: int = Field(8, ge=1, description="attention heads of SG-NM")
    candidate_ratio: float = Field(
        0.8, gt=0, le=1, description="M: part of a video's snippets that are normal candidates"
    )

    disentangled_alignment: bool = Field(True, description="DCSA: L_event and L_bkg (table 5)")

    text_tuning: Literal["frozen", "manual", "learned", "adapter"] = Field(
        "adapter",
        description="class embeddings (table 6): bare names, prompt_template, learned context, or adapters "
        "in the text tower",
    )
    prompt_template: str = Field(
        "a video of {label}", description="prompt of each class if text_tuning is manual"
    )
    adapter_layers: int = Field(3, ge=1, le=12, description="L: text blocks with an adapter (section 3.4)")
    adapter_weight: float = Field(0.1, ge=0, le=1, description="ω: weight of the adapters (eq. 10)")

    @property
    def rules(self) -> Variant:
        """The values of `variant`."""
        return variant_rules(self.variant)

    @property
    def masks_padding(self) -> bool:
        return self.rules.mask_padding

    @property
    def texts(self) -> tuple[str, ...]:
        if self.text_tuning != "manual":
            return super().texts
        return tuple(self.prompt_template.format(label=text) for text in super().texts)

    @property
    def learned_tokens(self) -> int:
        return 2 * self.context_tokens if self.text_tuning == "learned" else 0

    @classmethod
    def preset(cls, name: str) -> Preset:
        if name == "ucf-crime":
            return Preset(cls(classes=CLASSES[name]), TrainConfig(), InferConfig())
        if name == "xd-violence":
            model = cls(classes=CLASSES[name], layers=1, window=64, adapter_layers=1, adapter_weight=0.6)
            train = TrainConfig(batch_size=96, balanced=False, lr=1e-5, align_weight=5.0)
            return Preset(model, train, InferConfig(beta=1.0))
        if name == "small":
            # A window of 8 spreads an event over a whole clip of a dozen snippets; 2 keeps it in place.
            model = cls(bag_length=64, layers=1, window=2, decoder_layers=1)
            return Preset(model, TrainConfig(epochs=60, batch_size=8, lr=2e-4), InferConfig(beta=1.0))
        raise unknown_preset(name)

    @model_validator(mode="after")
    def _check_heads_and_template(self) -> Self:
        if self.feature_dim % self.normality_heads:
            raise InputError(f"normality_heads must divide feature_dim {self.feature_dim}")
        if "{label}" not in self.prompt_template:
            raise InputError(f"prompt_template {self.prompt_template!r} does not contain {{label}}")
        return self
