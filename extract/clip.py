"""CLIP ViT-B/16 with OpenAI's weights; the only module that reads CLIP weights.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"; the model is
open_clip's. Three silent faults of open_clip 3.3 are prevented here: its config `ViT-B-16` builds GELU
although OpenAI trained with QuickGELU, missing weights are replaced by random ones, and models start in train
mode. The name, shape and values of every tensor are checked before use.
"""

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import open_clip
import safetensors.torch
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from extract.errors import InputError, MissingFileError
from extract.tensors import load_tensors
from extract.weights import WEIGHTS_HELP, require_weights

ARCHITECTURE = "ViT-B-16-quickgelu"
# Entries of OpenAI's TorchScript archive that are not weights.
_ARCHIVE_SCALARS = {"input_resolution", "context_length", "vocab_size"}


def build_clip(weights: str, *, seed: int = 0) -> tuple[open_clip.CLIP, str]:
    """Build CLIP ViT-B/16 in float32 on the CPU, frozen, in eval mode.

    `weights` is `openai`, `random` (seeded by `seed`) or a path. Returns the model and the digest of its
    image tower, prefixed with `random-` for random weights. Raises FileNotFoundError if there are no weights,
    and ValueError for a file that is not a complete set of OpenAI's ViT-B/16 tensors.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))
    require_quick_gelu(model)
    if weights != "random":
        path = download_openai_weights() if weights == "openai" else Path(weights)
        model.load_state_dict(validated_state(read_weights(path), model.state_dict(), path))
    digest = visual_digest(model.state_dict())
    return model.eval().requires_grad_(False), f"random-{digest}" if weights == "random" else digest


def visual_digest(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 bytes of the `visual.*` tensors, sorted by name.

    A float16 tensor and its float32 conversion have the same digest.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name in state if name.startswith("visual.")):
        tensor = state[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive, a state dict (also under the key `state_dict`) or safetensors.

    Only tensors are unpickled, and the code of a TorchScript archive is not called. Raises FileNotFoundError,
    or ValueError naming the file.
    """
    require_weights(str(path))
    try:
        state = _read_any_format(path)
    except InputError as error:
        raise InputError(f"{error}; {WEIGHTS_HELP}") from error
    except (RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} is damaged or in another format; {WEIGHTS_HELP}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} contains no state dict of tensors; {WEIGHTS_HELP}")
    return {name: value for name, value in state.items() if name not in _ARCHIVE_SCALARS}


def validated_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """`state` in float32. Raises ValueError naming the first tensor that differs from `expected`.

    Names and shapes must be equal, and all values finite.
    """
    for name, reference in expected.items():
        if name not in state:
            raise InputError(f"{path}: tensor {name} is missing; expected OpenAI's ViT-B/16")
        if state[name].shape != reference.shape:
            raise InputError(
                f"{path}: tensor {name} has shape {tuple(state[name].shape)}, "
                f"expected {tuple(reference.shape)} as in OpenAI's ViT-B/16"
            )
        if not state[name].is_floating_point() or not state[name].isfinite().all():
            raise InputError(f"{path}: tensor {name} has values that are not finite floating-point numbers")
    for name in state:
        if name not in expected:
            raise InputError(f"{path}: tensor {name} is not part of OpenAI's ViT-B/16")
    return {name: value.float() for name, value in state.items()}


def require_quick_gelu(model: nn.Module) -> None:
    """Raise ValueError unless every MLP of both towers uses the activation x·sigmoid(1.702x)."""
    activations = [module.gelu for name, module in model.named_modules() if name.endswith(".mlp")]
    if len(activations) != 24 or not all(isinstance(activation, QuickGELU) for activation in activations):
        raise InputError(
            f"open_clip's {ARCHITECTURE} lacks QuickGELU in some of its 24 blocks; "
            "install open_clip_torch>=3.3,<4"
        )


def _read_any_format(path: Path) -> object:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if _is_torchscript(path):
        with warnings.catch_warnings():  # torch deprecates TorchScript, OpenAI's file format
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            return archive.state_dict()
    loaded = load_tensors(path)
    return loaded["state_dict"] if isinstance(loaded, dict) and "state_dict" in loaded else loaded


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def download_openai_weights() -> Path:
    """The file of OpenAI's weights, downloaded unless it is cached. Raises MissingFileError without it."""
    config = open_clip.get_pretrained_cfg(ARCHITECTURE, "openai")
    try:
        return Path(open_clip.download_pretrained(config))
    except Exception as error:  # the hub and HTTP libraries raise many kinds
        raise MissingFileError(
            f"OpenAI's CLIP weights are not cached and can't be downloaded "
            f"({str(error).splitlines()[0]}); {WEIGHTS_HELP}"
        ) from error
