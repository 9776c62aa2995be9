"""What the configs of all detectors have in common: closed, typed, recorded in every checkpoint.

A detector's own config says what the detector is, builds it, and knows its source's settings by the
name of a preset; how it is trained and how it scores are the same kinds of values for all.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator
from typing_extensions import Self

from extract.config import FEATURE_DIM, StrictModel
from extract.labels import NORMAL, UCF_CRIME_CLASSES, XD_VIOLENCE_CLASSES

if TYPE_CHECKING:
    from torch import nn

    from dsanet.detectors.base import Detector
    from dsanet.layers.clip_text import TextTower

PRESETS = ("ucf-crime", "xd-violence", "small")
CLASSES = {"ucf-crime": UCF_CRIME_CLASSES, "xd-violence": XD_VIOLENCE_CLASSES, "small": ()}
"""The class list of each preset; empty: taken from the training labels."""


class DetectorConfig(StrictModel):
    """What every detector's config says. A subclass names its `detector`, builds it and has its presets."""

    stand_in: ClassVar[str] = ""
    """What a report must say where the source has other features than CLIP's."""

    detector: str = Field(description="the detector that the other values belong to; --detector changes it")
    classes: tuple[str, ...] = Field((), description="`normal` first; empty: taken from the training labels")
    feature_dim: int = Field(FEATURE_DIM, ge=2, multiple_of=2, description="D")
    bag_length: int = Field(
        256, ge=1, le=4096, description="T: snippets of a bag, and of an inference window"
    )

    def build(self, text: "nn.Module | None" = None) -> "Detector":
        """The detector, its weights freshly drawn. `text` takes the place of the config's text module."""
        raise NotImplementedError

    @classmethod
    def preset(cls, name: str) -> "Preset":
        """The source's settings for a data set, or those of `small`. Raises ValueError for another name."""
        raise NotImplementedError

    @property
    def segmented(self) -> bool:
        """True: a bag is a whole video in exactly `bag_length` segments, a short video's rows repeated."""
        return False

    @property
    def window_rows(self) -> int:
        """Snippets of an inference window."""
        return self.bag_length

    @model_validator(mode="after")
    def _has_classes(self) -> Self:
        if self.classes and self.classes[0] != NORMAL:
            raise ValueError(f"the first class must be {NORMAL!r}, not {self.classes[0]!r}")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            raise ValueError(f"classes must be {NORMAL!r} and at least one more, each once: {self.classes}")
        return self


class SegmentedConfig(DetectorConfig):
    """Of detectors that are trained on a fixed number of segments a video, and score its single snippets."""

    bag_length: int = Field(32, ge=2, le=4096, description="S: segments that a training video is averaged to")
    window_length: int = Field(
        256,
        ge=1,
        le=4096,
        description="snippets of an inference window; the sources take the whole video at once",
    )

    @property
    def segmented(self) -> bool:
        return True

    @property
    def window_rows(self) -> int:
        return self.window_length


class TextConfig(DetectorConfig):
    """Of detectors that read the classes' names through CLIP's text tower."""

    prompts: dict[str, str] = Field(
        default_factory=dict, description="what CLIP reads for a class; default: its name"
    )
    clip_weights: str = Field(
        "openai", min_length=1, description="of the text tower: `openai`, `random` or a path"
    )
    temperature: float = Field(0.07, gt=0, description="τ: cosines of rows and classes are divided by it")

    @property
    def texts(self) -> tuple[str, ...]:
        """What stands for each class: its prompt, or its name."""
        return tuple(self.prompts.get(name, name) for name in self.classes)

    def text_module(self, tower: "TextTower") -> "nn.Module":
        """The module that embeds the classes: calling it gives (C, D)."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _knows_prompted_classes(self) -> Self:
        if unknown := set(self.prompts) - set(self.classes):
            raise ValueError(f"prompts for unknown classes {sorted(unknown)}; classes are {self.classes}")
        return self


class TwoBranchConfig(TextConfig):
    """Of VadCLIP and DSANet: the temporal module under both branches. Defaults are those for UCF-Crime."""

    layers: int = Field(2, ge=1, le=24, description="blocks of the local transformer")
    window: int = Field(8, ge=1, description="snippets that attend to each other; divides bag_length")
    heads: int = Field(1, ge=1, description="of the local attention")
    similarity_threshold: float = Field(0.7, ge=-1, le=1, description="cosines up to it count as 0")
    context_tokens: int = Field(
        10, ge=0, le=30, description="learned vectors before the name, and after it, where context is learned"
    )

    @property
    def masks_padding(self) -> bool:
        """True: rows beyond a video's length take no part."""
        return True

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.bag_length % self.window:
            raise ValueError(f"window {self.window} does not divide bag_length {self.bag_length}")
        if self.feature_dim % self.heads:
            raise ValueError(f"heads must divide feature_dim {self.feature_dim}")
        return self


class TrainConfig(StrictModel):
    """How a detector is trained."""

    epochs: int = Field(10, ge=1, description="passes over the shorter of the two sides")
    steps: int | None = Field(None, ge=1, description="updates in all; if given, epochs is not asked")
    batch_size: int = Field(
        64, ge=1, description="bags a side (normal and anomalous); clamped to what is there"
    )
    balanced: bool = Field(
        True,
        description="as many normal as anomalous bags in a batch; else batch_size of one shuffled stream",
    )
    lr: float = Field(7e-5, gt=0, description="learning rate")
    milestones: tuple[int, ...] = Field(
        (), description="epochs after which the rate is divided by 10 (adamw, adam and adagrad)"
    )
    plateau: int | None = Field(
        None,
        ge=1,
        description="validations in a row without a lower loss, after which the rate is divided by 10",
    )
    weight_decay: float = Field(
        0.01, ge=0, description="of AdamW (decoupled) and of Adam (added to gradients)"
    )
    optimizer: Literal["adamw", "release-pair", "adam", "adagrad"] = Field(
        "adamw",
        description="release-pair (DSANet): SG-NM has its own stable AdamW with warm-up and cosine, the "
        "rest AdamW with a cosine an epoch",
    )
    align_weight: float = Field(
        1.1, ge=0, description="λ of L_align (DSANet, eq. 11; VadCLIP has 1); no weight of the others"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 autocast on CUDA only")
    seed: int = Field(0, ge=0, lt=2**31, description="of everything random")
    val_fraction: float = Field(
        0.15, gt=0, lt=1, description="carved from the training videos when the manifest has no val split"
    )
    select_on: Literal["val", "test"] = Field(
        "val",
        description="split the checkpoint is chosen on; `test` is what the field does, and marks reports",
    )
    validate_every: int = Field(
        1, ge=1, description="epochs between validations (the last is always validated)"
    )
    save_every: int = Field(
        200, ge=1, description="steps between saves of the resume state (the end of an epoch is one too)"
    )


class InferConfig(StrictModel):
    """How a checkpoint scores videos."""

    beta: float = Field(5.0, gt=0, description="temperature of DSANet's belief modulation (section 3.5)")
    crop: Literal["mean"] | int = Field(
        "mean", description="several crops: mean of their scores, or one crop's number"
    )
    batch_size: int = Field(8, ge=1, description="windows in a batch, of as many videos as it takes")
    learned_features: bool = Field(False, description="keep F_video in the score files (fig. 4)")
    normal_distance: bool = Field(
        False, description="keep each snippet's distance to the video's normal patterns (fig. 5); runs SG-NM"
    )


class Preset(NamedTuple):
    model: DetectorConfig
    train: TrainConfig
    infer: InferConfig


def unknown_preset(name: str) -> ValueError:
    """The error of a preset that does not exist."""
    return ValueError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")


def fit_classes(labels: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """`known` if every label is in it, else the labels sorted, `normal` first.

    Raises ValueError where no label is an anomaly.
    """
    found = set(labels)
    if found <= set(known):
        return tuple(known)
    if found <= {NORMAL}:
        raise ValueError("no anomaly class among the labels; expected videos of at least one")
    return (NORMAL, *sorted(found - {NORMAL}))
