"""Temporal annotations in the formats of other projects, matched with the videos of a manifest by name.

| source | content |
|---|---|
| `.txt`, `.tsv` | UCF-Crime's or XD-Violence's official file |
| `.csv` | this project's annotations |
| `.json` | videos with their segments, `start_frame` and `end_frame` |
| `.npy` | the label (0 or 1) of every frame of all test videos, in the order of the list |
| a folder | `NAME.npy`, the labels of the frames of one video (ShanghaiTech) |

Ends are exclusive. A source without classes gives its segments the class of a video that has one; of a video
with several classes it annotates the frames only.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import (
    AnnotationError,
    Segment,
    parse_segment,
    read_annotation_file,
    video_stem,
    xd_violence_codes,
)
from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL, XD_VIOLENCE_CODES
from extract.tables import read_lines, read_text

_NAMES = ("name", "video_name", "video", "video_id", "id", "path", "file_name")
_SEGMENTS = ("anomalous", "segments", "anomalies", "annotations", "events", "intervals")
_STARTS, _ENDS = ("start_frame", "start"), ("end_frame", "end")


class ListedVideo(Protocol):
    """Name, labels and length of a video to annotate; `n_frames` is None where it is not known."""

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def n_frames(self) -> int | None: ...


@dataclass
class ImportedAnnotations:
    """Annotations by video name."""

    segments: dict[str, list[Segment]] = field(default_factory=dict)
    """Segments of the videos whose classes are known; [] for a normal one."""
    frames: dict[str, list[Segment]] = field(default_factory=dict)
    """Segments that define the frame labels of the others."""


def import_annotations(source: Path, videos: Sequence[ListedVideo]) -> ImportedAnnotations:
    """The annotations of `videos` in a file or folder of any of the module's formats.

    Videos that the source does not name are missing in the result. Raises MissingFileError without a source,
    AnnotationError, naming file and place, for invalid content, and for labels that are not one a frame.
    """
    if not source.exists():
        raise MissingFileError(f"no annotations at {source}; expected a file or a folder of .npy files")
    if source.is_dir():
        return _without_classes(_folder_segments(source, videos), videos, str(source))
    suffix = source.suffix.lower()
    if suffix == ".npy":
        return _without_classes(_array_segments(source, videos), videos, source.name)
    if suffix == ".json":
        return _json_annotations(source, videos)
    if suffix == ".csv":
        found = read_annotation_file(source)
        by_name = {path.stem: segments for path, segments in found.segments.items()}
        return ImportedAnnotations(by_name, {path.stem: used for path, used in found.frames.items()})
    return _official_annotations(source, videos)


def import_ucf_crime_annotations(path: Path) -> dict[str, list[Segment]]:
    """Segments by video name (without extension) from UCF-Crime's `Temporal_Anomaly_Annotation.txt`.

    A line holds name, class and two pairs of start and end; a missing segment is -1 -1. Normal videos have an
    empty list. Further columns (the frame count of `test-frame-counts.tsv`) are ignored. Raises
    AnnotationError, naming the line.
    """
    annotations = {}
    for where, (name, label, *frames) in _lines(path, least=6):
        pairs = [(start, end) for start, end in (frames[0:2], frames[2:4]) if start != "-1"]
        annotations[video_stem(name)] = [parse_segment(label, start, end, where) for start, end in pairs]
    return annotations


def import_xd_violence_annotations(path: Path) -> dict[str, list[Segment]]:
    """Segments by video name (without extension) from XD-Violence's `annotations_multiclasses.txt`.

    The file has a class code for each segment and does not list normal videos. Raises AnnotationError, naming
    the line.
    """
    annotations = {}
    for where, (name, *values) in _lines(path, least=4):
        if len(values) % 3 or values[0] not in XD_VIOLENCE_CODES:
            raise AnnotationError(
                f"{where}: expected a name and, for each segment, class code, start and end, not "
                f"{' '.join(values)}"
            )
        annotations[video_stem(name)] = [
            parse_segment(XD_VIOLENCE_CODES.get(code, code), start, end, where)
            for code, start, end in zip(values[0::3], values[1::3], values[2::3], strict=True)
        ]
    return annotations


def import_xd_violence_frames(path: Path) -> dict[str, list[Segment]]:
    """Segments by video name (without extension) from XD-Violence's `annotations.txt`.

    The file has no classes: a segment gets the first class of its video's name. It does not list normal
    videos. Raises AnnotationError, naming the line.
    """
    annotations = {}
    for where, (name, *values) in _lines(path, least=3):
        if len(values) % 2:
            raise AnnotationError(f"{where}: the last segment is incomplete: {' '.join(values)}")
        label = XD_VIOLENCE_CODES[xd_violence_codes(name)[0]]
        annotations[video_stem(name)] = [
            parse_segment(label, start, end, where)
            for start, end in zip(values[0::2], values[1::2], strict=True)
        ]
    return annotations


def _official_annotations(path: Path, videos: Sequence[ListedVideo]) -> ImportedAnnotations:
    """Of a file of UCF-Crime or XD-Violence, told apart by the second field of its first line."""
    first = next(iter(_lines(path, least=3)), None)
    if first is None:
        raise AnnotationError(f"{path} has no lines; expected a video with its segments in each")
    second = first[1][1]
    if second in XD_VIOLENCE_CODES:
        return ImportedAnnotations(import_xd_violence_annotations(path))
    if second.lstrip("-").isdigit():
        return _without_classes(import_xd_violence_frames(path), videos, path.name)
    return ImportedAnnotations(import_ucf_crime_annotations(path))


def _json_annotations(path: Path, videos: Sequence[ListedVideo]) -> ImportedAnnotations:
    """Of `{"videos": [{"video_name": …, "label": …, "anomalous": [{"start_frame": …, "end_frame": …}]}]}`.

    The list may stand alone; a mapping from names to segments will do as well, and so do pairs [start, end].
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    labels = {video.name: video.labels for video in videos}
    found, classes = ImportedAnnotations(), dict[str, list[Segment]]()
    for number, entry in enumerate(_json_entries(content, path), 1):
        where = f"{path.name}, video {number}"
        name = _json_name(entry, where, labels)
        own = entry.get("label")
        known = labels.get(name, ())
        label = str(own) if isinstance(own, str) else known[0] if known else ""
        segments = list(_json_segments(entry, label, where))
        if isinstance(own, str) or any("label" in one for one in _json_list(entry) if isinstance(one, dict)):
            found.segments[name] = segments
        else:
            classes[name] = segments
    untold = _without_classes(classes, videos, path.name)
    return ImportedAnnotations(found.segments | untold.segments, untold.frames)


def _json_entries(content: Any, path: Path) -> list[dict[str, Any]]:
    entries = content.get("videos", content) if isinstance(content, dict) else content
    if isinstance(entries, dict):
        entries = [
            {"name": name, **(value if isinstance(value, dict) else {"segments": value})}
            for name, value in entries.items()
        ]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AnnotationError(f'{path}: expected {{"videos": [{{"name": …, "segments": […]}}]}}')
    return entries


def _json_name(entry: Mapping[str, Any], where: str, known: Iterable[str]) -> str:
    written = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str)), None)
    if written is None:
        raise AnnotationError(f"{where}: no name; expected one of {', '.join(_NAMES)}")
    bare = written.replace("\\", "/").rpartition("/")[2]
    return bare if bare in known else Path(bare).stem


def _json_list(entry: Mapping[str, Any]) -> list[Any]:
    given: list[Any] = next((entry[key] for key in _SEGMENTS if isinstance(entry.get(key), list)), [])
    pair = len(given) == 2 and not any(isinstance(value, list | dict) for value in given)
    return [given] if pair else given


def _json_segments(entry: Mapping[str, Any], label: str, where: str) -> Iterator[Segment]:
    for one in _json_list(entry):
        if isinstance(one, dict):
            start, end = (next((one[key] for key in keys if key in one), None) for keys in (_STARTS, _ENDS))
            own = str(one.get("label", label))
        elif isinstance(one, list) and len(one) == 2:
            (start, end), own = one, label
        else:
            start = end = None
            own = label
        if not isinstance(start, int) or not isinstance(end, int):
            raise AnnotationError(f"{where}: expected start_frame and end_frame, whole numbers, not {one}")
        yield parse_segment(own, str(start), str(end), where)


def _folder_segments(folder: Path, videos: Sequence[ListedVideo]) -> dict[str, list[Segment]]:
    files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    if not files:
        raise MissingFileError(f"no .npy files in {folder}; expected NAME.npy with a label (0 or 1) a frame")
    return {
        video.name: _runs(_labels(files[video.name], video.n_frames, video.name), video)
        for video in videos
        if video.name in files
    }


def _array_segments(path: Path, videos: Sequence[ListedVideo]) -> dict[str, list[Segment]]:
    unknown = [video.name for video in videos if video.n_frames is None]
    if unknown:
        raise InputError(
            f"{path}: the number of frames of {unknown[0]} is not known, so the array can't be divided among "
            "the videos; extract or import their features first"
        )
    counts = [video.n_frames or 0 for video in videos]
    labels = _labels(path, sum(counts), f"the {len(videos)} test videos")
    parts = np.split(labels, np.cumsum(counts)[:-1])
    return {video.name: _runs(part, video) for video, part in zip(videos, parts, strict=True)}


def _labels(path: Path, n_frames: int | None, owner: str) -> NDArray[np.bool_]:
    """One label a frame. AnnotationError for another number of labels, or values other than 0 and 1."""
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise AnnotationError(f"{path} is not an array of numbers, or it is damaged") from error
    if not isinstance(values, np.ndarray) or values.size != max(values.shape, default=0):
        raise AnnotationError(f"{path}: expected one label (0 or 1) a frame, in one array")
    flat = values.reshape(-1)
    if flat.dtype.kind not in "biuf" or not np.isin(flat, (0, 1)).all():
        raise AnnotationError(f"{path}: expected the labels 0 (normal) and 1 (anomalous), found others")
    if n_frames is not None and len(flat) != n_frames:
        raise AnnotationError(f"{path} has {len(flat):,} labels, but {owner} have {n_frames:,} frames")
    return flat.astype(bool)


def _runs(labels_F: NDArray[np.bool_], video: ListedVideo) -> list[Segment]:
    edges = np.flatnonzero(np.diff(labels_F, prepend=False, append=False))
    return [
        Segment(video.labels[0], int(start), int(end))
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def _without_classes(
    found: Mapping[str, list[Segment]], videos: Sequence[ListedVideo], source: str
) -> ImportedAnnotations:
    """Segments of videos with one class, frames of those with several."""
    imported = ImportedAnnotations()
    for video in videos:
        if video.name not in found:
            continue
        segments = found[video.name]
        if segments and NORMAL in video.labels:
            raise AnnotationError(f"{source}: {video.name} has anomalous frames, but its label is {NORMAL!r}")
        if len(video.labels) == 1:
            imported.segments[video.name] = [s._replace(label=video.labels[0]) for s in segments]
        else:
            imported.frames[video.name] = segments
    return imported


def _lines(path: Path, least: int) -> Iterable[tuple[str, list[str]]]:
    """Location and fields of each line that is not blank. AnnotationError for fewer than `least` fields."""
    for where, line in read_lines(path):
        values = line.split()
        if len(values) < least:
            raise AnnotationError(f"{where}: {len(values)} fields, expected at least {least}")
        yield where, values
