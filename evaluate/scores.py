"""Score files: the detector's output for one video, and its mapping from snippets to frames.

One HDF5 file per video, written atomically, with a checksum over its whole content. Scores are stored per
snippet (usually 16 frames), as the detector returns them; the metrics work on frames.

Shapes: T snippets, C classes (class 0 = normal), D width of the learned features.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from extract.atomic import write_atomically
from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL

SCHEMA_VERSION = 1
Array = NDArray[Any]


class ScoreFileError(InputError):
    """The score file is damaged, incomplete or of another schema version."""


@dataclass(frozen=True, eq=False)
class VideoScores:
    """Scores of one video. Arrays are converted to the types in which a score file stores them.

    Raises ValueError, naming the video, for shapes that do not fit together, NaN or infinite values, scores
    outside [0, 1], class scores that do not sum to 1, a first class other than "normal", a number of snippets
    that does not fit `n_frames`, or a frame rate that is not positive.
    """

    name: str
    anomaly_T: Array
    """Anomaly score of each snippet, in [0, 1] (coarse score)."""
    classes_TC: Array | None
    """Class distribution of each snippet (fine score), rows sum to 1; None if the detector has no classes."""
    classes: tuple[str, ...]
    """The C class names; the first is "normal". Those of the data set if the detector has no classes."""
    snippet_length: int
    """Frames per snippet."""
    n_frames: int
    fps: float
    """Frames per second."""
    event_C: Array | None = None
    """Class distribution of the event prototype (paper, eq. 5 and figure 6)."""
    background_C: Array | None = None
    """Class distribution of the background prototype (paper, eq. 5 and figure 6)."""
    frame_index_T: Array | None = None
    """Frame from which the features of each snippet were computed."""
    time_s_T: Array | None = None
    """Presentation time of that frame, in seconds."""
    start_s_T: Array | None = None
    """Start of the first frame of each snippet, in seconds."""
    end_s_T: Array | None = None
    """End of the last frame of each snippet, in seconds; before a pause it is earlier than the next start."""
    learned_TD: Array | None = None
    """Features after the temporal model (paper, figure 4)."""
    normal_distance_T: Array | None = None
    """Smallest cosine distance to the video's dynamic normal patterns (paper, figure 5)."""

    def __post_init__(self) -> None:
        for name, dtype in _ARRAYS.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.ascontiguousarray(value, dtype=dtype))
        for name, kind in (("classes", tuple), ("snippet_length", int), ("n_frames", int), ("fps", float)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        T, C = len(self.anomaly_T), len(self.classes)
        if self.classes[:1] != (NORMAL,):
            raise InputError(f"{self.name}: the first class must be {NORMAL!r}, not {self.classes[:1]}")
        sizes = {"T": T, "C": C}
        for name in _ARRAYS:
            suffix = name.rsplit("_", 1)[1]
            value = getattr(self, name)
            if value is None:
                continue
            if value.ndim != len(suffix) or any(
                n != sizes.get(axis, n) for n, axis in zip(value.shape, suffix, strict=True)
            ):
                raise InputError(f"{self.name}: {name} has shape {value.shape}, but T = {T} and C = {C}")
        check_length(T, self.snippet_length, self.n_frames, self.name)

    def _check_values(self) -> None:
        for name in _ARRAYS:
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise InputError(
                    f"{self.name}: {name} contains NaN or infinite values; score the video again"
                )
        if self.anomaly_T.min() < 0 or self.anomaly_T.max() > 1:
            raise InputError(f"{self.name}: anomaly scores must be in [0, 1]")
        if self.classes_TC is not None and (
            self.classes_TC.min() < 0 or abs(self.classes_TC.sum(axis=1) - 1).max() > 1e-3
        ):
            raise InputError(f"{self.name}: rows of classes_TC must be >= 0 and sum to 1")
        if not self.fps > 0:
            raise InputError(f"{self.name}: fps must be positive, not {self.fps}")


_ARRAYS: dict[str, str] = {
    "anomaly_T": "float32",
    "classes_TC": "float32",
    "event_C": "float32",
    "background_C": "float32",
    "frame_index_T": "int64",
    "time_s_T": "float64",
    "start_s_T": "float64",
    "end_s_T": "float64",
    "learned_TD": "float16",
    "normal_distance_T": "float32",
}
_SCALARS = [field.name for field in fields(VideoScores) if field.name not in _ARRAYS]


def check_length(n_snippets: int, snippet_length: int, n_frames: int, name: str) -> None:
    """Raise ValueError unless n_snippets = n_frames / snippet_length, rounded down or up, at least 1."""
    full, rest = divmod(n_frames, snippet_length)
    if n_frames < 1 or n_snippets not in {max(full, 1), full + bool(rest)}:
        raise InputError(
            f"{name}: {n_snippets} snippets of {snippet_length} frames do not fit {n_frames} frames"
        )


def expand_to_frames(values_T: Array, snippet_length: int, n_frames: int, name: str = "video") -> Array:
    """Repeat snippet values (T, ...) to frame values (n_frames, ...).

    The last snippet may be incomplete (T rounded up), or its value also covers a tail shorter than a snippet
    (T rounded down, from an extractor that drops the tail). Any other length raises ValueError.
    """
    check_length(len(values_T), snippet_length, n_frames, name)
    return values_T[np.minimum(np.arange(n_frames) // snippet_length, len(values_T) - 1)]


def score_path(scores_dir: Path, name: str) -> Path:
    """Path of the score file of video `name`. Raises ValueError for a name with a path separator."""
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise InputError(f"{name!r} is not a video name: path separators and a leading dot are not allowed")
    return scores_dir / f"{name}.h5"


def write_scores(path: Path, scores: VideoScores, provenance: Mapping[str, Any]) -> None:
    """Write one score file atomically; missing folders are created.

    Equal arguments give equal bytes.

    Args:
        path: File to write, usually `score_path(scores_dir, scores.name)`.
        scores: Scores of one video.
        provenance: Digests of the model and the features, and the configuration; must be JSON serialisable.

    Raises:
        TypeError: `provenance` is not JSON serialisable. An existing file stays as it is.

    Examples:
        >>> from pathlib import Path
        >>> from evaluate import write_scores
        >>> from evaluate.scores import VideoScores, score_path
        >>> scores = VideoScores(
        ...     name="street",
        ...     anomaly_T=[0.1, 0.9, 0.2],
        ...     classes_TC=[[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]],
        ...     classes=("normal", "riot"),
        ...     snippet_length=16,
        ...     n_frames=48,
        ...     fps=25.0,
        ... )
        >>> write_scores(score_path(Path("scores"), scores.name), scores, {"model": "a digest"})
    """
    attributes = {
        "schema_version": SCHEMA_VERSION,
        "provenance": json.dumps(provenance, sort_keys=True),
        **{name: getattr(scores, name) for name in _SCALARS},
        "classes": json.dumps(scores.classes),
    }
    arrays = {name: value for name in _ARRAYS if (value := getattr(scores, name)) is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs.update({**attributes, "checksum": _checksum(attributes, arrays)})
        for name, value in arrays.items():
            file.create_dataset(name, data=value)
    write_atomically(path, image.getvalue())


def read_scores(path: Path) -> VideoScores:
    """Read one score file and verify its checksum.

    Args:
        path: File written by `write_scores`.

    Returns:
        The scores of one video; see `VideoScores` for shapes, units and ranges.

    Raises:
        FileNotFoundError: There is no file at `path`.
        ScoreFileError: The file is not HDF5, incomplete, damaged, or of another schema version.

    Examples:
        >>> from pathlib import Path
        >>> from evaluate import read_scores
        >>> scores = read_scores(Path("scores/street.h5"))
        >>> scores.anomaly_T.shape, scores.classes
        ((3,), ('normal', 'riot'))
    """
    attributes, arrays = _read(path)
    values: dict[str, Any] = {"classes_TC": None, **{name: attributes[name] for name in _SCALARS}, **arrays}
    return VideoScores(**values | {"classes": json.loads(attributes["classes"])})


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance given to `write_scores`. The file is verified; raises like `read_scores`."""
    provenance: dict[str, Any] = json.loads(_read(path)[0]["provenance"])
    return provenance


def content_digest(path: Path) -> str:
    """The checksum stored in the file (SHA-256, hex), empty if there is none; the arrays are not read."""
    with _open(path) as file:
        return str(file.attrs.get("checksum", ""))


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise MissingFileError(f"no score file {path}; run inference for this video")
    try:
        return h5py.File(path, "r", locking=False)  # a score file is replaced as a whole, never changed
    except OSError as error:
        raise ScoreFileError(f"{path} is not an HDF5 file ({error}); delete it and run inference") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    with _open(path) as file:
        try:
            names = ("schema_version", "provenance", *_SCALARS)
            attributes = {name: _plain(file.attrs[name]) for name in names}
            arrays = {name: file[name][()] for name in _ARRAYS if name in file}
            intact = file.attrs["checksum"] == _checksum(attributes, arrays)
        except (KeyError, OSError) as error:
            raise ScoreFileError(f"{path} is incomplete ({error}); delete it and run inference") from error
    if attributes["schema_version"] != SCHEMA_VERSION:
        raise ScoreFileError(
            f"{path} has schema version {attributes['schema_version']}, expected {SCHEMA_VERSION}; "
            "delete it and run inference"
        )
    if not intact:
        raise ScoreFileError(f"{path} is damaged (checksum mismatch); delete it and run inference")
    return attributes, arrays


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _checksum(attributes: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(json.dumps(dict(attributes), sort_keys=True).encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
