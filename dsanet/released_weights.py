"""The authors' released weights (`.pth`) as our detectors: tensors are renamed, no code is run or fetched.

A file is a state dict, bare or under `model_state_dict`. It includes CLIP; DSANet's file has it twice, as
`clipmodel.*` and `clip_adapter.clipmodel.*`: one module under two names, of which the authors' loading code
uses the second, and so does this module.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from torch import Tensor

from dsanet.detectors.base import Detector
from dsanet.detectors.config import TextConfig
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.registry import DEFAULT, build_detector, config_class, detector_preset, model_class
from dsanet.layers.clip_text import TextTower
from extract.clip import ARCHITECTURE, visual_digest
from extract.config import EncoderFingerprint
from extract.errors import InputError, MissingFileError
from extract.preprocess import PREPROCESSING
from extract.tensors import load_tensors

RELEASE_PRESETS = ("ucf-crime", "xd-violence")
_UNUSED_SHAPES = {"disAdj.sigma": (1,)}

# Our tensor names to the authors', applied one after the other.
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


class ReleaseFormat(NamedTuple):
    """Properties of one detector's released files."""

    clip_prefixes: tuple[str, ...]
    """Prefixes of CLIP's tensors, one per copy; the last copy is used."""
    settings: dict[str, Any]
    """Config values of the release that differ from the paper's."""


FORMATS = {
    "dsanet": ReleaseFormat(("clipmodel.", "clip_adapter.clipmodel."), {"variant": "release"}),
    "vadclip": ReleaseFormat(("clipmodel.",), {"mask_padding": False}),
}


class Release(NamedTuple):
    """A released detector and the encoder of its features."""

    model: Detector
    """In float32 and eval mode."""
    encoder: EncoderFingerprint
    """Fingerprint of the CLIP image tower in the file: the encoder whose features the model scores."""


def read_release(path: Path, preset: str, detector: str = DEFAULT) -> Release:
    """The detector in an authors' file; `preset` is ucf-crime or xd-violence, `detector` a key of `FORMATS`.

    Raises FileNotFoundError, and ValueError for a file that cannot be read without running its code or has a
    missing, extra or misshapen tensor, which the message names.
    """
    config, clip_prefixes = _release_config(preset, detector)
    state = _read_state(path)
    clip, clip_names = _load_clip(path, state, clip_prefixes)
    text = model_class(detector).text_module(config, TextTower(clip))
    model = build_detector(config, text)
    theirs = {name: release_name(name, config) for name in model.own_state()}
    shapes = {theirs[name]: tuple(tensor.shape) for name, tensor in model.own_state().items()}
    expected = shapes | _UNUSED_SHAPES
    _check_shapes(path, state, expected)
    if extra := sorted(state.keys() - expected.keys() - clip_names):
        raise InputError(
            f"{path}: tensor {extra[0]} (of {len(extra)}) is not part of {detector}'s {preset} release"
        )
    model.load_state_dict({ours: state[name].float() for ours, name in theirs.items()}, strict=False)
    encoder = EncoderFingerprint(
        architecture=ARCHITECTURE,
        weights_digest=visual_digest(clip.state_dict()),
        preprocessing=PREPROCESSING,
        precision="fp16",
    )
    return Release(model.eval(), encoder)


def release_name(name: str, config: TextConfig) -> str:
    """The authors' name of our tensor `name`."""
    if isinstance(config, ModelConfig):  # DSANet's release numbers the projection as one more adapter
        name = name.replace("text.projection.", f"text.adapters.{config.adapter_layers}.")
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _release_config(preset: str, detector: str) -> tuple[TextConfig, tuple[str, ...]]:
    """The config of a release, and the prefixes of CLIP's tensors in its file."""
    if preset not in RELEASE_PRESETS:
        raise InputError(
            f"no released weights for preset {preset!r}; expected one of {', '.join(RELEASE_PRESETS)}"
        )
    if detector not in FORMATS:
        raise InputError(
            f"no released weights for detector {detector!r}; expected one of {', '.join(FORMATS)}"
        )
    clip_prefixes, settings = FORMATS[detector]
    values = detector_preset(detector, preset).model.model_dump()
    config = config_class(detector).model_validate(values | settings)
    assert isinstance(config, TextConfig)
    return config, clip_prefixes


def _load_clip(
    path: Path, state: Mapping[str, Tensor], prefixes: tuple[str, ...]
) -> tuple[open_clip.CLIP, set[str]]:
    """CLIP from the last of its copies in `state`, and the names of the tensors of all copies."""
    with torch.device("meta"):
        clip = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))
    shapes = {name: tuple(tensor.shape) for name, tensor in clip.state_dict().items()}
    for prefix in prefixes:
        _check_shapes(path, state, {prefix + name: shape for name, shape in shapes.items()})
    # Copies, because the tensors of `state` are views of the memory-mapped file.
    tensors = {name: state[prefixes[-1] + name].to(torch.float32, copy=True) for name in shapes}
    clip.load_state_dict(tensors, assign=True)
    return clip, {prefix + name for prefix in prefixes for name in shapes}


def _check_shapes(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if name not in state:
            raise InputError(
                f"{path}: tensor {name} is missing; expected the authors' release of this preset"
            )
        if tuple(state[name].shape) != shape:
            raise InputError(f"{path}: tensor {name} has shape {tuple(state[name].shape)}, expected {shape}")


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MissingFileError(f"no released weights at {path}; give the authors' .pth file")
    loaded = load_tensors(path)
    state = loaded.get("model_state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{path} holds no state dict; expected tensors by name, bare or under model_state_dict"
        )
    return dict(state)
