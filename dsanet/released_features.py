"""Published `.npy` CLIP features as feature files, so that published experiments run without the videos.

A folder holds one array (T, 512) per video and crop, `<video>__<crop>.npy` (VadCLIP's features: 10 crops for
UCF-Crime, 5 for XD-Violence), in any subfolders. The arrays carry no frame information: 16 frames per snippet
and `fps` are assumed.
"""

import glob
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from dsanet.feature_lists import ListedVideo, read_lists, video_and_crop
from extract.clip import ARCHITECTURE
from extract.config import FEATURE_DIM, PUBLISHED, EncoderFingerprint, ExtractConfig
from extract.errors import InputError, MissingFileError
from extract.manifest import VideoRecord, read_manifest, write_manifest
from extract.preprocess import PREPROCESSING
from extract.store import (
    IMPORTED,
    FeatureFileError,
    FeatureMeta,
    SourceInfo,
    VideoFeatures,
    feature_path,
    read_meta,
    write_features,
)

SNIPPET_LENGTH = 16
CROP_COUNTS = (1, 5, 10)
MANIFEST_FILE = "manifest.csv"
OnMissing = Literal["raise", "list", "skip"]
PUBLISHED_ENCODER = EncoderFingerprint(
    architecture=ARCHITECTURE, weights_digest=PUBLISHED, preprocessing=PREPROCESSING, precision="fp16"
)
"""Declared, not computed: an array does not identify the weights that produced it."""


@dataclass(frozen=True)
class ImportedFeatures:
    """Result of `import_features`."""

    manifest: Path
    """Manifest of all videos imported into the folder so far; the paths in it need not exist."""
    imported: list[str]
    """Names of the videos with a feature file."""
    missing: dict[str, str]
    """The listed videos that are left out, and why."""


def import_features(
    arrays_dir: Path,
    lists: Sequence[Path],
    out_dir: Path,
    *,
    encoder: EncoderFingerprint = PUBLISHED_ENCODER,
    split: str | None = None,
    fps: float = 30.0,
    missing: OnMissing = "list",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportedFeatures:
    """Write a feature file into `out_dir` for each listed video with arrays in or below `arrays_dir`.

    The crops are those that the list names, or all in the folder for a list that names no arrays. The
    manifest in `out_dir` keeps the videos of earlier imports. Unchanged feature files are not written again.

    Args:
        arrays_dir: Folder of the arrays, searched recursively; the folders named in the lists do not matter.
        lists: Manifests of this project (their videos need not exist), or the field's lists (`path,label`, a
            row per crop).
        out_dir: Folder for the feature files and `manifest.csv`.
        encoder: Fingerprint stored in the files.
        split: Split of the videos of lists that have none; default: by the list's file name (`read_lists`).
        fps: Frame rate of the videos.
        missing: `raise` for a listed video without its arrays; `list` leaves it out; `skip` leaves out also a
            video with an invalid array, and keeps both in the manifest, so that they are counted.
        on_progress: Called with the number of finished videos and of all.

    Raises:
        MissingFileError: There is no such folder or list.
        InputError: A video lacks arrays (`raise`), an array needs pickle, has another shape, or holds
            non-finite values, the crops of a video have different lengths, or one lies in two folders. The
            message names the file.
    """
    if not arrays_dir.is_dir():
        raise MissingFileError(f"no folder {arrays_dir}; expected <video>__<crop>.npy in and below it")
    videos = read_lists(lists, split)
    found = _index(arrays_dir)
    left_out = {v.name: reason for v in videos if (reason := _missing_reason(v, found))}
    if left_out and missing == "raise":
        name, reason = next(iter(left_out.items()))
        raise InputError(
            f"{name}: {reason} in or below {arrays_dir} ({len(left_out)} of {len(videos)} listed videos lack "
            "arrays); complete the folder, or leave them out with --missing skip"
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    for number, video in enumerate(videos, 1):
        if video.name not in left_out:
            try:
                _import_video(video, found, out_dir, encoder, fps)
            except InputError as error:
                if missing != "skip":
                    raise
                left_out[video.name] = str(error)
        if on_progress is not None:
            on_progress(number, len(videos))
    # The paths need not exist: training and inference use the feature files alone.
    records = [
        VideoRecord(video.name, out_dir / f"{video.name}.mp4", video.labels, video.split)
        for video in videos
        if missing == "skip" or video.name not in left_out
    ]
    manifest = out_dir / MANIFEST_FILE
    write_manifest(manifest, _with_earlier(manifest, records))
    imported = [record.name for record in records if record.name not in left_out]
    return ImportedFeatures(manifest, imported, left_out)


def _with_earlier(manifest: Path, records: Sequence[VideoRecord]) -> list[VideoRecord]:
    """The records of an earlier import into the folder, those of this one in their place or at the end."""
    earlier = read_manifest(manifest, needs_no_file=lambda record: True) if manifest.is_file() else []
    merged = {record.name: record for record in earlier} | {record.name: record for record in records}
    return list(merged.values())


def _index(folder: Path) -> dict[str, list[Path]]:
    """The arrays in and below a folder, also behind links to folders, by file name without suffix."""
    found: dict[str, list[Path]] = {}
    # Path.rglob does not follow links to folders before Python 3.13.
    for path in sorted(glob.iglob("**/*.npy", root_dir=folder, recursive=True)):  # noqa: PTH207
        found.setdefault(Path(path).stem, []).append(folder / path)
    return found


def _missing_reason(video: ListedVideo, found: Mapping[str, list[Path]]) -> str | None:
    """Why a listed video has no features; None if all its arrays are there."""
    if video.arrays:
        absent = [path.name for path in video.arrays if path.stem not in found]
        more = f" and {len(absent) - 1} more of its arrays" if len(absent) > 1 else ""
        return f"no array {absent[0]}{more}" if absent else None
    return None if _own_stems(video.name, found) else f"no array {video.name}.npy or {video.name}__<crop>.npy"


def _own_stems(name: str, found: Mapping[str, list[Path]]) -> list[str]:
    """The stems of all arrays of a video, by crop."""
    stems = [name, *(f"{name}__{crop}" for crop in range(max(CROP_COUNTS)))]
    return [stem for stem in stems if stem in found]


def _import_video(
    video: ListedVideo,
    found: Mapping[str, list[Path]],
    out_dir: Path,
    encoder: EncoderFingerprint,
    fps: float,
) -> None:
    listed = video.arrays or tuple(PurePosixPath(f"{stem}.npy") for stem in _own_stems(video.name, found))
    ordered = sorted(listed, key=lambda path: video_and_crop(path.stem)[1] or 0)
    paths = [_nearest(path, found[path.stem]) for path in ordered]
    contents = [path.read_bytes() for path in paths]
    crops = [_array(path, content) for path, content in zip(paths, contents, strict=True)]
    meta = _meta(video.name, paths, contents, [len(crop) for crop in crops], encoder, fps)
    target = feature_path(out_dir, video.name)
    if not _is_same(target, meta):
        write_features(target, _features(video.name, crops, meta))


def _nearest(listed: PurePosixPath, candidates: Sequence[Path]) -> Path:
    """The one array of this name or, of several, the one whose folders are those of the list."""
    shared = [_shared_end(listed, candidate) for candidate in candidates]
    nearest = [path for path, count in zip(candidates, shared, strict=True) if count == max(shared)]
    first = nearest[0]
    if other := next((path for path in nearest if not path.samefile(first)), None):
        raise InputError(f"{first} and {other} are the same crop of one video; keep one of them")
    return first


def _shared_end(listed: PurePosixPath, path: Path) -> int:
    """Number of equal parts at the ends of two paths."""
    count = 0
    for ours, theirs in zip(reversed(path.parts), reversed(listed.parts), strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def _meta(
    name: str,
    paths: Sequence[Path],
    contents: Sequence[bytes],
    lengths: Sequence[int],
    encoder: EncoderFingerprint,
    fps: float,
) -> FeatureMeta:
    if len(paths) not in CROP_COUNTS or len(set(lengths)) > 1:
        raise InputError(
            f"{name} has {len(paths)} crops of {sorted(set(lengths))} snippets "
            f"in {paths[0].parent}; expected {', '.join(map(str, CROP_COUNTS))} of one length"
        )
    frames = lengths[0] * SNIPPET_LENGTH
    source = SourceInfo(
        file_name=paths[0].name,
        sha256=hashlib.sha256(b"".join(contents)).hexdigest(),
        size=sum(map(len, contents)),
        mtime_ns=0,
        codec="npy",
        fps=fps,
        n_frames=frames,
        width=0,
        height=0,
        duration_s=frames / fps,
    )
    return FeatureMeta(
        source=source,
        encoder=encoder,
        config=ExtractConfig.model_validate({"crops": len(paths)}),
        decoder=IMPORTED,
        decoder_reason="published features, imported",
    )


def _is_same(path: Path, meta: FeatureMeta) -> bool:
    """True if the feature file was imported from the same arrays, with the same settings."""
    try:
        return read_meta(path) == meta
    except (MissingFileError, FeatureFileError):
        return False


def _features(name: str, crops: Sequence[npt.NDArray[np.floating]], meta: FeatureMeta) -> VideoFeatures:
    frames = np.arange(len(crops[0])) * SNIPPET_LENGTH + SNIPPET_LENGTH // 2
    return VideoFeatures(name, np.stack(crops, axis=1), frames, frames / meta.source.fps, meta)


def _array(path: Path, content: bytes) -> npt.NDArray[np.floating]:
    """The array (T, 512): float16 or, if that would round its values, float32."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} is not an array of numbers: it is damaged, or it holds Python objects, and loading "
            "these would run code from the file"
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays (.npz); expected one array")
    if array.ndim != 2 or array.shape[1] != FEATURE_DIM or not len(array):
        raise InputError(f"{path} has shape {array.shape}, expected (snippets, {FEATURE_DIM})")
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path} holds values of type {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):
        half, single = array.astype(np.float16), array.astype(np.float32)
    if not np.isfinite(half).all():
        raise InputError(f"{path} holds values that are not finite numbers in float16")
    return half if np.array_equal(half, single) else single
