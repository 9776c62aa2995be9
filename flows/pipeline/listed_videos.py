"""The videos and annotations of an import of scores: a manifest, or a published list of another machine.

A list, and annotations in another format than the project's, become a manifest and an annotations file of the
workspace; there, videos are matched by name, because the paths in such files are other people's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsanet.feature_lists import read_lists
from evaluate.annotation_formats import ImportedAnnotations, import_annotations
from evaluate.annotations import VideoTruth, read_annotation_file
from evaluate.ground_truth import match_annotations
from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL
from extract.manifest import VideoRecord, read_manifest, write_manifest
from extract.remote.path import AnyPath, RemotePath
from extract.tables import Row, read_table
from flows.pipeline.video_lengths import video_lengths
from flows.workspace.annotations_file import MeasuredVideo, add_annotations
from flows.workspace.datasets import DATASETS, read_official_annotations
from flows.workspace.inputs import Source
from flows.workspace.workspace import Workspace, default_annotations

MANIFEST, ANNOTATIONS = "manifest.csv", "manifest.annotations.csv"
"""Files in the workspace if a list or other annotations were given."""


@dataclass(frozen=True)
class ListedVideos:
    """The videos of a manifest or list, in its order."""

    path: AnyPath
    records: list[VideoRecord]
    rows: dict[str, Row]
    """First row of each video, by name."""
    is_manifest: bool
    """False for a list, which has neither splits nor valid paths."""


def read_listed_videos(path: AnyPath) -> ListedVideos:
    """The videos of a manifest or of a list with the columns path and label; no video file is needed.

    The videos of a list without splits are test videos. Raises MissingFileError without a file, and
    InputError, naming the line, for an invalid one.
    """
    if not path.is_file():
        raise MissingFileError(f"no manifest at {path}; expected a manifest, or a list with path and label")
    table = read_table(path, ("path",), ("name",))
    if table and {"labels", "split"} <= table[0].values.keys():
        records = read_manifest(path, needs_no_file=lambda record: True)
        return ListedVideos(
            path, records, {one.name: row for one, row in zip(records, table, strict=True)}, True
        )
    if isinstance(path, RemotePath):
        raise InputError(f"{path} is no manifest (columns path, labels, split); download the list first")
    listed = read_lists([path], "test")
    if not listed:
        raise InputError(f"{path} lists no videos")
    by_place = {row.where: row for row in table}
    records = [
        VideoRecord(one.name, path.parent / f"{one.name}.mp4", one.labels, one.split) for one in listed
    ]
    return ListedVideos(path, records, {one.name: by_place[one.where] for one in listed}, False)


@dataclass(frozen=True)
class Footage:
    """Manifest and annotations of a workspace, some of them to be written there first."""

    source: Source
    listed: ListedVideos
    annotations: ImportedAnnotations | None
    """Annotations of the test videos by name, for a file in the workspace; None without one."""

    def truths(self, videos: Sequence[VideoRecord]) -> list[VideoTruth]:
        """Ground truth of these videos. Raises InputError if a normal one is annotated."""
        if self.annotations is None:
            path = self.source.annotations
            found = read_annotation_file(path) if path else None
            return match_annotations(videos, found, self.listed.records).truths
        segments, frames = self.annotations.segments, self.annotations.frames
        return [
            VideoTruth(
                one.name,
                one.labels,
                tuple(segments.get(one.name, ())) or (() if NORMAL in one.labels else None),
                tuple(frames.get(one.name, segments.get(one.name, ()))),  # cut to the video, as in the file
            )
            for one in videos
        ]

    def write(self, workspace: Workspace, n_frames: Mapping[str, int]) -> None:
        """Write the workspace's own manifest and annotations; `n_frames` has the lengths of scored videos."""
        if not self.listed.is_manifest:
            workspace.root.mkdir(parents=True, exist_ok=True)
            write_manifest(workspace.root / MANIFEST, self.listed.records)
        if self.annotations is not None:
            tests = _measured(self.listed.records, n_frames)
            add_annotations(workspace.root / MANIFEST, tests, self.annotations)


def _measured(
    records: Sequence[VideoRecord], n_frames: Mapping[str, int | None] | Mapping[str, int]
) -> list[MeasuredVideo]:
    """The videos that have an entry in `n_frames`."""
    return [
        MeasuredVideo(one.name, one.path, one.labels, n_frames[one.name])
        for one in records
        if one.name in n_frames
    ]


def read_footage(
    listed: ListedVideos,
    annotations: AnyPath | None,
    workspace: Workspace,
    n_frames: Mapping[str, int | None],
) -> Footage:
    """Manifest and annotations for the workspace; `annotations` None: `M.annotations.csv` beside `M.csv`.

    Annotations of other projects, and those for a list, are matched by name; `n_frames` has the lengths of
    the test videos. Raises MissingFileError without the annotations that were named, and InputError for an
    invalid file, or one that annotates none of the videos.
    """
    given = annotations or default_annotations(listed.path)
    manifest = listed.path if listed.is_manifest else workspace.root / MANIFEST
    if given is None or (listed.is_manifest and given.suffix.lower() == ".csv"):
        if given is not None and not given.is_file():
            raise MissingFileError(f"no annotations at {given}; give --annotations the path of a file")
        return Footage(Source(manifest=manifest, annotations=given), listed, None)
    tests = _measured(listed.records, n_frames)
    found = annotations_of(given, tests)
    return Footage(Source(manifest=manifest, annotations=workspace.root / ANNOTATIONS), listed, found)


def annotations_of(source: AnyPath, tests: Sequence[MeasuredVideo]) -> ImportedAnnotations:
    """Annotations of the test videos in any format, or of a folder with a data set's official files.

    Raises MissingFileError without `source`, and InputError for an invalid one, or one that annotates none of
    the videos.
    """
    if isinstance(source, RemotePath):
        raise InputError(f"{source} is no CSV of this project; other annotations must be downloaded first")
    official = _official_data_set(source)
    found = read_official_annotations(official, source)[0] if official else import_annotations(source, tests)
    if not any(found.segments.get(one.name) or one.name in found.frames for one in tests):
        raise InputError(f"{source} annotates none of the {len(tests)} test videos; check the names in it")
    return found


def annotate(manifest: AnyPath, source: AnyPath, features: Path) -> tuple[Path, int]:
    """Write `M.annotations.csv` beside the manifest `M.csv` from annotations in another format.

    `features` is the folder of the feature files, which tell the lengths of videos that are gone. Returns the
    path of the file and the number of videos in it. Raises as `annotations_of` and `read_listed_videos`.
    """
    if isinstance(manifest, RemotePath):
        raise InputError(f"annotations can't be written beside {manifest}; download the manifest first")
    listed = read_listed_videos(manifest)
    if not listed.is_manifest:
        raise InputError(f"{manifest} is a list, no manifest; `dsanet import-features` reads lists")
    tests = [record for record in listed.records if record.split == "test"]
    lengths = video_lengths(tests, listed.rows, features)
    measured = _measured(tests, {name: length.n_frames for name, length in lengths.items()})
    found = annotations_of(source, measured)
    annotated = sum(bool(found.segments.get(v.name) or found.frames.get(v.name)) for v in measured)
    return add_annotations(manifest, measured, found), annotated


def _official_data_set(folder: Path) -> str | None:
    """The data set whose official annotations are in the folder; None for anything else.

    XD-Violence has two files, one for frames and one for segments. Raises InputError for a folder with the
    files of two data sets.
    """
    files = {name: (one.segments_file, one.frames_file) for name, one in DATASETS.items()}
    found = [name for name, both in files.items() if any(file and (folder / file).is_file() for file in both)]
    if len(found) > 1:
        raise InputError(f"{folder} has annotations of {' and '.join(found)}; give --annotations one file")
    return found[0] if found else None
