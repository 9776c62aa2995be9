"""Checkpoints: a folder with `model.safetensors` and `model.json`. Nothing is pickled.

A checkpoint holds the class embeddings, which are constant after training, but not CLIP's frozen tower, so
inference needs no CLIP weights. Further training needs the tower again; its digest is checked.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from dsanet.checkpoint_info import (
    CURVES_FILE,
    DRAFT,
    INFO_FILE,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    CheckpointError,
    CheckpointInfo,
    complete_save,
    read_info,
    weights_file,
)
from dsanet.detectors.base import Detector
from dsanet.detectors.config import DetectorConfig, TextConfig
from dsanet.detectors.registry import DEFAULT, build_detector, detector_preset
from dsanet.layers.clip_text import FixedText, TextTower
from dsanet.released_weights import read_release
from extract.atomic import write_atomically
from extract.config import ExtractConfig

__all__ = [
    "CURVES_FILE",
    "DRAFT",
    "INFO_FILE",
    "SCHEMA_VERSION",
    "WEIGHTS_FILE",
    "Checkpoint",
    "CheckpointError",
    "CheckpointInfo",
    "complete_save",
    "import_release",
    "import_weights",
    "is_finished",
    "load_checkpoint",
    "load_for_training",
    "load_trained",
    "read_info",
    "save_checkpoint",
    "text_digest",
    "weights_file",
]

_CONSTANT_TEXT = "text.text_CD"


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
