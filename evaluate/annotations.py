"""Temporal annotations: the project's CSV, the files of UCF-Crime and XD-Violence, and frame labels.

Frames count from 0 and ends are exclusive, as in the published frame ground truths. UCF-Crime's annotations
exceed the end of five test videos by up to two frames. `frame_labels` therefore cuts an overrun of up to one
snippet and raises ValueError for a longer one, which shows that scores and annotations belong to different
videos.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extract.atomic import write_atomically
from extract.errors import InputError
from extract.labels import NORMAL, XD_VIOLENCE_CODES
from extract.remote.path import AnyPath, as_path
from extract.tables import Row, list_folder, listed_path, read_table, stored_path

COLUMNS = ("path", "label", "start_frame", "end_frame")
USED_FOR = "used_for"
"""Optional column: `frames` (AUC, AP), `segments` (mAP), or empty for both."""
_USES = ("", "frames", "segments")
MAX_OVERRUN = 16
"""Frames by which an annotation may exceed its video; longer overruns are an error."""


class AnnotationError(InputError):
    """Invalid row in an annotation file; the message names file and row."""


class Segment(NamedTuple):
    """One annotated anomalous segment of a video."""

    label: str
    """Name of the anomaly class."""
    start_frame: int
    end_frame: int
    """Exclusive."""


@dataclass(frozen=True)
class VideoTruth:
    """Ground truth of one video.

    Raises ValueError for a video without labels, or a normal video with segments other than ().
    """

    name: str
    labels: tuple[str, ...]
    """Class names; ("normal",) for a normal video."""
    segments: tuple[Segment, ...] | None
    """Annotated segments; () for a normal video, None for an anomalous one without them."""
    frames: tuple[Segment, ...] | None = None
    """Segments that define the frame labels where these have a ground truth of their own (as XD-Violence's
    published one); what exceeds the last frame is cut. None: `segments` define them."""

    def __post_init__(self) -> None:
        if not self.labels:
            raise InputError(f"{self.name}: a video needs at least one label ({NORMAL!r} if it is normal)")
        if self.is_normal and self.segments is None:
            raise InputError(f"{self.name}: labelled {NORMAL!r}, so it has no segments: give (), not None")
        if self.is_normal and self.segments:
            raise InputError(
                f"{self.name}: labelled {NORMAL!r}, but annotated with {describe_segments(self.segments)}; "
                "correct the label, or delete the annotation"
            )

    @property
    def is_normal(self) -> bool:
        return NORMAL in self.labels

    @property
    def facts(self) -> tuple[object, ...]:
        """All of it as plain values, for digests."""
        own_frames = () if self.frames is None else (self.frames,)
        return (self.name, self.labels, self.segments, *own_frames)

    def frame_labels(self, n_frames: int) -> NDArray[np.bool_]:
        """(n_frames,) bool, True in anomalous frames. Raises ValueError for segments outside the video."""
        if self.frames is not None:
            return frame_labels(cut_segments(self.frames, n_frames), n_frames, self.name)
        return frame_labels(self.segments or (), n_frames, self.name)

    def class_labels(self, label: str, n_frames: int) -> NDArray[np.bool_]:
        """(n_frames,) bool, True in frames annotated with this class; raises like `frame_labels`."""
        own: Sequence[Segment] = [segment for segment in self.segments or () if segment.label == label]
        if self.frames is not None:
            own = cut_segments(own, n_frames)
        return frame_labels(own, n_frames, self.name)


def frame_labels(segments: Iterable[Segment], n_frames: int, name: str = "video") -> NDArray[np.bool_]:
    """(n_frames,) bool, True inside any segment.

    Raises ValueError, naming the video, for a segment that starts after the last frame or exceeds it by more
    than MAX_OVERRUN frames.
    """
    labels = np.zeros(n_frames, dtype=bool)
    for label, start, end in segments:
        if start >= n_frames or end > n_frames + MAX_OVERRUN:
            raise InputError(
                f"{name}: segment {label} {start}-{end} is outside the {n_frames} frames of the video"
            )
        labels[start:end] = True
    return labels


def cut_segments(segments: Iterable[Segment], n_frames: int) -> list[Segment]:
    """The parts of the segments before frame `n_frames`."""
    return [s._replace(end_frame=min(s.end_frame, n_frames)) for s in segments if s.start_frame < n_frames]


def describe_segments(segments: Sequence[Segment]) -> str:
    """For example `fire in frames 5 to 60`; of more than three segments, the first three and the number."""
    shown = [f"{label} in frames {start} to {end}" for label, start, end in segments[:3]]
    more = [f"{len(segments) - 3} more"] if len(segments) > 3 else []
    return " and ".join([", ".join(shown), *more])


@dataclass(frozen=True)
class AnnotationFile:
    """The content of an annotations file: one entry per annotated video."""

    path: AnyPath
    segments: dict[AnyPath, list[Segment]]
    """Segments by absolute path of the video, in the order of their rows."""
    first_rows: dict[AnyPath, tuple[int, str]]
    """Line of the first row of each video, and the path as it is written there."""
    repeated: dict[AnyPath, int]
    """Number of rows that repeat an earlier row, by video."""
    overlapping: dict[AnyPath, int]
    """Number of rows that were merged with an overlapping one of the same label, by video."""
    frames: dict[AnyPath, list[Segment]] = field(default_factory=dict)
    """Segments that define the frame labels of a video, where some rows of it have the column `used_for`."""


def read_annotations(csv_path: AnyPath) -> dict[AnyPath, list[Segment]]:
    """Segments by video path: `AnnotationFile.segments` of `read_annotation_file`."""
    return read_annotation_file(csv_path).segments


def read_annotation_file(csv_path: AnyPath) -> AnnotationFile:
    """Read a CSV with the columns path, label, start_frame, end_frame (exclusive) and, optionally, used_for.

    Paths in the file are absolute, addresses, or relative to its folder; keys have links resolved. A
    repeated row counts once, and overlapping segments of one label of a video become one segment. Videos of
    XD-Violence keep overlapping segments, because the published mAP counts each. Raises InputError, naming
    the line, for a file that `read_table` refuses, and AnnotationError for empty paths, and invalid frames or
    labels.
    """
    rows: dict[AnyPath, list[tuple[Segment, str]]] = {}
    first_rows: dict[AnyPath, tuple[int, str]] = {}
    folder = list_folder(csv_path)
    for row in read_table(csv_path, COLUMNS, (USED_FOR,)):
        if not row["path"]:
            raise AnnotationError(f"{row.where}: empty path")
        video = listed_path(folder, row["path"]).resolve()
        first_rows.setdefault(video, (row.line, row["path"]))
        rows.setdefault(video, []).append(_parse_row(row))
    given = {
        video: [segment for segment, use in found if use != "frames"]
        for video, found in rows.items()
        if any(use != "frames" for _, use in found)
    }
    frames = {
        video: [segment for segment, use in found if use != "segments"]
        for video, found in rows.items()
        if any(use for _, use in found)
    }
    different = {video: list(dict.fromkeys(found)) for video, found in given.items()}
    merged = {
        video: found if _is_xd_violence(video.stem) else merge_overlaps(found)
        for video, found in different.items()
    }
    repeated, overlapping = _fewer(given, different), _fewer(different, merged)
    return AnnotationFile(csv_path, merged, first_rows, repeated, overlapping, frames)


def _parse_row(row: Row) -> tuple[Segment, str]:
    """The segment of a row, and the metrics that it is used for."""
    use = row[USED_FOR].lower()
    if use not in _USES:
        raise AnnotationError(f"{row.where}: {USED_FOR} is {use!r}, expected frames, segments or nothing")
    return parse_segment(row["label"], row["start_frame"], row["end_frame"], row.where), use


def merge_overlaps(segments: Iterable[Segment]) -> list[Segment]:
    """Unite segments of one label that share a frame; a united one stands in the place of its first piece."""
    merged: dict[str, list[tuple[int, Segment]]] = {}
    for place, segment in sorted(enumerate(segments), key=lambda item: item[1].start_frame):
        pieces = merged.setdefault(segment.label, [])
        if pieces and segment.start_frame < pieces[-1][1].end_frame:
            first, last = pieces.pop()
            place, segment = (
                min(first, place),
                last._replace(end_frame=max(last.end_frame, segment.end_frame)),
            )
        pieces.append((place, segment))
    return [segment for _, segment in sorted(piece for pieces in merged.values() for piece in pieces)]


def _fewer(
    before: Mapping[AnyPath, Sequence[Segment]], after: Mapping[AnyPath, Sequence[Segment]]
) -> dict[AnyPath, int]:
    """Number of segments that each video has lost; videos without a loss are left out."""
    return {video: lost for video in before if (lost := len(before[video]) - len(after[video]))}


def _is_xd_violence(name: str) -> bool:
    """True for a name that ends in class codes of XD-Violence (`…_label_B2-G-0`)."""
    try:
        return bool(xd_violence_codes(name))
    except AnnotationError:
        return False


def xd_violence_codes(name: str) -> tuple[str, ...]:
    """Class codes in an XD-Violence video name: `…_label_B2-G-0` gives ("B2", "G"), `…_label_A` ("A",).

    Raises AnnotationError for a name without known codes.
    """
    match = re.search(r"_label_([A-Z0-9-]+)$", video_stem(name))
    codes = tuple(code for code in (match[1].split("-") if match else ()) if code != "0")
    if not codes or any(code not in XD_VIOLENCE_CODES for code in codes):
        raise AnnotationError(f"{name!r} does not end in _label_ followed by XD-Violence class codes")
    return codes


def video_stem(name: str) -> str:
    """A video name of an annotation file without its extension, which some of them have."""
    return name.removesuffix(".mp4")


def write_annotations(
    csv_path: Path,
    annotations: Mapping[AnyPath | str, Sequence[Segment]],
    frames: Mapping[AnyPath | str, Sequence[Segment]] | None = None,
) -> None:
    """Write a CSV for `read_annotations`; paths below the CSV's folder are stored relative to it.

    `frames` are the segments that define the frame labels, of videos where these differ from `annotations`.
    """
    csv_path.parent.mkdir(parents=True, exist_ok=True)
    base = csv_path.parent.resolve()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*COLUMNS, USED_FOR] if frames else COLUMNS)
    for video, segments in annotations.items():
        stored = stored_path(base, as_path(video).resolve())
        uses: dict[str, Sequence[Segment]] = {"": segments}
        if frames and video in frames:
            uses = {"segments": segments, "frames": frames[video]}
        for use, found in uses.items():
            writer.writerows((stored, *segment, *([use] if frames else [])) for segment in found)
    write_atomically(csv_path, table.getvalue())


def parse_segment(label: str, start: str, end: str, where: str) -> Segment:
    """A segment from the texts of a row at `where` (`file, line 3`). Raises AnnotationError."""
    label = label.lower()
    try:
        segment = Segment(label, int(start), int(end))
    except ValueError:
        raise AnnotationError(
            f"{where}: start and end must be whole frame numbers, not {start!r} and {end!r}"
        ) from None
    if not label or label == NORMAL:
        raise AnnotationError(f"{where}: the label must be the name of an anomaly class, not {label!r}")
    if not 0 <= segment.start_frame < segment.end_frame:
        raise AnnotationError(f"{where}: 0 <= start < end is required, got {start} and {end}")
    return segment
