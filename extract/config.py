"""The settings of an extraction, and the fingerprint of the encoder that computes it.

`ExtractConfig` determines the features and is stored in every feature file; `ExtractRuntime` affects only
speed and error handling. This module does not import torch, so that reading a feature file does not load it.
"""

import hashlib
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from extract.snippets import Sampling
from extract.views import CENTRE, MIRRORED_CENTRE, WHOLE_PICTURE, Colour, Resampling, Resize, Views

FEATURE_DIM = 512
"""Width of a CLIP ViT-B/16 image embedding."""


PUBLISHED = "published"
"""Weights digest of features that were imported from arrays: which weights made them is not recorded."""
EVERY_SETTING = {"every_setting": True}
"""Context of `model_dump` that keeps the settings which are left out at their default."""
_LEFT_OUT_AT_DEFAULT = ("frame_offset", "resize", "resampling", "antialias", "colour", "crop", "normalise")
"""Settings of later versions: left out, files and cache keys are those of the versions before them."""
COMPARED_SETTINGS = (
    "snippet_length",
    "frame_pick",
    "mean_frames",
    "frame_offset",
    "resize",
    "resampling",
    "antialias",
    "colour",
    "normalise",
)
"""Settings that must be equal in features that are trained or scored together."""


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
    frame_pick: Literal["middle", "first", "last", "mean"] = Field(
        default="middle",
        description="frame that represents a snippet; `mean` averages the embeddings of several frames",
    )
    mean_frames: int = Field(
        default=4, ge=1, le=64, description="evenly spaced frames averaged with frame_pick = mean"
    )
    frame_offset: int = Field(
        default=0,
        ge=-4096,
        le=4096,
        description="added to the number of every chosen frame, within the video",
    )
    keep_last: bool = Field(default=True, description="keep a last snippet shorter than snippet_length")
    resize: Resize = Field(
        default="shorter-224",
        description="shorter-224: shorter side to 224 pixels, as CLIP; shorter-256, 340x256: crops are cut "
        "from a larger picture; squash: whole picture, stretched; letterbox: whole picture with black bars",
    )
    resampling: Resampling = Field(default="bicubic", description="interpolation of resize")
    antialias: bool = Field(
        default=True, description="reduce pictures as PIL does; false: as OpenCV and plain torch do"
    )
    colour: Colour = Field(default="rgb", description="order of the colours given to CLIP, which expects rgb")
    crops: Literal[1, 5, 10] = Field(
        default=1, description="1: centre; 5: centre and four corners; 10: these and their mirror images"
    )
    crop: int = Field(
        default=CENTRE,
        ge=0,
        le=9,
        description="the crop that is taken with crops = 1, numbered as the ten are; 5: the mirrored centre",
    )
    normalise: bool = Field(default=False, description="scale every feature to length 1")
    weights: str = Field(
        default="openai",
        min_length=1,
        description="`openai` (download), `random` (trials) or the path of OpenAI's .pt, a state dict or "
        "safetensors",
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto",
        description="precision of the image tower; auto: fp16 on CUDA (as OpenAI's code); bf16 on a CPU that "
        "computes in it and where it changes nothing (cosine ≥ 0.999), else fp32",
    )

    @property
    def sampling(self) -> Sampling:
        """The fields that select frames."""
        return Sampling(
            self.snippet_length, self.frame_pick, self.mean_frames, self.keep_last, self.frame_offset
        )

    @property
    def views(self) -> Views:
        """The fields that make pictures for CLIP from a frame."""
        crops = (self.crop,) if self.crops == 1 else tuple(range(self.crops))
        return Views(crops, self.resize, self.resampling, self.antialias, self.colour)

    @model_validator(mode="after")
    def _crops_exist(self) -> "ExtractConfig":
        if self.crops > 1 and self.crop != CENTRE:
            raise ValueError(f"crop = {self.crop} selects one crop, but crops = {self.crops}; set crops = 1")
        if self.resize in WHOLE_PICTURE and (self.crops > 1 or self.crop not in (CENTRE, MIRRORED_CENTRE)):
            raise ValueError(
                f"resize = {self.resize} keeps the whole picture; set crops = 1, and crop = 0 or, mirrored, 5"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_later_defaults(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if info.context == EVERY_SETTING:
            return values
        fields = type(self).model_fields
        return {
            name: value
            for name, value in values.items()
            if name not in _LEFT_OUT_AT_DEFAULT or value != fields[name].default
        }

    def same_features_as(self, other: "ExtractConfig") -> bool:
        """True if both configs give the same features with the same encoder.

        `weights` and `precision` are ignored: they only locate an encoder, its fingerprint identifies it.
        """
        if self == other:  # the usual case, and a copy takes most of the time
            return True
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
    devices: Literal["all"] | tuple[str, ...] | None = Field(
        default=None,
        description="devices of this machine that share an extraction or a training, one process each, in "
        "place of `device`: `all` CUDA cards, or a list",
    )
    runner: Literal["local", "ray"] = Field(
        default="local",
        description="where videos are extracted and scored: here, or on the nodes of a Ray cluster",
    )
    ray_address: str | None = Field(
        default=None,
        min_length=1,
        description="HOST:PORT of the Ray cluster's head; `auto`: the cluster that this machine belongs to; "
        "`local`: a Ray of this machine alone; default: the variable RAY_ADDRESS, or auto",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="decoder processes; default: one per CPU core that this process may use; with runner = "
        "ray, the cores of each task",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="images per batch; default: 2 on a CPU, in bf16 4, and at most 32; on a GPU 256",
    )
    decoder: Literal["auto", "pyav", "decord", "torchcodec", "nvdec"] = Field(
        default="auto",
        description="auto, pyav: PyAV, the fastest decoder that returns correct frames; on request: decord, "
        "torchcodec (on the CPU), nvdec (torchcodec on the CUDA card, not measured yet)",
    )
    timeout_s: float = Field(
        default=120.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds without a frame after which a decoder is killed and its video listed as failed",
    )
    cache_gb: float = Field(
        default=20.0,
        gt=0,
        allow_inf_nan=False,
        description="gigabytes of the local disk for copies of videos in an object store; a larger video is "
        "copied alone",
    )
    partial: bool = Field(default=False, description="keep the snippets before the damage of a damaged video")
    verify: bool = Field(
        default=False, description="compare the digest of each finished video, not only its size and mtime"
    )

    @model_validator(mode="after")
    def _no_credentials(self) -> "ExtractRuntime":
        if self.ray_address is not None and ("@" in self.ray_address or "://" in self.ray_address):
            raise ValueError(
                "ray_address is no URL and holds no credentials; expected HOST:PORT, auto or local "
                "(the token of a cluster is given by RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
            )
        return self


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
        """True if features of both may be mixed: equal except for the precision (cosine ≥ 0.999).

        Published arrays do not say which weights made them: they go with every encoder of the architecture.
        """
        if PUBLISHED in (self.weights_digest, other.weights_digest):
            return self.architecture == other.architecture
        return self == other or self == other.model_copy(update={"precision": self.precision})
