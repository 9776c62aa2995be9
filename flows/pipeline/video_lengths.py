"""Number of frames and frame rate of videos that were scored elsewhere, from what is at hand.

In this order: the columns `frames` and `fps` of the manifest, the feature file in the workspace, the file
that the manifest names (a feature file, a published array of features, or the video itself).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluate.foreign_scores.lengths import SNIPPET
from evaluate.foreign_scores.rules import VideoLength
from extract.errors import InputError
from extract.manifest import VIDEO_SUFFIXES, VideoRecord
from extract.remote.cache import FetchError, fetch_reason, local_copy
from extract.remote.path import AnyPath
from extract.store import FeatureFileError, feature_path, read_meta
from extract.tables import Row

log = logging.getLogger(__name__)

FRAMES = ("frames", "n_frames", "num_frames")
"""Columns of a manifest for the number of frames."""


def video_lengths(
    records: Sequence[VideoRecord], rows: Mapping[str, Row], features: Path
) -> dict[str, VideoLength]:
    """Length of each video by name. Raises InputError, naming row or file, for an invalid value or file.

    Args:
        records: The videos.
        rows: Rows of the manifest by video name.
        features: Folder of the feature files.
    """
    return {record.name: _length(record, rows[record.name], features) for record in records}


def _length(record: VideoRecord, row: Row, features: Path) -> VideoLength:
    n_frames, fps = _positive(row, FRAMES), _positive(row, ("fps",))
    if n_frames is not None and n_frames != int(n_frames):
        raise InputError(f"{row.where}: {n_frames:g} frames, expected a whole number")
    if n_frames is not None and fps is not None:
        return VideoLength(int(n_frames), fps)
    found = _from_features(feature_path(features, record.name)) or _from_file(record.path)
    if n_frames is not None:
        return VideoLength(int(n_frames), found.fps)
    return VideoLength(found.n_frames, fps or found.fps, found.in_snippets)


def _positive(row: Row, columns: Sequence[str]) -> float | None:
    """The value of the first of these columns that is not empty."""
    text = next((row.values[name] for name in columns if row.values.get(name)), "")
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value < float("inf"):
        raise InputError(f"{row.where}: {columns[0]} is {text!r}, expected a positive number")
    return value


def _from_features(path: Path) -> VideoLength | None:
    if not path.is_file():
        return None
    meta = read_meta(path)
    imported = meta.decoder == "none"
    return VideoLength(meta.source.n_frames, meta.source.fps, imported)


def _from_file(path: AnyPath) -> VideoLength:
    if not path.is_file():
        return VideoLength()
    try:
        with local_copy(path) as file:
            return _from_local_file(file)
    except FetchError as error:
        log.warning("%s can't be read, so its number of frames is not known: %s", path, fetch_reason(error))
        return VideoLength()


def _from_local_file(path: Path) -> VideoLength:
    suffix = path.suffix.lower()
    if suffix == ".h5":
        try:
            return _from_features(path) or VideoLength()
        except FeatureFileError:
            return VideoLength()  # another project's HDF5 file
    if suffix == ".npy":
        return _from_array(path)
    return _from_video(path) if suffix in VIDEO_SUFFIXES else VideoLength()


def _from_array(path: Path) -> VideoLength:
    """An array of features has a row for each snippet of 16 frames."""
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is not an array of features, so its video's length is not known") from error
    return VideoLength(shape[0] * SNIPPET, in_snippets=True) if len(shape) == 2 else VideoLength()


def _from_video(path: Path) -> VideoLength:
    """From the packets of the video; nothing if it cannot be read, which is no matter for its scores."""
    from extract.decode.probe import probe

    try:
        info = probe(path)
    except (OSError, ValueError) as error:
        log.warning("%s can't be read, so its number of frames is not known: %s", path, error)
        return VideoLength()
    return VideoLength(info.n_frames, info.fps)
