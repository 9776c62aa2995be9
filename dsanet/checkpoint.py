"""Checkpoints: a folder with `model.safetensors` and `model.json`. Nothing is pickled.

A checkpoint is replaced in one step: `model.json` names the digest of its weights, and until the new weights
are moved beside it they are read from the folder `.draft`. At any moment, also after a kill, a folder holds
the whole old or the whole new checkpoint.

A checkpoint holds the class embeddings, which are constant after training, but not CLIP's frozen tower, so
inference needs no CLIP weights. Further training needs the tower again; its digest is checked.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from dsanet.detectors.base import Detector
from dsanet.detectors.config import DetectorConfig, InferConfig, TextConfig, TrainConfig
from dsanet.detectors.registry import DEFAULT, AnyDetectorConfig, build_detector, detector_preset
from dsanet.layers.clip_text import FixedText, TextTower
from dsanet.released_weights import read_release
from extract.atomic import write_atomically
from extract.config import EncoderFingerprint, ExtractConfig, StrictModel
from extract.errors import InputError, MissingFileError
from extract.source import file_digest

SCHEMA_VERSION = 1
WEIGHTS_FILE, INFO_FILE, CURVES_FILE = "model.safetensors", "model.json", "curves.csv"
DRAFT = ".draft"
"""Folder in a checkpoint folder: the files of the next checkpoint, and the state of its training."""
_CONSTANT_TEXT = "text.text_CD"


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


class Checkpoint(NamedTuple):
    """A detector and the contents of its `model.json`."""

    model: Detector
    info: CheckpointInfo


@torch.no_grad()
def save_checkpoint(out_dir: Path, model: Detector, info: CheckpointInfo) -> Path:
    """Write a checkpoint into `out_dir`, in place of the one that is there; returns `out_dir`.

    With it come the training curves that are in `.draft`; everything else there is removed.
    """
    state = model.own_state()
    if model.text is not None:
        state[_CONSTANT_TEXT] = model.text().detach().cpu().contiguous()
    draft = out_dir / DRAFT
    draft.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.save(state)
    write_atomically(draft / WEIGHTS_FILE, weights)
    info = info.model_copy(update={"weights_digest": hashlib.sha256(weights).hexdigest()})
    write_atomically(out_dir / INFO_FILE, (info.model_dump_json(indent=1) + "\n").encode())
    complete_save(out_dir)
    return out_dir


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


def load_checkpoint(checkpoint_dir: Path | str, device: str | torch.device = "cpu") -> Checkpoint:
    """The detector of a checkpoint folder on `device`, in eval mode, with its `info`.

    The class embeddings are the constants stored in the checkpoint: no CLIP weights are needed, and the text
    cannot be trained further.

    Args:
        checkpoint_dir: Folder with `model.safetensors` and `model.json`.
        device: `cpu`, `cuda`, `cuda:1`, or a torch device.

    Raises:
        FileNotFoundError: The folder has no finished checkpoint.
        CheckpointError: The files are damaged or do not belong together.

    Examples:
        >>> from dsanet import load_checkpoint
        >>> checkpoint = load_checkpoint("ws/model")
        >>> checkpoint.info.model.classes
        ('normal', 'fire', 'riot')
    """
    return _fixed_text_checkpoint(*_read(Path(checkpoint_dir)), device)


def _fixed_text_checkpoint(
    info: CheckpointInfo, state: dict[str, Tensor], device: str | torch.device
) -> Checkpoint:
    text = FixedText(state[_CONSTANT_TEXT]) if _CONSTANT_TEXT in state else None
    state = {name: t for name, t in state.items() if not name.startswith("text.") or name == _CONSTANT_TEXT}
    model = build_detector(info.model, text)
    model.load_state_dict(state)
    return Checkpoint(model.to(device).eval(), info)


def load_for_training(checkpoint_dir: Path) -> Checkpoint:
    """The detector with its text tower, for further training. CheckpointError if CLIP's weights differ."""
    info, state = _read(checkpoint_dir)
    if not info.text_digest:
        return _fixed_text_checkpoint(info, state, "cpu")
    model = build_detector(info.model)
    if text_digest(model) != info.text_digest:
        raise CheckpointError(
            f"{checkpoint_dir} was trained with other CLIP text weights than {clip_weights(info.model)!r}; "
            "give the same weights"
        )
    state.pop(_CONSTANT_TEXT)
    load_trained(model, state)
    return Checkpoint(model, info)


def load_trained(model: Detector, state: Mapping[str, Tensor]) -> None:
    """Load the tensors of `Detector.own_state`. Raises CheckpointError for missing or unknown names."""
    if different := model.own_state().keys() ^ state.keys():
        raise CheckpointError(f"tensors {sorted(different)} are missing or unknown")
    model.load_state_dict(state, strict=False)


def import_release(path: Path, preset: str, detector: str = DEFAULT) -> Detector:
    """The detector in an authors' released `.pth` file, in float32 and eval mode on the CPU.

    Only tensors are unpickled; no code of the file runs.

    Args:
        path: The authors' file.
        preset: `ucf-crime` or `xd-violence`.
        detector: A detector with released weights: `dsanet` or `vadclip`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file can't be read without running its code, or has a missing, extra or misshapen
            tensor, which the message names.

    Examples:
        >>> from pathlib import Path
        >>> from dsanet import import_release
        >>> model = import_release(Path("model_xd.pth"), "xd-violence")
        >>> len(model.config.classes), model.config.variant
        (7, 'release')
    """
    return read_release(path, preset, detector).model


def import_weights(path: Path, preset: str, out_dir: Path, detector: str = DEFAULT) -> Path:
    """Write an authors' file as a checkpoint in `out_dir`, which is returned. Raises as `import_release`."""
    model, encoder = read_release(path, preset, detector)
    info = CheckpointInfo(
        model=model.config,
        infer=detector_preset(detector, preset).infer,
        encoder=encoder,
        extract=ExtractConfig(),
        text_digest=text_digest(model),
        notes=(f"released weights, imported from {path.name}",),
    )
    return save_checkpoint(out_dir, model, info)


def clip_weights(model: DetectorConfig) -> str:
    """Source of the text tower's weights; empty for a detector without text."""
    return model.clip_weights if isinstance(model, TextConfig) else ""


def text_digest(model: Detector) -> str:
    """Digest of the model's CLIP text tower; empty if the model holds no tower."""
    tower = getattr(model.text, "tower", None)  # FixedText has no tower
    return tower.digest if isinstance(tower, TextTower) else ""


def is_finished(out_dir: Path, run_id: str) -> bool:
    """True if `out_dir` holds a complete checkpoint of this run."""
    try:
        info, _ = _read(out_dir)
    except (CheckpointError, FileNotFoundError):
        return False
    return info.run_id == run_id


def _read(checkpoint_dir: Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """`model.json` and the tensors that belong to it, also while a training replaces them."""
    while True:
        info = read_info(checkpoint_dir)
        try:
            return info, _read_state(checkpoint_dir, info.weights_digest)
        except CheckpointError:
            if read_info(checkpoint_dir) == info:
                raise


def _read_state(checkpoint_dir: Path, digest: str) -> dict[str, Tensor]:
    path = checkpoint_dir / WEIGHTS_FILE
    # The first place a second time: the file may have been moved there from the second one meanwhile.
    for place in (path, checkpoint_dir / DRAFT / WEIGHTS_FILE, path):
        try:
            content = place.read_bytes()
        except FileNotFoundError:
            continue
        if hashlib.sha256(content).hexdigest() == digest:
            return safetensors.torch.load(content)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing beside its {INFO_FILE}")
    raise CheckpointError(f"{path} is damaged or belongs to another {INFO_FILE}: its digest differs")
