"""What the detector is, how it is trained and how it scores: closed, typed, recorded in every checkpoint.

`Variant` holds every difference between the paper and the authors' release, one field each; the
two named sets are `PAPER` and `RELEASE`. Presets are functions of a name, with the values of
section 4.1 ("Implementation Details").
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from extract.config import FEATURE_DIM
from extract.dataset import NORMAL

UCF_CRIME_CLASSES = (
    NORMAL,
    *("abuse", "arrest", "arson", "assault", "burglary", "explosion", "fighting", "roadaccidents"),
    *("robbery", "shooting", "shoplifting", "stealing", "vandalism"),
)
XD_VIOLENCE_CLASSES = (NORMAL, "fighting", "shooting", "riot", "abuse", "car accident", "explosion")


class Closed(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(Closed):
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


class ModelConfig(Closed):
    """The detector's shape. Defaults are the paper's for UCF-Crime."""

    variant: Literal["paper", "release"] | Variant = Field(
        "paper", description="a name, or the rules one by one"
    )
    classes: tuple[str, ...] = Field((), description="`normal` first; empty: taken from the training labels")
    prompts: dict[str, str] = Field(
        default_factory=dict, description="what CLIP reads for a class; default: its name"
    )
    feature_dim: int = Field(FEATURE_DIM, ge=2, multiple_of=2, description="D")
    bag_length: int = Field(
        256, ge=1, le=4096, description="T: snippets of a bag, and of an inference window"
    )

    layers: int = Field(2, ge=1, le=24, description="blocks of the local transformer")
    window: int = Field(8, ge=1, description="snippets that attend to each other; divides bag_length")
    heads: int = Field(1, ge=1, description="of the local attention")
    similarity_threshold: float = Field(0.7, ge=-1, le=1, description="cosines up to it count as 0")

    normality: bool = Field(True, description="SG-NM branch (table 5)")
    patterns: int = Field(16, ge=1, description="K: dynamic normal patterns")
    decoder_layers: int = Field(8, ge=1, le=24, description="of the reconstruction")
    normality_heads: int = Field(8, ge=1, description="of its attention")
    candidate_ratio: float = Field(
        0.8, gt=0, le=1, description="M: part of the snippets that count as normal candidates"
    )

    disentangled_alignment: bool = Field(True, description="DCSA: L_event and L_bkg (table 5)")
    temperature: float = Field(0.07, gt=0, description="τ of eq. (2), (8) and (9)")

    text_tuning: Literal["frozen", "manual", "learned", "adapter"] = Field(
        "adapter",
        description="table 6: bare names, prompt_template, learned context, or adapters in the tower",
    )
    prompt_template: str = Field("a video of {label}", description="for text_tuning = manual")
    context_tokens: int = Field(10, ge=0, le=30, description="learned vectors before the name, and after it")
    adapter_layers: int = Field(3, ge=1, le=12, description="L of section 3.4")
    adapter_weight: float = Field(0.1, ge=0, le=1, description="ω of eq. (10)")
    clip_weights: str = Field(
        "openai", min_length=1, description="of the text tower: `openai`, `random` or a path"
    )

    @property
    def rules(self) -> Variant:
        """The variant's differences, resolved."""
        return variant_rules(self.variant)

    @property
    def texts(self) -> tuple[str, ...]:
        """What CLIP's text tower reads, one text a class."""
        texts = tuple(self.prompts.get(name, name) for name in self.classes)
        if self.text_tuning != "manual":
            return texts
        return tuple(self.prompt_template.format(label=text) for text in texts)

    @model_validator(mode="after")
    def _fits(self) -> "ModelConfig":
        if self.bag_length % self.window:
            raise ValueError(f"window {self.window} does not divide bag_length {self.bag_length}")
        if self.feature_dim % self.heads or self.feature_dim % self.normality_heads:
            raise ValueError(f"heads and normality_heads must divide feature_dim {self.feature_dim}")
        if self.classes and self.classes[0] != NORMAL:
            raise ValueError(f"the first class must be {NORMAL!r}, not {self.classes[0]!r}")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            raise ValueError(f"classes must be {NORMAL!r} and at least one more, each once: {self.classes}")
        if unknown := set(self.prompts) - set(self.classes):
            raise ValueError(f"prompts for unknown classes {sorted(unknown)}; classes are {self.classes}")
        if "{label}" not in self.prompt_template:
            raise ValueError(f"prompt_template {self.prompt_template!r} does not contain {{label}}")
        return self


class TrainConfig(Closed):
    """How the detector is trained."""

    epochs: int = Field(10, ge=1, description="passes over the shorter of the two sides")
    batch_size: int = Field(
        64, ge=1, description="bags a side (normal and anomalous); clamped to what is there"
    )
    balanced: bool = Field(
        True,
        description="as many normal as anomalous bags in a batch; else batch_size of one shuffled stream",
    )
    lr: float = Field(7e-5, gt=0, description="learning rate")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    optimizer: Literal["adamw", "release-pair"] = Field(
        "adamw",
        description="adamw: one, constant rate. release-pair: SG-NM has its own stable AdamW with warm-up "
        "and cosine, the rest AdamW with a cosine an epoch",
    )
    align_weight: float = Field(1.1, ge=0, description="λ of eq. (11)")
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


class InferConfig(Closed):
    """How a checkpoint scores videos."""

    beta: float = Field(5.0, gt=0, description="temperature of the belief modulation (section 3.5)")
    crop: Literal["mean"] | int = Field(
        "mean", description="several crops: mean of their scores, or one crop's number"
    )
    batch_size: int = Field(32, ge=1, description="windows in a batch, of as many videos as it takes")
    learned_features: bool = Field(False, description="keep F_video in the score files (fig. 4)")
    normal_distance: bool = Field(
        False, description="keep each snippet's distance to the video's normal patterns (fig. 5); runs SG-NM"
    )


class Preset(NamedTuple):
    model: ModelConfig
    train: TrainConfig
    infer: InferConfig


PRESETS = ("ucf-crime", "xd-violence", "small")


def preset(name: str) -> Preset:
    """The three configs of a preset. Raises ValueError for an unknown name."""
    if name == "ucf-crime":
        return Preset(ModelConfig(classes=UCF_CRIME_CLASSES), TrainConfig(), InferConfig())
    if name == "xd-violence":
        return Preset(
            ModelConfig(
                classes=XD_VIOLENCE_CLASSES, layers=1, window=64, adapter_layers=1, adapter_weight=0.6
            ),
            TrainConfig(batch_size=96, balanced=False, lr=1e-5, align_weight=5.0),
            InferConfig(beta=1.0),
        )
    if name == "small":
        return Preset(
            # In clips of a dozen snippets a window of 8 smears an event over all of the clip.
            ModelConfig(bag_length=64, layers=1, window=2, decoder_layers=1),
            TrainConfig(epochs=60, batch_size=8, lr=2e-4),
            InferConfig(beta=1.0),
        )
    raise ValueError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")


def classes_from_labels(labels: Iterable[str], preset_name: str) -> tuple[str, ...]:
    """The class list for these labels, `normal` first: the preset's own if they fit into it, else sorted."""
    return fit_classes(labels, preset(preset_name).model.classes)


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
