"""The feature file: one HDF5 file per video with a checksum over the whole file, written atomically.

Layout, readable with h5py alone (T snippets):

    features     (T, crops, 512) float16    CLIP embeddings, not normalised; imported ones may be float32
    frame_index  (T,) int64                 frame that represents the snippet, from 0 in presentation order
    time_s       (T,) float64               presentation time of that frame, in seconds
    start_s      (T,) float64               start of the first frame of the snippet, in seconds
    end_s        (T,) float64               end of its last frame; before a pause earlier than the next start
    attributes   schema_version, name, decoder, decoder_reason
    source/, encoder/, config/              groups with attributes only: the fields of `SourceInfo`,
                                            `EncoderFingerprint` and `ExtractConfig`

The first 512 bytes are an HDF5 user block with the sha256 of the rest of the file, so that every flipped bit
is detected, in the arrays and in HDF5's own structures.
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
from extract.errors import InputError, MissingFileError
from extract.source import SourceInfo as SourceInfo  # re-exported as a field of FeatureMeta

SCHEMA_VERSION = 1
_BLOCK_BYTES = 512
_MAGIC = b"dsanet-features sha256 "
_GROUPS = ("source", "encoder", "config")
_SPANS = ("start_s", "end_s")


IMPORTED = "none"
"""Decoder of features that were imported: there is no video to extract them from."""


class FeatureFileError(InputError):
    """A file that is damaged, incomplete or not a feature file."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class FeatureMeta(StrictModel):
    """Metadata of a feature file."""

    schema_version: int = SCHEMA_VERSION
    source: SourceInfo
    encoder: EncoderFingerprint
    config: ExtractConfig
    decoder: str
    """`pyav-sparse`, `pyav-full` or `decord`; IMPORTED for features without a video."""
    decoder_reason: str


@dataclass(frozen=True)
class VideoFeatures:
    """Features of one video with T snippets."""

    name: str
    features: npt.NDArray[np.float16]
    """(T, crops, 512) CLIP embeddings, not normalised; crop order as in `extract.preprocess`."""
    frame_index: npt.NDArray[np.int64]
    """(T,) frame that represents each snippet, numbered from 0 in presentation order."""
    time_s: npt.NDArray[np.float64]
    """(T,) presentation time of that frame, in seconds after the container's start."""
    meta: FeatureMeta
    start_s: npt.NDArray[np.float64] | None = None
    """(T,) start of the first frame of each snippet, in seconds; None in files of earlier versions."""
    end_s: npt.NDArray[np.float64] | None = None
    """(T,) end of the last frame of each snippet, in seconds."""


def feature_path(features_dir: Path, name: str) -> Path:
    """Path of the feature file of the video `name`."""
    return features_dir / f"{name}.h5"


def write_features(path: Path, features: VideoFeatures) -> None:
    """Write a feature file atomically, after reading it back; equal features give equal bytes.

    Args:
        path: The file to write or replace, in an existing folder: `feature_path(folder, features.name)`.
        features: `features` (T, crops, 512) float16 with `crops` of `meta.config`, `frame_index` (T,) and
            `time_s` (T,).

    Raises:
        ValueError: An array has the wrong shape or dtype.
        OSError: The disk refuses. `path` is then unchanged, and no temporary file remains.

    Examples:
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from extract import read_features, write_features
        >>> features = read_features(Path("features/video.h5"))
        >>> write_features(Path("features/copy.h5"), replace(features, name="copy"))
    """
    write_image(path, feature_image(features))


def feature_image(features: VideoFeatures) -> bytes:
    """The bytes of a feature file. Raises ValueError for an array of the wrong shape or dtype."""
    _check_shapes(features)
    image = _hdf5_image(features)
    return _user_block(image) + image[_BLOCK_BYTES:]


def write_image(path: Path, image: bytes) -> None:
    """Write the bytes of a feature file as `write_features` does."""
    write_atomically(path, image, check=read_features)


def read_features(path: Path) -> VideoFeatures:
    """Read a feature file after checking its checksum.

    Args:
        path: A file written by `extract_videos` or `write_features`.

    Returns:
        `features` (T, crops, 512) float16, `frame_index` (T,) int64, `time_s` (T,) float64 in seconds, and
        `meta` with the source video, the encoder's fingerprint and the config.

    Raises:
        FileNotFoundError: The file does not exist.
        FeatureFileError: The file is damaged or not a feature file (a ValueError).

    Examples:
        >>> from pathlib import Path
        >>> from extract import read_features
        >>> features = read_features(Path("features/video.h5"))
        >>> features.features.shape, features.frame_index.tolist()
        ((3, 1, 512), [8, 24, 36])
    """
    if not path.is_file():
        raise MissingFileError(f"no feature file {path}; extract the video first")
    return parse_features(path, path.read_bytes())


def parse_features(path: Path, image: bytes) -> VideoFeatures:
    """`read_features` of a file whose bytes are `image`."""
    _check_image(path, image)
    try:
        with h5py.File(io.BytesIO(image), "r") as file:
            features = VideoFeatures(
                name=str(file.attrs["name"]),
                features=file["features"][()],
                frame_index=file["frame_index"][()],
                time_s=file["time_s"][()],
                meta=_read_meta(file),
                **{name: file[name][()] for name in _SPANS if name in file},
            )
        _check_shapes(features)
    except (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError) as error:
        raise FeatureFileError(
            f"{path} is not a feature file of schema {SCHEMA_VERSION}: {error}", path
        ) from error
    return features


def read_meta(path: Path) -> FeatureMeta:
    """The metadata of a feature file, after checking its checksum. Raises as `read_features`."""
    return read_features(path).meta


def content_digest(path: Path) -> str:
    """The sha256 stored in the file, without recomputing it; equal for equal content.

    Raises FileNotFoundError, or FeatureFileError for a file without the feature file's signature.
    """
    with path.open("rb") as file:
        block = file.read(_BLOCK_BYTES)
    if not block.startswith(_MAGIC):
        raise FeatureFileError(_not_a_feature_file(path), path)
    return stored_digest(block)


def stored_digest(image: bytes) -> str:
    """`content_digest` of a feature file whose bytes are `image`."""
    return image[len(_MAGIC) : _BLOCK_BYTES].rstrip(b"\0\n").decode("ascii", "replace")


def _hdf5_image(features: VideoFeatures) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=_BLOCK_BYTES) as file:
        file.create_dataset("features", data=features.features)
        file.create_dataset("frame_index", data=features.frame_index)
        file.create_dataset("time_s", data=features.time_s)
        for name in _SPANS:
            if (value := getattr(features, name)) is not None:
                file.create_dataset(name, data=value)
        meta = features.meta.model_dump()
        for group in _GROUPS:
            file.create_group(group).attrs.update(meta.pop(group))
        file.attrs.update({"name": features.name, **meta})
    return buffer.getvalue()


def _read_meta(file: h5py.File) -> FeatureMeta:
    if file.attrs["schema_version"] != SCHEMA_VERSION:
        raise InputError(f"its schema_version is {file.attrs['schema_version']}")
    root = {key: value for key, value in _plain(file.attrs).items() if key != "name"}
    return FeatureMeta.model_validate(root | {group: _plain(file[group].attrs) for group in _GROUPS})


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.item() if isinstance(value, np.generic) else value for key, value in attributes.items()
    }


def _user_block(image: bytes) -> bytes:
    digest = hashlib.sha256(memoryview(image)[_BLOCK_BYTES:]).hexdigest()
    return (_MAGIC + digest.encode() + b"\n").ljust(_BLOCK_BYTES, b"\0")


def _not_a_feature_file(path: Path) -> str:
    return f"{path} is not a feature file: its signature is missing; extract the video again"


def _check_image(path: Path, image: bytes) -> None:
    if not image.startswith(_MAGIC):
        raise FeatureFileError(_not_a_feature_file(path), path)
    if image[:_BLOCK_BYTES] != _user_block(image):
        raise FeatureFileError(
            f"{path} is damaged: its checksum does not match; extract the video again", path
        )


def _check_shapes(features: VideoFeatures) -> None:
    snippets = len(features.frame_index)
    wanted = (snippets, features.meta.config.crops, FEATURE_DIM)
    # float32 only in features that were imported and that float16 would round.
    exact = features.features.dtype in (np.float16, np.float32)
    if features.features.shape != wanted or not exact:
        got = f"{features.features.shape} {features.features.dtype}"
        raise ValueError(f"features of {features.name} are {got}, expected {wanted} float16")
    times = [t for t in (features.time_s, features.start_s, features.end_s) if t is not None]
    if features.frame_index.ndim != 1 or any(t.shape != features.frame_index.shape for t in times):
        raise ValueError(f"frame_index and the times of {features.name} need one value per snippet")
