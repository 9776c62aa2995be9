"""What is computed (`ExtractConfig`), how it is run (`ExtractRuntime`), and by what (`EncoderFingerprint`).

The first is stored in every feature file and decides whether a file is up to date; the second
never changes a result. No torch in here: the feature store and its readers need none.
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from extract.snippets import Sampling

FEATURE_DIM = 512
"""Width of a CLIP ViT-B/16 image embedding."""


class StrictModel(BaseModel):
    """Base of all settings and records on disk: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExtractConfig(StrictModel):
    """What is computed, exactly; one feature for every `snippet_length` frames."""

    snippet_length: int = Field(default=16, ge=1, le=1024, description="frames a snippet stands for")
    frame_pick: Literal["middle", "first", "mean"] = Field(
        default="middle",
        description="frame that represents a snippet; `mean` averages several frames' embeddings",
    )
    mean_frames: int = Field(
        default=4, ge=1, le=64, description="frames averaged with frame_pick = mean, evenly spaced"
    )
    keep_last: bool = Field(default=True, description="a last, shorter snippet counts")
    crops: Literal[1, 5, 10] = Field(
        default=1, description="1: centre; 5: centre and the four corners; 10: those and their mirror images"
    )
    weights: str = Field(
        default="openai",
        min_length=1,
        description="`openai` (download), `random` (trials) or a path: OpenAI's .pt, state dict, safetensors",
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="of the image tower; auto: fp16 on CUDA (OpenAI's own), fp32 on a CPU"
    )

    @property
    def sampling(self) -> Sampling:
        """Which frames are read."""
        return Sampling(self.snippet_length, self.frame_pick, self.mean_frames, self.keep_last)

    def computes_as(self, other: "ExtractConfig") -> bool:
        """True if both give the same features of a video, given the same encoder.

        `weights` and `precision` say where an encoder comes from; what it is, its fingerprint says.
        """
        return self == other.model_copy(update={"weights": self.weights, "precision": self.precision})


class ExtractRuntime(StrictModel):
    """How it is run; no field changes a feature."""

    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`")
    workers: int | None = Field(
        default=None, ge=1, le=256, description="decoder processes; default: one a CPU core"
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=4096, description="images in a batch; default: 2 on a CPU, 256 on a GPU"
    )
    decoder: Literal["auto", "decord", "pyav"] = Field(
        default="auto", description="auto: decord where its frames are right, PyAV elsewhere"
    )
    timeout_s: float = Field(
        default=120.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds without a frame after which a video is given up and its decoder killed",
    )
    partial: bool = Field(default=False, description="keep the snippets before the damage of a damaged video")
    verify: bool = Field(
        default=False, description="check finished videos by the source's digest, not by size and mtime alone"
    )


class EncoderFingerprint(StrictModel):
    """What an encoder computes. Two encoders with one fingerprint give the same features."""

    architecture: str
    weights_digest: str
    """sha256 of the image tower (`extract.clip.visual_digest`); starts with `random-` for random weights."""
    preprocessing: str
    precision: Literal["fp32", "fp16", "bf16"]

    @property
    def digest(self) -> str:
        """Short hex name of the fingerprint."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def same_features_as(self, other: "EncoderFingerprint") -> bool:
        """True if features of both may be mixed: everything equal but the precision (cosine ≥ 0.995)."""
        return self == other.model_copy(update={"precision": self.precision})
