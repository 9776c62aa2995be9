"""Where the paper and the authors' release of DSANet differ: one field a difference.

The two named sets are `PAPER` and `RELEASE`.
"""

from typing import Literal

from pydantic import Field

from extract.config import StrictModel


class Variant(StrictModel):
    """The differences between the paper (the defaults) and the authors' release."""

    mask_padding: bool = Field(
        True,
        description="rows beyond a video's length take no part (the paper is silent). Release: they do, in "
        "the local attention, the distance graph, the visual cue, the prototypes and the bottom-M choice",
    )
    decoder_residuals: bool = Field(
        True,
        description="residual around the attention of every decoder layer but the first. Release: of none",
    )
    decoder_attention: Literal["softmax", "relu-cosine"] = Field(
        "softmax",
        description="release: ReLU of scaled cosines with a learned scale a head, not normalised to sum 1",
    )
    prototype_weights: Literal["softmax", "exponential"] = Field(
        "softmax",
        description="eq. (5): softmax(s) and 1 − softmax(s). Release: exp(10·σ(s)) − 1 and "
        "exp(10·(1 − σ(s))) − 1, each L1-normalised",
    )
    learned_text_projection: bool = Field(
        False,
        description="release: a bias-free linear + LeakyReLU takes the place of CLIP's text projection in "
        "text_tuning = adapter",
    )
    normalize_text: bool = Field(
        False, description="release: class embeddings have length 1 before the cue is added"
    )
    detection_in_log_space: bool = Field(
        True,
        description="L_det from log-sigmoids: a score far on the wrong side still learns. Release: from "
        "probabilities, a logarithm cut off at −100 and without gradient there",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of L_event and L_bkg. Release: 0.1")
    background_floor: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="target of L_bkg for each anomaly class beside 1 for normal, before it is made to "
        "sum to 1. Release: 0.01",
    )
    mean_separation: bool = Field(
        False, description="L_sep: the sum of eq. (6). Release: divided by the number of anomaly classes"
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
    """The rules behind a variant's name, or the given ones. Raises ValueError for an unknown name."""
    if isinstance(variant, Variant):
        return variant
    if variant not in ("paper", "release"):
        raise ValueError(f"unknown variant {variant!r}; expected paper or release")
    return PAPER if variant == "paper" else RELEASE
