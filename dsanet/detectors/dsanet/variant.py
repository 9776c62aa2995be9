"""Differences between DSANet's paper and the authors' release, one field each.

The two named sets of values are `PAPER` and `RELEASE`.
"""

from typing import Literal

from pydantic import Field

from extract.config import StrictModel


class Variant(StrictModel):
    """One value per difference; the defaults are the paper's."""

    mask_padding: bool = Field(
        True,
        description="positions beyond a video's length are excluded (not specified in the paper). Release: "
        "they enter the local attention, the distance graph, the visual cue, the prototypes and the bottom-M "
        "selection",
    )
    decoder_residuals: bool = Field(
        True,
        description="residual around the attention of all decoder layers but the first. Release: of none",
    )
    decoder_attention: Literal["softmax", "relu-cosine"] = Field(
        "softmax",
        description="release: ReLU of cosines times a learned scale per head, not normalised to sum 1",
    )
    prototype_weights: Literal["softmax", "exponential"] = Field(
        "softmax",
        description="eq. (5): softmax(s) and 1 − softmax(s). Release: exp(10·σ(s)) − 1 and "
        "exp(10·(1 − σ(s))) − 1, each L1-normalised",
    )
    learned_text_projection: bool = Field(
        False,
        description="release: a bias-free linear layer with LeakyReLU replaces CLIP's text projection if "
        "text_tuning is adapter",
    )
    normalize_text: bool = Field(
        False, description="release: class embeddings are normalised before the visual cue is added"
    )
    detection_in_log_space: bool = Field(
        True,
        description="L_det from log-sigmoids, with a gradient for saturated scores. Release: from "
        "probabilities, with the logarithm clipped at −100 and no gradient there",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="label smoothing of L_event and L_bkg. Release: 0.1"
    )
    background_floor: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="target of L_bkg for each anomaly class before normalisation (normal: 1). Release: 0.01",
    )
    mean_separation: bool = Field(
        False, description="L_sep: the sum of eq. (6). Release: its mean over the anomaly classes"
    )


PAPER = Variant()
RELEASE = Variant(
    mask_padding=False,
    decoder_residuals=False,
    decoder_attention="relu-cosine",
    prototype_weights="exponential",
    learned_text_projection=True,
    normalize_text=True,
    detection_in_log_space=False,
    label_smoothing=0.1,
    background_floor=0.01,
    mean_separation=True,
)


def variant_rules(variant: "str | Variant") -> Variant:
    """The rules of a named variant, or the given rules. Raises ValueError for an unknown name."""
    if isinstance(variant, Variant):
        return variant
    if variant not in ("paper", "release"):
        raise ValueError(f"unknown variant {variant!r}; expected paper or release")
    return PAPER if variant == "paper" else RELEASE
