"""Temporal annotations: our CSV, the files of UCF-Crime and XD-Violence, and frame labels made from them.

Frames count from 0 and ends are exclusive, as in the published frame ground truths. UCF-Crime's annotations
run up to two frames over the end of five test videos; `frame_labels` therefore cuts an overrun shorter than
a snippet and refuses a longer one, which means that scores and annotations belong to different videos.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from extract.labels import NORMAL, XD_VIOLENCE_CODES

COLUMNS = ("path", "label", "start_frame", "end_frame")
MAX_OVERRUN = 16


class AnnotationError(ValueError):
    """An annotation file with a row that makes no sense; the message names file and row."""


class Segment(NamedTuple):
    """One anomalous stretch of a video: class name, first frame, frame after the last."""

    label: str
    start_frame: int
    end_frame: int


@dataclass(frozen=True)
class VideoTruth:
    """What is known of one video. `segments` is None where the video is anomalous but nobody said when."""

    name: str
    labels: tuple[str, ...]
    segments: tuple[Segment, ...] | None

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError(f"{self.name}: a video needs at least one label ({NORMAL!r} for a normal one)")
        if self.is_normal and self.segments != ():
            raise ValueError(f"{self.name}: labelled {NORMAL!r}, so its segments must be (): {self.segments}")

    @property
    def is_normal(self) -> bool:
        return NORMAL in self.labels


def video_truth(
    name: str, path: Path, labels: Sequence[str], annotations: Mapping[Path, Sequence[Segment]]
) -> VideoTruth:
    """Truth of one manifest row: normal videos have no segments, anomalous ones those annotated, or None."""
    found = annotations.get(path.resolve())
    segments = tuple(found) if found else (() if NORMAL in labels else None)
    return VideoTruth(name, tuple(labels), segments)


def frame_labels(segments: Iterable[Segment], n_frames: int, name: str = "video") -> NDArray[np.bool_]:
    """(n_frames,) bool, True inside any segment. Raises ValueError naming the video for a segment outside."""
    labels = np.zeros(n_frames, dtype=bool)
    for label, start, end in segments:
        if start >= n_frames or end > n_frames + MAX_OVERRUN:
            raise ValueError(f"{name}: segment {label} {start}-{end} lies outside its {n_frames} frames")
        labels[start:end] = True
    return labels


def read_annotations(csv_path: Path) -> dict[Path, list[Segment]]:
    """Segments per video of a CSV with the columns path, label, start_frame, end_frame (end exclusive).

    Paths are relative to the CSV's folder, or absolute; keys are absolute, links resolved. Raises
    AnnotationError naming the row.
    """
    annotations: dict[Path, list[Segment]] = {}
    with csv_path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise AnnotationError(
                f"{csv_path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}"
            )
        for number, row in enumerate(reader, start=2):
            where = f"{csv_path}, row {number}"
            if not row["path"]:
                raise AnnotationError(f"{where}: empty path")
            video = (csv_path.parent / row["path"]).resolve()
            segment = _segment(row["label"], row["start_frame"], row["end_frame"], where)
            annotations.setdefault(video, []).append(segment)
    return annotations


def write_annotations(csv_path: Path, annotations: Mapping[Path | str, Sequence[Segment]]) -> None:
    """Writes what `read_annotations` reads; videos below the CSV's folder get relative paths."""
    csv_path.parent.mkdir(parents=True, exist_ok=True)
    base = csv_path.parent.resolve()
    with csv_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for video, segments in annotations.items():
            path = Path(video).resolve()
            shown = path.relative_to(base) if path.is_relative_to(base) else path
            writer.writerows((shown.as_posix(), *segment) for segment in segments)


def import_ucf_crime_annotations(path: Path) -> dict[str, list[Segment]]:
    """UCF-Crime's `Temporal_Anomaly_Annotation.txt`: segments by video name (no extension), [] for normal.

    A line is name, class, two pairs of start and end; -1 -1 where there is no second (or first) segment.
    A further column (the frame count of `test-frame-counts.tsv`) is ignored.
    """
    annotations = {}
    for where, (name, label, *frames) in _lines(path, least=6):
        pairs = [(start, end) for start, end in (frames[0:2], frames[2:4]) if start != "-1"]
        annotations[_stem(name)] = [_segment(label, start, end, where) for start, end in pairs]
    return annotations


def import_xd_violence_annotations(path: Path) -> dict[str, list[Segment]]:
    """XD-Violence's `annotations_multiclasses.txt` or `annotations.txt`: segments by name, no extension.

    The first gives a class code with every segment. The second gives none, and overlapping segments of
    different classes are joined in it: it is read where the name holds one class, and refused otherwise.
    Normal videos are in neither file.
    """
    annotations = {}
    for where, (name, *values) in _lines(path, least=3):
        coded = values[0] in XD_VIOLENCE_CODES
        if coded:
            rows = list(zip(values[0::3], values[1::3], values[2::3], strict=True))
        else:
            codes = xd_violence_codes(name)
            if len(codes) != 1:
                raise AnnotationError(
                    f"{where}: {name} has the classes {codes}, the file does not say which segment is which; "
                    "use annotations_multiclasses.txt"
                )
            rows = [(codes[0], *pair) for pair in zip(values[0::2], values[1::2], strict=True)]
        annotations[_stem(name)] = [
            _segment(XD_VIOLENCE_CODES.get(code, code), start, end, where) for code, start, end in rows
        ]
    return annotations


def xd_violence_codes(name: str) -> tuple[str, ...]:
    """Class codes in an XD-Violence file name: `..._label_B2-G-0` gives ("B2", "G"), `..._label_A` ("A",)."""
    match = re.search(r"_label_([A-Z0-9-]+)$", _stem(name))
    codes = tuple(code for code in (match[1].split("-") if match else ()) if code != "0")
    if not codes or any(code not in XD_VIOLENCE_CODES for code in codes):
        raise AnnotationError(f"{name!r} does not end in _label_ and XD-Violence's class codes")
    return codes


def _stem(name: str) -> str:
    return name.removesuffix(".mp4")


def _lines(path: Path, least: int) -> Iterable[tuple[str, list[str]]]:
    """Place and fields of every line that is not empty; a line has `least` fields or more."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        values = line.split()
        if values and len(values) < least:
            raise AnnotationError(f"{path}, row {number}: {len(values)} fields, expected at least {least}")
        if values:
            yield f"{path}, row {number}", values


def _segment(label: Any, start: Any, end: Any, where: str) -> Segment:
    label = (label or "").strip().lower()
    try:
        segment = Segment(label, int(start), int(end))
    except (TypeError, ValueError):
        raise AnnotationError(
            f"{where}: start and end must be whole frames, not {start!r}, {end!r}"
        ) from None
    if not label or label == NORMAL:
        raise AnnotationError(f"{where}: a segment needs the name of an anomaly class, not {label!r}")
    if not 0 <= segment.start_frame < segment.end_frame:
        raise AnnotationError(f"{where}: 0 <= start < end does not hold for {start}-{end}")
    return segment
