"""The files of a checkpoint folder and the contents of `model.json`, without PyTorch.

A checkpoint is replaced in one step: `model.json` names the digest of its weights, and until the new weights
are moved beside it they are read from the folder `.draft`. At any moment, also after a kill, a folder holds
the whole old or the whole new checkpoint.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from dsanet.detectors.config import InferConfig, TrainConfig
from dsanet.detectors.registry import AnyDetectorConfig
from extract.config import EncoderFingerprint, ExtractConfig, StrictModel
from extract.errors import InputError, MissingFileError
from extract.source import file_digest

SCHEMA_VERSION = 1
WEIGHTS_FILE, INFO_FILE, CURVES_FILE = "model.safetensors", "model.json", "curves.csv"
DRAFT = ".draft"
"""Folder in a checkpoint folder: the files of the next checkpoint, and the state of its training."""


class CheckpointError(InputError):
    """A checkpoint is damaged, incomplete or has another schema."""


class CheckpointInfo(StrictModel):
    """The contents of `model.json`."""

    schema_version: int = SCHEMA_VERSION
    model: AnyDetectorConfig
    """Config of the detector, with its classes and prompts."""
    train: TrainConfig | None = None
    infer: InferConfig = InferConfig()
    """Default inference settings."""
    encoder: EncoderFingerprint
    """Fingerprint of the encoder whose features the detector was trained on."""
    extract: ExtractConfig
    text_digest: str = ""
    """sha256 of CLIP's text tower; empty if the text is not tuned."""
    feature_digests: dict[str, str] = Field(default_factory=dict)
    """Content digest of each feature file of the training set, by video name."""
    step: int = 0
    """Training step of the weights."""
    parameters: int = 0
    """Number of trainable parameters."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Validation metrics at `step`."""
    notes: tuple[str, ...] = ()
    """Notes for every report: random weights, selection on the test split, substituted features."""
    weights_digest: str = ""
    """sha256 of `model.safetensors`."""
    run_id: str = ""
    """Digest of all inputs of the training run."""


def complete_save(checkpoint_dir: Path) -> None:
    """Move a new checkpoint's files out of `.draft`, if its `model.json` has been written.

    A kill at any point leaves a checkpoint that can be read, and that another call completes: the weights are
    moved last.
    """
    draft = checkpoint_dir / DRAFT
    weights = draft / WEIGHTS_FILE
    if weights_file(checkpoint_dir) != weights:
        return
    if (curves := draft / CURVES_FILE).is_file():
        curves.replace(checkpoint_dir / CURVES_FILE)
    for rest in draft.iterdir():
        if rest != weights:
            rest.unlink()
    weights.replace(checkpoint_dir / WEIGHTS_FILE)
    draft.rmdir()


def weights_file(checkpoint_dir: Path) -> Path:
    """The file with the weights that `model.json` describes: in `.draft` while a save is being completed."""
    weights = checkpoint_dir / DRAFT / WEIGHTS_FILE
    if not weights.is_file() or not (checkpoint_dir / INFO_FILE).is_file():
        return checkpoint_dir / WEIGHTS_FILE
    is_new = file_digest(weights) == read_info(checkpoint_dir).weights_digest
    return weights if is_new else checkpoint_dir / WEIGHTS_FILE


def read_info(checkpoint_dir: Path) -> CheckpointInfo:
    """The contents of `model.json`. Raises FileNotFoundError, or CheckpointError naming the file."""
    path = checkpoint_dir / INFO_FILE
    if not path.is_file():
        raise MissingFileError(
            f"no finished checkpoint in {checkpoint_dir} (no {INFO_FILE}); train one first"
        )
    try:
        info = CheckpointInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path} is not a checkpoint of schema {SCHEMA_VERSION}: {field or 'the file'}: {first['msg']}"
        ) from error
    if info.schema_version != SCHEMA_VERSION:
        raise CheckpointError(f"{path} has schema {info.schema_version}, expected {SCHEMA_VERSION}")
    return info
