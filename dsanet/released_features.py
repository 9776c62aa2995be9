"""Published `.npy` CLIP features as feature files, so that published experiments run without the videos.

A folder holds one array (T, 512) per video and crop, `<video>__<crop>.npy` (VadCLIP's features: 10 crops for
UCF-Crime, 5 for XD-Violence). The arrays carry no frame information: 16 frames per snippet and `fps` are
assumed.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from extract.clip import ARCHITECTURE
from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig
from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL, XD_VIOLENCE_CODES
from extract.manifest import SPLITS, VideoRecord, check_name, parse_labels, write_manifest
from extract.preprocess import PREPROCESSING
from extract.store import FeatureMeta, SourceInfo, VideoFeatures, feature_path, write_features
from extract.tables import Row, read_table

SNIPPET_LENGTH = 16
CROP_COUNTS = (1, 5, 10)
PUBLISHED_ENCODER = EncoderFingerprint(
    architecture=ARCHITECTURE, weights_digest="published", preprocessing=PREPROCESSING, precision="fp16"
)
"""Declared, not computed: an array does not identify the weights that produced it."""


@dataclass(frozen=True)
class ImportedFeatures:
    """Result of `import_features`."""

    manifest: Path
    """Manifest of the imported videos for training and inference; its paths are the feature files."""
    imported: list[str]
    """Names of the videos with a feature file."""
    missing: list[str]
    """Names of the listed videos without an array."""


def import_features(
    arrays_dir: Path,
    manifest: Path,
    out_dir: Path,
    *,
    encoder: EncoderFingerprint = PUBLISHED_ENCODER,
    split: str = "train",
    fps: float = 30.0,
) -> ImportedFeatures:
    """Write a feature file into `out_dir` for each video of `manifest` with arrays in or below `arrays_dir`.

    `manifest` is a manifest of this project (its videos need not exist) or one of the field's lists
    (`path,label`, one row per crop), whose videos get `split`. `encoder` is the fingerprint stored in the
    files: a checkpoint only scores features of its own encoder. Raises FileNotFoundError for a missing
    folder or list, and ValueError naming the file for an array that needs pickle, has another shape or holds
    non-finite values, and for crops of different lengths.
    """
    if not arrays_dir.is_dir():
        raise MissingFileError(f"no folder {arrays_dir}; expected <video>__<crop>.npy in and below it")
    arrays: dict[str, list[Path]] = {}
    for path in sorted(arrays_dir.rglob("*.npy"), key=lambda path: (_video_and_crop(path), path)):
        arrays.setdefault(_video_and_crop(path)[0], []).append(path)
    _refuse_same_crops(arrays)
    listed = read_list(manifest, split)
    out_dir.mkdir(parents=True, exist_ok=True)
    records = []
    for name, labels, row_split in listed:
        if name in arrays:
            write_features(feature_path(out_dir, name), _features(name, arrays[name], encoder, fps))
            records.append(VideoRecord(name, feature_path(out_dir, name), labels, row_split))
    write_manifest(out_dir / "manifest.csv", records)
    imported = [record.name for record in records]
    return ImportedFeatures(
        out_dir / "manifest.csv", imported, [name for name, _, _ in listed if name not in imported]
    )


def read_list(path: Path, split: str) -> list[tuple[str, tuple[str, ...], str]]:
    """Name, labels and split of each video in a manifest or one of the field's lists.

    The listed files need not exist. Raises MissingFileError for a missing list, and InputError naming the
    line.
    """
    if not path.is_file():
        raise MissingFileError(f"no list at {path}; expected a manifest, or a CSV with path and label")
    videos: dict[str, tuple[tuple[str, ...], str]] = {}
    for row in read_table(path, ("path",), ("labels", "label", "split", "name")):
        try:
            name, labels_and_split = _parse_row(row, split)
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from error
        if videos.setdefault(name, labels_and_split) != labels_and_split:
            raise InputError(f"{row.where}: {name} has other labels or another split in an earlier row")
    return [(name, labels, row_split) for name, (labels, row_split) in videos.items()]


def _parse_row(row: Row, split: str) -> tuple[str, tuple[tuple[str, ...], str]]:
    text, row_split = row["labels"] or row["label"], row["split"].lower() or split
    if not row["path"] or not text:
        raise InputError("path or label is empty; expected both")
    if row_split not in SPLITS:
        raise InputError(f"split is {row_split!r}, expected {', '.join(SPLITS)}")
    name = row["name"] or _video_and_crop(Path(row["path"]))[0]
    check_name(name)
    return name, (_labels(text), row_split)


def _labels(text: str) -> tuple[str, ...]:
    """Labels as in a manifest (`fighting|riot`), of UCF-Crime (`RoadAccidents`) or XD-Violence (`B2-G-0`)."""
    codes = [code for code in text.split("-") if code != "0"]
    if codes and all(code in XD_VIOLENCE_CODES for code in codes):
        return tuple(XD_VIOLENCE_CODES[code] for code in codes)
    return (NORMAL,) if text.lower().startswith(NORMAL) else parse_labels(text)


def _refuse_same_crops(arrays: dict[str, list[Path]]) -> None:
    for paths in arrays.values():
        for first, second in pairwise(paths):
            if _video_and_crop(first) == _video_and_crop(second):
                raise InputError(f"{first} and {second} are the same crop of one video; keep one of them")


def _video_and_crop(path: Path) -> tuple[str, int]:
    match = re.fullmatch(r"(.+)__(\d+)", path.stem)
    return (match[1], int(match[2])) if match else (path.stem, 0)


def _features(name: str, paths: Sequence[Path], encoder: EncoderFingerprint, fps: float) -> VideoFeatures:
    crops = [_array(path) for path in paths]
    if len(crops) not in CROP_COUNTS or len({len(crop) for crop in crops}) > 1:
        raise InputError(
            f"{name} has {len(crops)} crops of {sorted({len(crop) for crop in crops})} snippets "
            f"in {paths[0].parent}; expected {', '.join(map(str, CROP_COUNTS))} of one length"
        )
    snippets = len(crops[0])
    frames = np.arange(snippets) * SNIPPET_LENGTH + SNIPPET_LENGTH // 2
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    source = SourceInfo(
        file_name=paths[0].name,
        sha256=digest,
        size=sum(path.stat().st_size for path in paths),
        mtime_ns=0,
        codec="npy",
        fps=fps,
        n_frames=snippets * SNIPPET_LENGTH,
        width=0,
        height=0,
        duration_s=snippets * SNIPPET_LENGTH / fps,
    )
    meta = FeatureMeta(
        source=source,
        encoder=encoder,
        config=ExtractConfig.model_validate({"crops": len(crops)}),
        decoder="none",
        decoder_reason="published features, imported",
    )
    return VideoFeatures(name, np.stack(crops, axis=1), frames, frames / fps, meta)


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} is not an array of numbers: it is damaged, or it holds Python objects, and loading "
            "these would run code from the file"
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays (.npz); expected one array")
    if array.ndim != 2 or array.shape[1] != FEATURE_DIM or not len(array):
        raise InputError(f"{path} has shape {array.shape}, expected (snippets, {FEATURE_DIM})")
    with np.errstate(over="ignore"):
        array = array.astype(np.float16)
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds values that are not finite numbers in float16")
    return array
