"""The videos and annotations of an import of scores: a manifest, or a published list of another machine.

A list, and annotations in another format than the project's, become a manifest and an annotations file of the
workspace; there, videos are matched by name, because the paths in such files are other people's.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsanet.released_features import read_list
from evaluate.annotation_formats import import_ucf_crime_annotations, import_xd_violence_annotations
from evaluate.annotations import (
    AnnotationError,
    Segment,
    VideoTruth,
    read_annotation_file,
    video_truth,
    write_annotations,
)
from evaluate.ground_truth import match_annotations
from extract.errors import InputError, MissingFileError
from extract.labels import XD_VIOLENCE_CODES
from extract.manifest import VideoRecord, read_manifest, write_manifest
from extract.tables import Row, read_lines, read_table
from flows.workspace.inputs import Source
from flows.workspace.workspace import Workspace, default_annotations

MANIFEST, ANNOTATIONS = "manifest.csv", "manifest.annotations.csv"
"""Files in the workspace if a list or other annotations were given."""


@dataclass(frozen=True)
class ListedVideos:
    """The videos of a manifest or list, in its order."""

    path: Path
    records: list[VideoRecord]
    rows: dict[str, Row]
    """First row of each video, by name."""
    is_manifest: bool
    """False for a list, which has neither splits nor valid paths."""


def read_listed_videos(path: Path) -> ListedVideos:
    """The videos of a manifest or of a list with the columns path and label; no video file is needed.

    The videos of a list without splits are test videos. Raises MissingFileError without a file, and
    InputError, naming the line, for an invalid one.
    """
    if not path.is_file():
        raise MissingFileError(f"no manifest at {path}; expected a manifest, or a list with path and label")
    table = read_table(path, ("path",), ("name",))
    is_manifest = bool(table) and {"labels", "split"} <= table[0].values.keys()
    if is_manifest:
        records = read_manifest(path, needs_no_file=lambda record: True)
        return ListedVideos(path, records, _by_name(table, crops=False), True)
    rows = _by_name(table, crops=True)
    records = [
        VideoRecord(name, path.parent / f"{name}.mp4", labels, split)
        for name, labels, split in read_list(path, "test")
    ]
    if not records:
        raise InputError(f"{path} lists no videos")
    return ListedVideos(path, records, rows, False)


def _by_name(rows: Iterable[Row], *, crops: bool) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        stem = Path(row["path"].replace("\\", "/")).stem
        found.setdefault(row["name"] or (re.sub(r"__\d+$", "", stem) if crops else stem), row)
    return found


@dataclass(frozen=True)
class Footage:
    """Manifest and annotations of a workspace, some of them to be written there first."""

    source: Source
    listed: ListedVideos
    own_manifest: bool
    """True if the workspace gets a manifest of its own."""
    own_segments: Mapping[Path | str, Sequence[Segment]] | None
    """Segments for an annotations file of its own; None without one."""

    def truths(self, videos: Sequence[VideoRecord]) -> list[VideoTruth]:
        """Ground truth of these videos. Raises InputError if a normal one is annotated."""
        if self.own_segments is None:
            path = self.source.annotations
            found = read_annotation_file(path) if path else None
            return match_annotations(videos, found, self.listed.records).truths
        segments = {Path(path).resolve(): found for path, found in self.own_segments.items()}
        return [video_truth(one.name, one.path, one.labels, segments) for one in videos]

    def write(self, workspace: Workspace) -> None:
        """Write the workspace's own manifest and annotations."""
        if self.own_manifest:
            workspace.root.mkdir(parents=True, exist_ok=True)
            write_manifest(workspace.root / MANIFEST, self.listed.records)
        if self.own_segments is not None:
            write_annotations(workspace.root / ANNOTATIONS, self.own_segments)


def read_footage(listed: ListedVideos, annotations: Path | None, workspace: Workspace) -> Footage:
    """Manifest and annotations for the workspace; `annotations` None: `M.annotations.csv` beside `M.csv`.

    Raises MissingFileError without the annotations that were named, and AnnotationError for an invalid file.
    """
    given = annotations or default_annotations(listed.path)
    if given is not None and not given.is_file():
        raise MissingFileError(f"no annotations at {given}; give --annotations the path of a file")
    if given is None or (listed.is_manifest and _is_table(given)):
        segments, annotations = None, given
    else:
        segments = _by_video(listed.records, _segments_by_name(given), given)
        annotations = workspace.root / ANNOTATIONS
    manifest = listed.path if listed.is_manifest else workspace.root / MANIFEST
    source = Source(manifest=manifest, annotations=annotations)
    return Footage(source, listed, not listed.is_manifest, segments)


def _is_table(path: Path) -> bool:
    """True for the project's own annotations: the first line has their headings."""
    lines = read_lines(path)
    return bool(lines) and "start" in lines[0][1].casefold() and "path" in lines[0][1].casefold()


def _segments_by_name(path: Path) -> dict[str, list[Segment]]:
    """Segments by video name from annotations in any format that is read."""
    if _is_table(path):
        found = read_annotation_file(path).segments
        return {video.stem: segments for video, segments in found.items()}
    lines = read_lines(path)
    second = lines[0][1].split()[1:2] if lines else []
    if second and (second[0] in XD_VIOLENCE_CODES or second[0].isdigit()):
        return import_xd_violence_annotations(path)
    return import_ucf_crime_annotations(path)


def _by_video(
    records: Sequence[VideoRecord], segments: Mapping[str, list[Segment]], path: Path
) -> dict[Path | str, Sequence[Segment]]:
    """Segments by path of the videos that have some."""
    found: dict[Path | str, Sequence[Segment]] = {
        record.path: segments[record.name] for record in records if segments.get(record.name)
    }
    if segments and not found:
        raise AnnotationError(
            f"{path}: none of its {len(segments)} videos is in the manifest, first: {next(iter(segments))}"
        )
    return found
