"""The setting `weights`, the source of CLIP's weights, checked without PyTorch."""

from pathlib import Path

from extract.errors import MissingFileError

WEIGHTS_HELP = (
    "set weights to `openai` (downloaded once, then cached), to the path of OpenAI's ViT-B-16.pt, of a state "
    "dict or of a safetensors file, or to `random` for trials"
)


def require_weights(weights: str) -> None:
    """Raise MissingFileError if `weights` is a path without a file; `openai` and `random` are no paths."""
    if weights not in ("openai", "random") and not Path(weights).is_file():
        raise MissingFileError(f"no CLIP weights at {weights}; {WEIGHTS_HELP}")
