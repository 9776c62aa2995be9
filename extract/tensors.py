"""Reading PyTorch's weight files without running what is in them.

Such a file is a pickle, which can run any code while it is loaded. Only tensors and plain containers of them
are read. Other files are refused in our own words: PyTorch's message explains how to load them nevertheless.
"""

import warnings
import zipfile
from pathlib import Path

import torch

from extract.errors import InputError

_PICKLE_START = b"\x80"


def load_tensors(path: Path) -> object:
    """The content of a file written by `torch.save`, memory-mapped if possible.

    Raises ValueError for a file that would run code, and for one that is damaged or of another format.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickles, from PyTorch
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes the unpickler fail in any way
        if _holds_code(path, error):
            raise InputError(
                f"{path} was not loaded: it holds more than tensors, and loading it would run code from the "
                "file; use a file of tensors only, from a source that you trust"
            ) from error
        raise InputError(f"{path} is not a file of tensors: it is damaged or in another format") from error


def _holds_code(path: Path, error: Exception) -> bool:
    """True for objects that PyTorch refused to create, for TorchScript, and for pickles of other programs."""
    if any(word in str(error) for word in ("GLOBAL", "TorchScript")):
        return True
    with path.open("rb") as file:
        return file.read(1) == _PICKLE_START
