"""CLIP ViT-B/16 from OpenAI's weights: the one place that reads them.

The model is open_clip's (Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision"). Three things go wrong silently with open_clip 3.3 and are closed here: the
config `ViT-B-16` builds GELU where OpenAI trained QuickGELU, missing weights are replaced by random
ones, and a model comes in train mode. Every tensor's name and shape is checked before it is used.
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

ARCHITECTURE = "ViT-B-16-quickgelu"
WAYS_TO_GIVE_WEIGHTS = (
    "give weights=`openai` (downloaded once, then taken from the cache), the path of OpenAI's ViT-B-16.pt, "
    "of a state dict or of a safetensors file, or `random` for trials"
)
# OpenAI's TorchScript archive carries these beside the weights.
_SCALARS_OF_THE_ARCHIVE = {"input_resolution", "context_length", "vocab_size"}


def build_clip(weights: str, *, seed: int = 0) -> tuple[open_clip.CLIP, str]:
    """CLIP ViT-B/16 in float32 on the CPU, frozen, in eval mode, and the digest of its image tower.

    `weights` is `openai`, `random` (seeded by `seed`; the digest then starts with `random-`) or a
    path. Raises FileNotFoundError where there are no weights and ValueError for a file that is not
    a complete set of OpenAI's ViT-B/16 tensors.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))
    require_quick_gelu(model)
    if weights != "random":
        path = _download() if weights == "openai" else Path(weights)
        model.load_state_dict(checked_state(read_weights(path), model.state_dict(), path))
    digest = visual_digest(model.state_dict())
    return model.eval().requires_grad_(False), f"random-{digest}" if weights == "random" else digest


def visual_digest(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 bytes of the `visual.*` tensors, in the order of their names.

    Stored as float16 or as float32, the same weights have the same digest.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name in state if name.startswith("visual.")):
        tensor = state[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive, a state dict (or one under `state_dict`) or a safetensors file.

    Nothing is unpickled but tensors; of a TorchScript archive only the tensors are taken, its code
    is not called. Raises FileNotFoundError, or ValueError naming the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no CLIP weights at {path}; {WAYS_TO_GIVE_WEIGHTS}")
    try:
        state = _read_any_format(path)
    except Exception as error:  # every reader has its own exceptions for a damaged file
        raise ValueError(
            f"{path} is neither a TorchScript archive nor a state dict of plain tensors nor safetensors; "
            f"{WAYS_TO_GIVE_WEIGHTS}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict of tensors; {WAYS_TO_GIVE_WEIGHTS}")
    return {name: value for name, value in state.items() if name not in _SCALARS_OF_THE_ARCHIVE}


def checked_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """`state` in float32, after every name, shape and value was checked against `expected`."""
    for name, wanted in expected.items():
        if name not in state:
            raise ValueError(f"{path}: tensor {name} is missing; expected OpenAI's ViT-B/16")
        if state[name].shape != wanted.shape:
            raise ValueError(
                f"{path}: tensor {name} has shape {tuple(state[name].shape)}, "
                f"expected {tuple(wanted.shape)} as in OpenAI's ViT-B/16"
            )
        if not state[name].is_floating_point() or not state[name].isfinite().all():
            raise ValueError(f"{path}: tensor {name} holds values that are not finite numbers")
    for name in state:
        if name not in expected:
            raise ValueError(f"{path}: tensor {name} is not one of OpenAI's ViT-B/16")
    return {name: value.float() for name, value in state.items()}


def require_quick_gelu(model: nn.Module) -> None:
    """Refuse a model with any other activation than x·sigmoid(1.702x) in both towers' MLPs."""
    activations = [module.gelu for name, module in model.named_modules() if name.endswith(".mlp")]
    if len(activations) != 24 or not all(isinstance(activation, QuickGELU) for activation in activations):
        raise ValueError(
            f"open_clip's {ARCHITECTURE} was not built with QuickGELU in all 24 blocks, as OpenAI's"
        )


def _read_any_format(path: Path) -> object:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if zipfile.is_zipfile(path) and any(
        name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()
    ):
        with warnings.catch_warnings():  # TorchScript is deprecated; OpenAI's file remains one
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            return archive.state_dict()
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return loaded["state_dict"] if isinstance(loaded, dict) and "state_dict" in loaded else loaded


def _download() -> Path:
    config = open_clip.get_pretrained_cfg(ARCHITECTURE, "openai")
    try:
        return Path(open_clip.download_pretrained(config))
    except Exception as error:  # hub and HTTP libraries raise a score of kinds
        raise FileNotFoundError(
            f"OpenAI's CLIP weights are neither in the cache nor could they be downloaded "
            f"({str(error).splitlines()[0]}); {WAYS_TO_GIVE_WEIGHTS}"
        ) from error
