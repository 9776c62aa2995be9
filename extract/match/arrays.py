"""Arrays of features and the videos that they belong to, paired by name.

A folder holds `<video>__<crop>.npy`, the field's layout, or feature files `<video>.h5` of this project.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from extract.config import FEATURE_DIM
from extract.display import shortened
from extract.errors import InputError, MissingFileError
from extract.manifest import VIDEO_SUFFIXES
from extract.remote.store import is_remote
from extract.store import read_features

Rows = npt.NDArray[np.float32]
_CROP_COUNTS = (1, 5, 10)


@dataclass(frozen=True)
class FeatureArray:
    """The features of one crop of a video, from a file whose recipe is not known."""

    video: str
    """Name of the video, from the file name."""
    crop: int | None
    """Number of the crop in the file name, or place in a feature file; None where there is none."""
    path: Path
    rows_TD: Rows
    """(T, 512)"""


@dataclass(frozen=True)
class Pairing:
    """Files of features by video, and the names that have no partner."""

    pairs: dict[Path, list[Path]]
    """The feature files of each video."""
    videos_without_features: list[Path]
    features_without_video: list[str]


def pair_with_videos(features: Path, videos: Sequence[Path]) -> Pairing:
    """Find feature files and videos and pair them by name: equal, else without case, else without `_x264`.

    A single file of features and a single video belong together, whatever their names. Raises
    MissingFileError without files, InputError where two videos have one name or no name fits.
    """
    files = find_features(features)
    footage = find_videos(videos)
    if len(files) == len(footage) == 1:
        return Pairing({footage[0]: list(*files.values())}, [], [])
    taken: dict[Path, list[Path]] = {}
    for name, paths in files.items():
        if (video := _video_named(name, footage)) is not None:
            taken.setdefault(video, []).extend(paths)
    if not taken:
        raise InputError(
            f"no video has the name of features in {features} (features of {shortened(files, most=3)}; "
            f"videos {shortened([path.name for path in footage], most=3)}); name the videos as the features"
        )
    used = {path for paths in taken.values() for path in paths}
    rest = [name for name, paths in files.items() if not used.issuperset(paths)]
    return Pairing(taken, [path for path in footage if path not in taken], rest)


def find_features(path: Path) -> dict[str, list[Path]]:
    """Files of features by name of the video, sorted by number of the crop. Raises MissingFileError."""
    if path.is_file():
        return {video_and_crop(path)[0]: [path]}
    if not path.is_dir():
        raise MissingFileError(f"no features at {path}; expected a folder of VIDEO__CROP.npy, or one file")
    found: dict[str, list[Path]] = {}
    for file in sorted([*path.rglob("*.npy"), *path.glob("*.h5")], key=lambda file: (_order(file), file)):
        found.setdefault(video_and_crop(file)[0], []).append(file)
    if not found:
        raise MissingFileError(f"no .npy or .h5 file in {path}; expected VIDEO__CROP.npy or feature files")
    return found


def find_videos(paths: Iterable[Path]) -> list[Path]:
    """The given files, and the videos in and below the given folders. Raises MissingFileError, InputError."""
    found: dict[str, Path] = {}
    for path in paths:
        if is_remote(path):
            raise InputError(f"{path} must be downloaded first: its frames are read again and again")
        if not path.exists():
            raise MissingFileError(f"no video or folder at {path}")
        inside = (
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()
        )
        for file in inside if path.is_dir() else [path]:
            other = found.setdefault(file.stem, file)
            if other.absolute() != file.absolute():
                raise InputError(f"{other} and {file} are two videos of one name; give only one of them")
    if not found:
        raise MissingFileError(f"no video below {shortened(map(str, paths))}")
    return list(found.values())


def read_arrays(paths: Sequence[Path], video: str) -> list[FeatureArray]:
    """The arrays of one video, one per crop. Raises InputError naming the file."""
    arrays = []
    for path in paths:
        number = video_and_crop(path)[1]
        crops_TCD = _read_crops(path)
        if crops_TCD.shape[1] > 1:
            arrays += [FeatureArray(video, c, path, crops_TCD[:, c]) for c in range(crops_TCD.shape[1])]
        else:
            arrays.append(FeatureArray(video, number, path, crops_TCD[:, 0]))
    return arrays


def video_and_crop(path: Path) -> tuple[str, int | None]:
    """Name of the video and number of the crop: `a__5.npy` is crop 5 of `a`, `a.npy` has no number."""
    match = re.fullmatch(r"(.+)__(\d+)", path.stem)
    return (match[1], int(match[2])) if match else (path.stem, None)


def _order(path: Path) -> tuple[str, int]:
    name, crop = video_and_crop(path)
    return name, -1 if crop is None else crop


def _video_named(name: str, videos: Sequence[Path]) -> Path | None:
    for same in (str, str.casefold, lambda text: text.casefold().removesuffix("_x264")):
        for path in videos:
            if same(path.stem) == same(name):
                return path
    return None


def _read_crops(path: Path) -> Rows:
    """(T, crops, 512) float32"""
    if path.suffix == ".h5":
        return read_features(path).features.astype(np.float32)
    given = array = _load(path)
    if array.ndim == 3 and array.shape[0] in _CROP_COUNTS and array.shape[1] not in _CROP_COUNTS:
        array = array.swapaxes(0, 1)  # (crops, T, 512)
    array = array[:, None] if array.ndim == 2 else array
    if (
        array.ndim != 3
        or array.shape[2] != FEATURE_DIM
        or array.shape[1] not in _CROP_COUNTS
        or not len(array)
    ):
        raise InputError(
            f"{path} has the shape {given.shape}; expected (snippets, {FEATURE_DIM}) of CLIP ViT-B/16, or "
            f"(snippets, crops, {FEATURE_DIM}) with 1, 5 or 10 crops"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds values that are not finite numbers; make the array again")
    return array.astype(np.float32)


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or 'it is damaged'}") from error
    except (ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} is not an array of numbers: it is damaged, or it holds Python objects, and loading "
            "these would run code from the file"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(f"{path} is not one array of numbers; expected a .npy file of floats")
    return array
