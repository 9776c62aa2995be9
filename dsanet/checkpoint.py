"""Own checkpoints: a folder with `model.safetensors` and, written last, `model.json`; no pickle anywhere.

CLIP's frozen tower is not in it. The class embeddings, constant once training is over, are: a
checkpoint scores videos without CLIP. Continuing to train needs the tower again, and its digest
is checked.
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
from dsanet.detectors.registry import DEFAULT, AnyDetectorConfig, detector_preset
from dsanet.layers.clip_text import FixedText, TextTower
from dsanet.released_weights import read_release
from extract.atomic import write_atomically
from extract.config import EncoderFingerprint, ExtractConfig, StrictModel

SCHEMA_VERSION = 1
WEIGHTS_FILE, INFO_FILE = "model.safetensors", "model.json"
_CONSTANT_TEXT = "text.text_CD"


class CheckpointError(ValueError):
    """A checkpoint that is damaged, incomplete or of another schema."""


class CheckpointInfo(StrictModel):
    """All of a checkpoint but its weights."""

    schema_version: int = SCHEMA_VERSION
    model: AnyDetectorConfig
    """With the classes and their prompts."""
    train: TrainConfig | None = None
    infer: InferConfig = InferConfig()
    """How it is meant to score, unless somebody says otherwise."""
    encoder: EncoderFingerprint
    """Of the features it was trained on, and will score."""
    extract: ExtractConfig
    text_digest: str = ""
    """Of CLIP's text tower; empty where the text isn't tuned and the tower isn't needed again."""
    feature_digests: dict[str, str] = Field(default_factory=dict)
    """Content digest of each feature file it was trained on."""
    step: int = 0
    parameters: int = 0
    """Numbers that training changes."""
    metrics: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What a report must say: random weights, chosen on the test split, other features than the source's."""
    weights_digest: str = ""
    """sha256 of the weights file."""
    run_id: str = ""
    """Names the training run by all that it was made from."""


class Checkpoint(NamedTuple):
    model: Detector
    info: CheckpointInfo


@torch.no_grad()
def save_checkpoint(out_dir: Path, model: Detector, info: CheckpointInfo) -> Path:
    """Write the model and what is known of it, the JSON file last; returns the folder."""
    state = model.own_state()
    if model.text is not None:
        state[_CONSTANT_TEXT] = model.text().detach().cpu().contiguous()
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / INFO_FILE).unlink(missing_ok=True)
    weights = safetensors.torch.save(state)
    write_atomically(out_dir / WEIGHTS_FILE, weights)
    info = info.model_copy(update={"weights_digest": hashlib.sha256(weights).hexdigest()})
    write_atomically(out_dir / INFO_FILE, (info.model_dump_json(indent=1) + "\n").encode())
    return out_dir


def read_info(checkpoint_dir: Path) -> CheckpointInfo:
    """Raises FileNotFoundError, or CheckpointError naming the file."""
    path = checkpoint_dir / INFO_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no finished checkpoint in {checkpoint_dir} (no {INFO_FILE}); train one first"
        )
    try:
        info = CheckpointInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} is no checkpoint of schema {SCHEMA_VERSION}: {error}") from error
    if info.schema_version != SCHEMA_VERSION:
        raise CheckpointError(f"{path} has schema {info.schema_version}, expected {SCHEMA_VERSION}")
    return info


def load_checkpoint(checkpoint_dir: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """The model in eval mode, its class embeddings constant: needs no CLIP weights, and can't train its text.

    Raises FileNotFoundError, or CheckpointError where the files are damaged or don't belong together.
    """
    info = read_info(checkpoint_dir)
    state = _read_state(checkpoint_dir / WEIGHTS_FILE, info.weights_digest)
    text = FixedText(state[_CONSTANT_TEXT]) if _CONSTANT_TEXT in state else None
    state = {name: t for name, t in state.items() if not name.startswith("text.") or name == _CONSTANT_TEXT}
    model = info.model.build(text)
    model.load_state_dict(state)
    return Checkpoint(model.to(device).eval(), info)


def load_for_training(checkpoint_dir: Path) -> Checkpoint:
    """The model with its text tower, to train on. Raises CheckpointError where CLIP's weights are others."""
    info = read_info(checkpoint_dir)
    if not info.text_digest:
        return load_checkpoint(checkpoint_dir)
    model = info.model.build()
    if text_digest(model) != info.text_digest:
        raise CheckpointError(
            f"{checkpoint_dir} has other CLIP text weights than {clip_weights(info.model)!r} gives"
        )
    state = _read_state(checkpoint_dir / WEIGHTS_FILE, info.weights_digest)
    state.pop(_CONSTANT_TEXT)
    load_trained(model, state)
    return Checkpoint(model, info)


def load_trained(model: Detector, state: Mapping[str, Tensor]) -> None:
    """Put `Detector.own_state()` back. Raises CheckpointError unless the names are exactly the model's."""
    if different := model.own_state().keys() ^ state.keys():
        raise CheckpointError(f"tensors {sorted(different)} are missing or unknown")
    model.load_state_dict(state, strict=False)


def import_release(path: Path, preset: str, detector: str = DEFAULT) -> Detector:
    """The model in an authors' `.pth`, float32 and in eval mode.

    `preset` is ucf-crime or xd-violence, `detector` one with released weights: dsanet or vadclip.
    Raises FileNotFoundError, or ValueError for a file that can't be read without running code and
    for a missing, extra or misshapen tensor, by its name.
    """
    return read_release(path, preset, detector).model


def import_weights(path: Path, preset: str, out_dir: Path, detector: str = DEFAULT) -> Path:
    """The model in an authors' file as a checkpoint in `out_dir` (returned). Raises as `import_release`."""
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
    """Where the text tower's weights come from; empty for a detector without text."""
    return model.clip_weights if isinstance(model, TextConfig) else ""


def text_digest(model: Detector) -> str:
    """Digest of CLIP's text tower in the model; empty where it has none."""
    tower = getattr(model.text, "tower", None)  # FixedText has none
    return tower.digest if isinstance(tower, TextTower) else ""


def is_finished(out_dir: Path, run_id: str) -> bool:
    """Whether `out_dir` holds a whole checkpoint of this run: its description and its weights."""
    try:
        info = read_info(out_dir)
        _read_state(out_dir / WEIGHTS_FILE, info.weights_digest)
    except (CheckpointError, FileNotFoundError):
        return False
    return info.run_id == run_id


def _read_state(path: Path, digest: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing beside its {INFO_FILE}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(f"{path} is damaged, or not the file that {INFO_FILE} was written for")
    return safetensors.torch.load(content)
