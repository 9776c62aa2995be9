"""All scores of a folder or file, by the names that it gives the videos."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from evaluate.foreign_scores.content import Array, Content, Values, checked_array, with_known_units
from evaluate.foreign_scores.csv_scores import read_csv
from evaluate.foreign_scores.json_scores import read_json
from extract.display import shortened
from extract.errors import InputError, MissingFileError

SUFFIXES = (".npy", ".csv", ".txt", ".json")
_OTHER_SUFFIXES = (".npz", ".pkl", ".pickle", ".pt", ".pth", ".mat", ".h5")


@dataclass(frozen=True)
class ForeignScores:
    """The scores of a folder or file. Exactly one of the two fields is filled."""

    named: dict[str, Values]
    """By file name without its suffix, or by the name that a file gives the video."""
    joined: Array | None = None
    """The scores of all videos one after the other, in an order that the file does not tell."""


def read_foreign_scores(path: Path, columns: Mapping[str, str]) -> ForeignScores:
    """The scores in and below a folder, or in one file; `columns`: class names by headings of CSV files.

    No file is unpickled. Raises MissingFileError without a folder or file, and InputError, naming the file,
    for one that is not understood, and for two that are of the same video.
    """
    if path.is_file():
        content = _read(path, columns)
        if content.unnamed is None:
            return ForeignScores(with_known_units(content.named))
        if isinstance(content.unnamed, tuple):  # the intervals of one video
            return ForeignScores(with_known_units({path.stem: content.unnamed}))
        return ForeignScores({}, content.unnamed)
    if not path.is_dir():
        raise MissingFileError(f"no scores at {path}; expected a folder with a file a video, or one file")
    return ForeignScores(with_known_units(_read_folder(path, columns)))


def _read_folder(folder: Path, columns: Mapping[str, str]) -> dict[str, Values]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    wanted = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not wanted:
        found = f"; found {shortened(sorted(path.name for path in files))}" if files else ""
        raise InputError(f"no scores in {folder}: expected {', '.join(SUFFIXES)} files, one a video{found}")
    sources: dict[str, Path] = {}
    named: dict[str, Values] = {}
    for path in wanted:
        content = _read(path, columns)
        found_here = content.named if content.unnamed is None else {path.stem: content.unnamed}
        for name, values in found_here.items():
            if name in named:
                raise InputError(f"{path} and {sources[name]} both have scores of {name}; keep one of them")
            named[name], sources[name] = values, path
    return named


def _read(path: Path, columns: Mapping[str, str]) -> Content:
    readers: dict[str, Callable[[], Content]] = {
        ".npy": lambda: _read_array(path),
        ".csv": lambda: read_csv(path, columns),
        ".txt": lambda: read_csv(path, columns),
        ".json": lambda: read_json(path),
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        hint = "; save each array with numpy.save" if suffix in _OTHER_SUFFIXES else ""
        raise InputError(
            f"{path}: scores are read from {', '.join(SUFFIXES)}, not from {suffix or 'this'}{hint}"
        )
    return readers[suffix]()


def _read_array(path: Path) -> Content:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile, MemoryError) as error:
        raise InputError(
            f"{path} is not an array of numbers: it is damaged, or it holds Python objects, and loading "
            "these would run code from the file"
        ) from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}; check the file") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays (.npz); expected one array, from numpy.save")
    return Content(unnamed=checked_array(array, str(path)))
