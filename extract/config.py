"""The settings of an extraction, and the fingerprint of the encoder that computes it.

`ExtractConfig` determines the features and is stored in every feature file; `ExtractRuntime` affects only
speed and error handling. This module does not import torch, so that reading a feature file does not load it.
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from extract.snippets import Sampling

FEATURE_DIM = 512
"""Width of a CLIP ViT-B/16 image embedding."""


class StrictModel(BaseModel):
    """Base of all settings and stored records: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExtractConfig(StrictModel):
    """Settings that determine the features of a video: one feature per snippet and crop.

    Frozen. Raises pydantic.ValidationError, a ValueError, for an unknown field or a value out of range.

    Examples:
        >>> from extract import ExtractConfig
        >>> ExtractConfig(crops=10, frame_pick="mean").snippet_length
        16
    """

    snippet_length: int = Field(default=16, ge=1, le=1024, description="frames per snippet")
    frame_pick: Literal["middle", "first", "mean"] = Field(
        default="middle",
        description="frame that represents a snippet; `mean` averages the embeddings of several frames",
    )
    mean_frames: int = Field(
        default=4, ge=1, le=64, description="evenly spaced frames averaged with frame_pick = mean"
    )
    keep_last: bool = Field(default=True, description="keep a last snippet shorter than snippet_length")
    crops: Literal[1, 5, 10] = Field(
        default=1, description="1: centre; 5: centre and four corners; 10: these and their mirror images"
    )
    weights: str = Field(
        default="openai",
        min_length=1,
        description="`openai` (download), `random` (trials) or the path of OpenAI's .pt, a state dict or "
        "safetensors",
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto",
        description="precision of the image tower; auto: fp16 on CUDA (as OpenAI's code), fp32 on a CPU",
    )

    @property
    def sampling(self) -> Sampling:
        """The fields that select frames."""
        return Sampling(self.snippet_length, self.frame_pick, self.mean_frames, self.keep_last)

    def same_features_as(self, other: "ExtractConfig") -> bool:
        """True if both configs give the same features with the same encoder.

        `weights` and `precision` are ignored: they only locate an encoder, its fingerprint identifies it.
        """
        return self == other.model_copy(update={"weights": self.weights, "precision": self.precision})


class ExtractRuntime(StrictModel):
    """Settings of a run that do not change the features it writes.

    Frozen. Raises pydantic.ValidationError, a ValueError, for an unknown field or a value out of range.

    Examples:
        >>> from extract import ExtractRuntime
        >>> ExtractRuntime(device="cpu", workers=4).timeout_s
        120.0
    """

    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda` or `cuda:1`")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="decoder processes; default: one per CPU core that this process may use",
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=4096, description="images per batch; default: 2 on a CPU, 256 on a GPU"
    )
    decoder: Literal["auto", "decord", "pyav"] = Field(
        default="auto", description="auto: decord where it is fastest and returns correct frames, else PyAV"
    )
    timeout_s: float = Field(
        default=120.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds without a frame after which a decoder is killed and its video listed as failed",
    )
    partial: bool = Field(default=False, description="keep the snippets before the damage of a damaged video")
    verify: bool = Field(
        default=False, description="compare the digest of each finished video, not only its size and mtime"
    )


class EncoderFingerprint(StrictModel):
    """Identity of an encoder: equal fingerprints give equal features."""

    architecture: str
    weights_digest: str
    """sha256 of the image tower (`extract.clip.visual_digest`); starts with `random-` for random weights."""
    preprocessing: str
    precision: Literal["fp32", "fp16", "bf16"]

    @property
    def digest(self) -> str:
        """First 16 hex digits of the fingerprint's sha256."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def same_features_as(self, other: "EncoderFingerprint") -> bool:
        """True if features of both may be mixed: equal except for the precision (cosine ≥ 0.995)."""
        return self == other.model_copy(update={"precision": self.precision})
