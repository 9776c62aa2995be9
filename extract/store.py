"""The feature file: one HDF5 file a video, checksummed as a whole, written atomically (h5py + numpy only).

Layout, all readable with h5py alone:

    features     (T, crops, 512) float16    one row a snippet
    frame_index  (T,) int64                 frame that stands for the snippet, numbered from 0 as shown
    time_s       (T,) float64               its presentation time, seconds after the first frame
    attributes   schema_version, name, decoder, decoder_reason
    source/, encoder/, config/              attributes only: the fields of the class of that name

The first 512 bytes are an HDF5 user block that holds the sha256 of all that follows, so that any
flipped bit of the file is found, in the data and in HDF5's own structures alike.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from extract.atomic import write_atomically
from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig, StrictModel
from extract.source import SourceInfo as SourceInfo  # a part of what is read here

SCHEMA_VERSION = 1
_BLOCK_BYTES = 512
_MAGIC = b"dsanet-features sha256 "
_GROUPS = ("source", "encoder", "config")


class FeatureFileError(ValueError):
    """A feature file is damaged, incomplete or not one of ours."""


class FeatureMeta(StrictModel):
    """All of a feature file but its arrays."""

    schema_version: int = SCHEMA_VERSION
    source: SourceInfo
    encoder: EncoderFingerprint
    config: ExtractConfig
    decoder: str
    decoder_reason: str


@dataclass(frozen=True)
class VideoFeatures:
    """Features of one video: `features` (T, crops, 512) float16, `frame_index` (T,), `time_s` (T,)."""

    name: str
    features: npt.NDArray[np.float16]
    frame_index: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.float64]
    meta: FeatureMeta


def feature_path(features_dir: Path, name: str) -> Path:
    """The feature file of the video called `name`."""
    return features_dir / f"{name}.h5"


def write_features(path: Path, features: VideoFeatures) -> None:
    """Write under a temporary name, read back, flush to disk, rename: `path` is complete or not there.

    The same features give the same bytes. Raises ValueError for arrays of the wrong shape and
    OSError where the disk refuses; no temporary file stays behind then.
    """
    _check_shapes(features)
    image = _hdf5_image(features)
    write_atomically(path, _user_block(image) + image[_BLOCK_BYTES:], check=read_features)


def read_features(path: Path) -> VideoFeatures:
    """Read and check a feature file. Raises FileNotFoundError, or FeatureFileError where it is damaged."""
    image = _checked_image(path)
    try:
        with h5py.File(io.BytesIO(image), "r") as file:
            features = VideoFeatures(
                name=str(file.attrs["name"]),
                features=file["features"][()],
                frame_index=file["frame_index"][()],
                time_s=file["time_s"][()],
                meta=_read_meta(file),
            )
        _check_shapes(features)
    except (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError) as error:
        raise FeatureFileError(f"{path} is not a feature file of schema {SCHEMA_VERSION}: {error}") from error
    return features


def read_meta(path: Path) -> FeatureMeta:
    """All but the arrays; the checksum is checked here too."""
    return read_features(path).meta


def content_digest(path: Path) -> str:
    """The sha256 kept in the file (not computed anew): cheap, and equal for equal content."""
    with path.open("rb") as file:
        block = file.read(_BLOCK_BYTES)
    if not block.startswith(_MAGIC):
        raise FeatureFileError(f"{path} does not begin as a feature file; extract it again")
    return block[len(_MAGIC) :].rstrip(b"\0\n").decode("ascii", "replace")


def _hdf5_image(features: VideoFeatures) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=_BLOCK_BYTES) as file:
        file.create_dataset("features", data=features.features)
        file.create_dataset("frame_index", data=features.frame_index)
        file.create_dataset("time_s", data=features.time_s)
        meta = features.meta.model_dump()
        for group in _GROUPS:
            file.create_group(group).attrs.update(meta.pop(group))
        file.attrs.update({"name": features.name, **meta})
    return buffer.getvalue()


def _read_meta(file: h5py.File) -> FeatureMeta:
    if file.attrs["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"it has schema {file.attrs['schema_version']}")
    root = {key: value for key, value in _plain(file.attrs).items() if key != "name"}
    return FeatureMeta.model_validate(root | {group: _plain(file[group].attrs) for group in _GROUPS})


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.item() if isinstance(value, np.generic) else value for key, value in attributes.items()
    }


def _user_block(image: bytes) -> bytes:
    digest = hashlib.sha256(memoryview(image)[_BLOCK_BYTES:]).hexdigest()
    return (_MAGIC + digest.encode() + b"\n").ljust(_BLOCK_BYTES, b"\0")


def _checked_image(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"no feature file {path}; extract the video first")
    image = path.read_bytes()
    if not image.startswith(_MAGIC):
        raise FeatureFileError(f"{path} does not begin as a feature file; extract it again")
    if image[:_BLOCK_BYTES] != _user_block(image):
        raise FeatureFileError(f"{path} is damaged, its checksum does not match; extract it again")
    return image


def _check_shapes(features: VideoFeatures) -> None:
    snippets = len(features.frame_index)
    wanted = (snippets, features.meta.config.crops, FEATURE_DIM)
    if features.features.shape != wanted or features.features.dtype != np.float16:
        got = f"{features.features.shape} {features.features.dtype}"
        raise ValueError(f"features of {features.name} are {got}, expected {wanted} float16")
    if features.frame_index.shape != features.time_s.shape or features.frame_index.ndim != 1:
        raise ValueError(f"frame_index and time_s of {features.name} need one value a snippet")
