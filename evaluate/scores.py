"""The score file: what inference says about one video, and the only place that expands snippets to frames.

One HDF5 file a video, written to a temporary name and renamed into place, with a checksum over everything
in it. Scores are kept a snippet (16 frames), as the model gives them; the frame is the metrics' unit.

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
from extract.labels import NORMAL

SCHEMA_VERSION = 1
Array = NDArray[Any]


class ScoreFileError(ValueError):
    """A score file that is damaged, incomplete or of another schema."""


@dataclass(frozen=True, eq=False)
class VideoScores:
    """Scores of one video. Raises ValueError (naming the video) where a field breaks what is said here.

    `anomaly_T` is the coarse score in [0, 1]; `classes_TC` the fine one: rows sum to 1 and column 0 is the
    normal class. It is None from a detector that tells only normal from anomalous; `classes` are then those
    of its data. `event_C` and `background_C` are the class distributions of the two
    prototypes (paper, eq. 5 and figure 6), `learned_TD` the features of figure 4, `normal_distance_T` the
    smallest cosine distance to the dynamic normal patterns (figure 5).
    """

    name: str
    anomaly_T: Array
    classes_TC: Array | None
    classes: tuple[str, ...]
    snippet_length: int
    n_frames: int
    fps: float
    event_C: Array | None = None
    background_C: Array | None = None
    frame_index_T: Array | None = None
    time_s_T: Array | None = None
    learned_TD: Array | None = None
    normal_distance_T: Array | None = None

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
            raise ValueError(f"{self.name}: the first class must be {NORMAL!r}, not {self.classes[:1]}")
        sizes = {"T": T, "C": C}
        for name in _ARRAYS:
            suffix = name.rsplit("_", 1)[1]
            value = getattr(self, name)
            if value is None:
                continue
            if value.ndim != len(suffix) or any(
                n != sizes.get(axis, n) for n, axis in zip(value.shape, suffix, strict=True)
            ):
                raise ValueError(f"{self.name}: {name} has shape {value.shape}, with T = {T} and C = {C}")
        check_length(T, self.snippet_length, self.n_frames, self.name)

    def _check_values(self) -> None:
        for name in _ARRAYS:
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"{self.name}: {name} holds NaN or infinite values; score the video again")
        if self.anomaly_T.min() < 0 or self.anomaly_T.max() > 1:
            raise ValueError(f"{self.name}: anomaly scores must lie in [0, 1]")
        if self.classes_TC is not None and (
            self.classes_TC.min() < 0 or abs(self.classes_TC.sum(axis=1) - 1).max() > 1e-3
        ):
            raise ValueError(f"{self.name}: rows of classes_TC must be distributions (>= 0, sum 1)")
        if not self.fps > 0:
            raise ValueError(f"{self.name}: fps must be above 0, not {self.fps}")


_ARRAYS: dict[str, str] = {
    "anomaly_T": "float32",
    "classes_TC": "float32",
    "event_C": "float32",
    "background_C": "float32",
    "frame_index_T": "int64",
    "time_s_T": "float64",
    "learned_TD": "float16",
    "normal_distance_T": "float32",
}
_SCALARS = [field.name for field in fields(VideoScores) if field.name not in _ARRAYS]


def check_length(n_snippets: int, snippet_length: int, n_frames: int, name: str) -> None:
    """Raises ValueError unless n_snippets is n_frames / snippet_length, rounded down or up (at least 1)."""
    full, rest = divmod(n_frames, snippet_length)
    if n_frames < 1 or n_snippets not in {max(full, 1), full + bool(rest)}:
        raise ValueError(
            f"{name}: {n_snippets} snippets of {snippet_length} frames do not fit its {n_frames} frames"
        )


def expand_to_frames(values_T: Array, snippet_length: int, n_frames: int, name: str = "video") -> Array:
    """Snippet values (T, ...) to frame values (n_frames, ...): a value stands for its snippet_length frames.

    The last snippet may be cut (T rounded up), or stand for a tail shorter than a snippet (T rounded down: an
    extractor that drops the tail). Any other length raises ValueError: a mismatch is never cut silently.
    """
    check_length(len(values_T), snippet_length, n_frames, name)
    return values_T[np.minimum(np.arange(n_frames) // snippet_length, len(values_T) - 1)]


def score_path(scores_dir: Path, name: str) -> Path:
    """Where the scores of video `name` lie. Raises ValueError for a name that would leave the folder."""
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise ValueError(f"{name!r} is no video name: no path separators, no leading dot")
    return scores_dir / f"{name}.h5"


def write_scores(path: Path, scores: VideoScores, provenance: Mapping[str, Any]) -> None:
    """Writes the file atomically. `provenance` (JSON-able): digests of model and features, and the config."""
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
    """Reads and verifies one score file. Raises FileNotFoundError or ScoreFileError naming the file."""
    attributes, arrays = _read(path)
    values: dict[str, Any] = {"classes_TC": None, **{name: attributes[name] for name in _SCALARS}, **arrays}
    return VideoScores(**values | {"classes": json.loads(attributes["classes"])})


def read_provenance(path: Path) -> dict[str, Any]:
    """What the scores were made from, as given to write_scores. Verifies the file like read_scores."""
    provenance: dict[str, Any] = json.loads(_read(path)[0]["provenance"])
    return provenance


def content_digest(path: Path) -> str:
    """The checksum kept in the file (sha256, hex), without reading the arrays."""
    with _open(path) as file:
        return str(file.attrs.get("checksum", ""))


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise FileNotFoundError(f"no score file {path}: run inference for this video first")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ScoreFileError(f"{path} is no HDF5 file ({error}); delete it and run inference") from error


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
        raise ScoreFileError(f"{path} has schema {attributes['schema_version']}, expected {SCHEMA_VERSION}")
    if not intact:
        raise ScoreFileError(f"{path} is damaged: its checksum does not match; delete it and run inference")
    return attributes, arrays


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _checksum(attributes: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(json.dumps(dict(attributes), sort_keys=True).encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
