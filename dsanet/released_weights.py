"""The authors' released weights (`.pth`) as our model: names translated, nothing run, nothing fetched.

A file is a state dict or a dict that has one under `model_state_dict`. It carries CLIP, DSANet's
twice, `clipmodel.*` and `clip_adapter.clipmodel.*`: one module under two names, of which the second
counts when the authors' code loads it, and so it does here.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from torch import Tensor

from dsanet.detectors.base import Detector
from dsanet.detectors.config import TextConfig
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.registry import DEFAULT, config_of, detector_preset
from dsanet.layers.clip_text import TextTower
from extract.clip import ARCHITECTURE, visual_digest
from extract.config import EncoderFingerprint
from extract.preprocess import PREPROCESSING

RELEASE_PRESETS = ("ucf-crime", "xd-violence")
_UNUSED = {"disAdj.sigma": (1,)}

# Our names → theirs, applied one after the other.
_RENAMES = (
    (r"^temporal\.position$", "frame_position_embeddings.weight"),
    (r"^temporal\.blocks\.(\d+)\.qkv\.", r"temporal.resblocks.\1.attn.in_proj_"),
    (r"^temporal\.blocks\.(\d+)\.out\.", r"temporal.resblocks.\1.attn.out_proj."),
    (r"^temporal\.blocks\.(\d+)\.norm(\d)\.", r"temporal.resblocks.\1.ln_\2."),
    (r"^temporal\.blocks\.", "temporal.resblocks."),
    (r"^temporal\.similarity\.first\.", "gc1."),
    (r"^temporal\.similarity\.second\.", "gc2."),
    (r"^temporal\.distance\.first\.", "gc3."),
    (r"^temporal\.distance\.second\.", "gc4."),
    (r"^temporal\.linear\.", "linear."),
    (r"^enhance_mlp\.", "mlp1."),
    (r"^score_mlp\.", "mlp2."),
    (r"^text\.context$", "text_prompt_embeddings.weight"),
    (r"^text\.(adapters\.\d+)\.0\.", r"text.\1.fc.0."),
    (r"^text\.adapters\.", "clip_adapter.text_adapter."),
    (r"^normality\.queries$", "video_anomaly_refiner.video_prototypes"),
    (r"^normality\.extractor\.", "video_anomaly_refiner.dnp_extractor.0."),
    (r"^normality\.", "video_anomaly_refiner."),
    (r"^(video.*\.\d+)\.mlp\.0\.", r"\1.mlp.fc1."),
    (r"^(video.*\.\d+)\.mlp\.2\.", r"\1.mlp.fc2."),
    (r"\.attention\.scale$", ".attn.learn_scale"),
    (r"\.attention\.out\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"((?:mlp|mlp1|mlp2|bottleneck))\.0\.", r"\1.c_fc."),
    (r"((?:mlp|mlp1|mlp2|bottleneck))\.2\.", r"\1.c_proj."),
)


class Form(NamedTuple):
    """What is particular to one detector's released files."""

    clip_copies: tuple[str, ...]
    """Before the names of CLIP's tensors; the last copy counts."""
    changes: dict[str, Any]
    """The release's settings where they differ from the paper's."""


FORMS = {
    "dsanet": Form(("clipmodel.", "clip_adapter.clipmodel."), {"variant": "release"}),
    "vadclip": Form(("clipmodel.",), {"mask_padding": False}),
}


class Release(NamedTuple):
    model: Detector
    """Float32, in eval mode."""
    encoder: EncoderFingerprint
    """Of the features it takes: those of the image tower that its file carries."""


def read_release(path: Path, preset_name: str, detector: str = DEFAULT) -> Release:
    """The model in an authors' file and what it scores; `preset_name` is ucf-crime or xd-violence.

    `detector` is one of `FORMS`.
    Raises FileNotFoundError, or ValueError for a file that can't be read without running code and
    for a missing, extra or misshapen tensor, by its name.
    """
    if preset_name not in RELEASE_PRESETS:
        raise ValueError(
            f"no released weights for preset {preset_name!r}; expected {', '.join(RELEASE_PRESETS)}"
        )
    if detector not in FORMS:
        raise ValueError(f"no released weights for detector {detector!r}; expected {', '.join(FORMS)}")
    form = FORMS[detector]
    values = detector_preset(detector, preset_name).model.model_dump()
    config = config_of(detector).model_validate(values | form.changes)
    assert isinstance(config, TextConfig)
    state = _read(path)
    with torch.device("meta"):
        clip = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))
    clip_shapes = {name: tuple(tensor.shape) for name, tensor in clip.state_dict().items()}
    for copy in form.clip_copies:
        _check(path, state, {copy + name: shape for name, shape in clip_shapes.items()})
    # Copied: what was read is a view of the file.
    clip_state = {
        name: state[form.clip_copies[-1] + name].to(torch.float32, copy=True) for name in clip_shapes
    }
    clip.load_state_dict(clip_state, assign=True)
    model = config.build(config.text_module(TextTower(clip)))
    own = model.own_state()
    theirs = {ours: release_name(ours, config) for ours in own}
    shapes = {theirs[ours]: tuple(tensor.shape) for ours, tensor in own.items()}
    expected = shapes | _UNUSED
    _check(path, state, expected)
    known = expected.keys() | {copy + name for copy in form.clip_copies for name in clip_shapes}
    if extra := sorted(state.keys() - known):
        raise ValueError(
            f"{path}: tensor {extra[0]} (of {len(extra)}) is not one of {detector}'s {preset_name} release"
        )
    model.load_state_dict({ours: state[name].float() for ours, name in theirs.items()}, strict=False)
    encoder = EncoderFingerprint(
        architecture=ARCHITECTURE,
        weights_digest=visual_digest(clip_state),
        preprocessing=PREPROCESSING,
        precision="fp16",
    )
    return Release(model.eval(), encoder)


def release_name(name: str, config: TextConfig) -> str:
    """What the authors call our tensor `name`."""
    if isinstance(config, ModelConfig):  # DSANet's projection is numbered as the adapter after the last
        name = name.replace("text.projection.", f"text.adapters.{config.adapter_layers}.")
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _check(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if name not in state:
            raise ValueError(
                f"{path}: tensor {name} is missing; expected the authors' release of this preset"
            )
        if tuple(state[name].shape) != shape:
            raise ValueError(f"{path}: tensor {name} has shape {tuple(state[name].shape)}, expected {shape}")


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no released weights at {path}; give the authors' .pth file")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} can't be read as tensors without running its code: {reason}") from error
    state = loaded.get("model_state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path} holds no state dict; expected tensors by name, bare or under model_state_dict"
        )
    return dict(state)
