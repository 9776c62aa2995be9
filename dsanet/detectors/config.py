"""Settings common to all detectors: pure data, recorded in every checkpoint.

A detector's own config (a subclass of `DetectorConfig`) describes its architecture and knows its source's
settings by preset name. `detectors.registry` knows which model class belongs to which config.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from extract.config import FEATURE_DIM, StrictModel
from extract.errors import InputError
from extract.labels import NORMAL, UCF_CRIME_CLASSES, XD_VIOLENCE_CLASSES

PRESETS = ("ucf-crime", "xd-violence", "small")
CLASSES = {"ucf-crime": UCF_CRIME_CLASSES, "xd-violence": XD_VIOLENCE_CLASSES, "small": ()}
"""Class list of each preset; empty: derived from the training labels."""


class DetectorConfig(StrictModel):
    """Base of the detectors' configs. A subclass sets `detector` and implements `preset`."""

    feature_note: ClassVar[str] = ""
    """Note for reports if the detector's source uses features other than CLIP's; else empty."""

    detector: str = Field(description="detector that the other values belong to; set by --detector")
    classes: tuple[str, ...] = Field(
        (), description="class names, `normal` first; empty: derived from the training labels"
    )
    feature_dim: int = Field(FEATURE_DIM, ge=2, multiple_of=2, description="D: width of the features")
    bag_length: int = Field(256, ge=1, le=4096, description="T: snippets per bag and per inference window")

    @classmethod
    def preset(cls, name: str) -> "Preset":
        """Settings of the detector's source for a data set, or those of `small`.

        Raises ValueError for an unknown preset name.
        """
        raise NotImplementedError

    @property
    def segmented(self) -> bool:
        """True if a bag is a whole video in exactly `bag_length` segments (short videos repeat snippets)."""
        return False

    @property
    def window_rows(self) -> int:
        """Snippets per inference window."""
        return self.bag_length

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.classes and self.classes[0] != NORMAL:
            raise InputError(f"the first class must be {NORMAL!r}, not {self.classes[0]!r}")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            raise InputError(f"classes must be {NORMAL!r} and at least one more, each once: {self.classes}")
        return self


class SegmentedConfig(DetectorConfig):
    """Config of detectors that train on a fixed number of segments per video and score single snippets."""

    bag_length: int = Field(32, ge=2, le=4096, description="S: segments that a training video is averaged to")
    window_length: int = Field(
        256,
        ge=1,
        le=4096,
        description="snippets per inference window; the sources pass the whole video at once",
    )

    @property
    def segmented(self) -> bool:
        return True

    @property
    def window_rows(self) -> int:
        return self.window_length


class TextConfig(DetectorConfig):
    """Config of detectors that embed the class names with CLIP's text tower."""

    prompts: dict[str, str] = Field(
        default_factory=dict, description="text that CLIP embeds for a class; default: the class name"
    )
    clip_weights: str = Field(
        "openai", min_length=1, description="weights of CLIP's text tower: `openai`, `random` or a path"
    )
    temperature: float = Field(0.07, gt=0, description="τ: divides the cosines of snippets and classes")

    @property
    def texts(self) -> tuple[str, ...]:
        """Text of each class: its prompt, or its name."""
        return tuple(self.prompts.get(name, name) for name in self.classes)

    @property
    def encoded_texts(self) -> tuple[str, ...]:
        """All texts that CLIP's text tower encodes, one or several per class."""
        return self.texts

    @property
    def learned_tokens(self) -> int:
        """Learned vectors in every text, beside its own tokens."""
        return 0

    @model_validator(mode="after")
    def _check_prompts(self) -> Self:
        if unknown := set(self.prompts) - set(self.classes):
            raise InputError(f"prompts for unknown classes {sorted(unknown)}; classes are {self.classes}")
        return self


class TwoBranchConfig(TextConfig):
    """Config of VadCLIP and DSANet: the temporal module below both branches. Defaults are for UCF-Crime."""

    layers: int = Field(2, ge=1, le=24, description="blocks of the local transformer")
    window: int = Field(8, ge=1, description="snippets per local attention window; must divide bag_length")
    heads: int = Field(1, ge=1, description="heads of the local attention")
    similarity_threshold: float = Field(
        0.7, ge=-1, le=1, description="cosines up to this value count as 0 in the similarity graph"
    )
    context_tokens: int = Field(
        10,
        ge=0,
        le=30,
        description="learned vectors before and after each class name, if the context is learned",
    )

    @property
    def masks_padding(self) -> bool:
        """True if positions beyond a video's length are excluded everywhere."""
        return True

    @model_validator(mode="after")
    def _check_divisors(self) -> Self:
        if self.bag_length % self.window:
            raise InputError(f"window {self.window} does not divide bag_length {self.bag_length}")
        if self.feature_dim % self.heads:
            raise InputError(f"heads must divide feature_dim {self.feature_dim}")
        return self


class TrainConfig(StrictModel):
    """Settings of a training."""

    epochs: int = Field(10, ge=1, description="passes over the smaller of the normal and the anomalous bags")
    steps: int | None = Field(None, ge=1, description="total number of updates; if given, epochs is ignored")
    batch_size: int = Field(
        64,
        ge=1,
        description="normal bags, and as many anomalous bags, per batch; limited to the bags available",
    )
    balanced: bool = Field(
        True,
        description="equal numbers of normal and anomalous bags per batch; false: batch_size bags of one "
        "shuffled stream",
    )
    lr: float = Field(7e-5, gt=0, description="learning rate")
    milestones: tuple[int, ...] = Field(
        (), description="epochs after which the learning rate is divided by 10 (adamw, adam and adagrad)"
    )
    plateau: int | None = Field(
        None,
        ge=1,
        description="consecutive validations without a lower loss after which the learning rate is divided "
        "by 10",
    )
    weight_decay: float = Field(
        0.01, ge=0, description="weight decay: decoupled for AdamW, added to the gradients for Adam"
    )
    optimizer: Literal["adamw", "release-pair", "adam", "adagrad"] = Field(
        "adamw",
        description="release-pair (DSANet): StableAdamW with warm-up and cosine for SG-NM, AdamW with a "
        "cosine per epoch for the rest",
    )
    align_weight: float = Field(
        1.1, ge=0, description="λ: weight of L_align (DSANet, eq. 11; VadCLIP: 1); ignored by the others"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: autocast to bfloat16; the papers train in fp32"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of all random numbers")
    val_fraction: float = Field(
        0.15,
        gt=0,
        lt=1,
        description="part of the training videos used for validation if the manifest has no val split",
    )
    select_on: Literal["val", "test", "none"] = Field(
        "val",
        description="split that selects the checkpoint; test: usual in the field, noted in reports; none: "
        "all training videos are trained on, and the last weights kept",
    )
    validate_every: int = Field(
        1, ge=1, description="epochs between validations (the last epoch is always validated)"
    )
    save_every: int = Field(
        200,
        ge=1,
        description="steps between saves of the state that an interrupted training resumes from, counted "
        "over the whole training; the end of an epoch is no save",
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _read_auto(cls, precision: object) -> object:
        """Files of earlier versions hold `auto`, which was fp32 on a CPU."""
        return "fp32" if precision == "auto" else precision


class InferConfig(StrictModel):
    """Settings of inference."""

    beta: float = Field(5.0, gt=0, description="β: temperature of DSANet's belief modulation (section 3.5)")
    crop: Literal["mean"] | int = Field(
        "mean", description="features with several crops: `mean` of their scores, or the number of one crop"
    )
    batch_size: int = Field(8, ge=1, description="windows per batch; a batch may span several videos")
    learned_features: bool = Field(
        False, description="store the detector's features F_video in the score files (figure 4)"
    )
    normal_distance: bool = Field(
        False,
        description="store each snippet's distance to its video's normal patterns (figure 5); runs SG-NM",
    )


class Preset(NamedTuple):
    """Model, training and inference settings that belong together."""

    model: DetectorConfig
    train: TrainConfig
    infer: InferConfig


def unknown_preset(name: str) -> ValueError:
    """The error for an unknown preset name."""
    return ValueError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")


def fit_classes(labels: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Class list for `labels`: `known` if it contains them all, else the sorted labels, `normal` first.

    Raises ValueError if no label is an anomaly class.
    """
    found = set(labels)
    if found <= set(known):
        return tuple(known)
    if found <= {NORMAL}:
        raise InputError("no anomaly class among the labels; expected videos of at least one")
    return (NORMAL, *sorted(found - {NORMAL}))
