"""UCF-Crime and XD-Violence: their published lists and annotations, as a manifest and an annotations file."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluate.annotation_formats import (
    ImportedAnnotations,
    import_ucf_crime_annotations,
    import_xd_violence_annotations,
    import_xd_violence_frames,
)
from evaluate.annotations import Segment
from extract.errors import InputError, MissingFileError
from extract.manifest import ImportedDataset, import_ucf_crime, import_xd_violence, write_manifest
from extract.remote.path import AnyPath
from flows.workspace.annotations_file import MeasuredVideo, add_annotations

log = logging.getLogger(__name__)

Segments = dict[str, list[Segment]]
"""Segments by video name."""


@dataclass(frozen=True)
class Dataset:
    """The official files of one data set."""

    title: str
    import_videos: Callable[[Path, AnyPath], ImportedDataset]
    train_list: str
    """List of the published feature arrays of the training videos, all crops."""
    test_list: str
    segments_file: str
    """Annotations with a class for each segment: the ground truth of the published mAP."""
    import_segments: Callable[[Path], Segments]
    frames_file: str | None = None
    """Annotations that the published AUC and AP use, where these are not `segments_file`."""
    import_frames: Callable[[Path], Segments] | None = None


DATASETS = {
    "ucf-crime": Dataset(
        "UCF-Crime",
        import_ucf_crime,
        "ucf_CLIP_rgb.csv",
        "ucf_CLIP_rgbtest.csv",
        "Temporal_Anomaly_Annotation.txt",
        import_ucf_crime_annotations,
    ),
    "xd-violence": Dataset(
        "XD-Violence",
        import_xd_violence,
        "xd_CLIP_rgb.csv",
        "xd_CLIP_rgbtest.csv",
        "annotations_multiclasses.txt",
        import_xd_violence_annotations,
        "annotations.txt",
        import_xd_violence_frames,
    ),
}


def dataset(name: str) -> Dataset:
    """The data set of this name. Raises ValueError for an unknown one."""
    if name not in DATASETS:
        raise InputError(f"no data set {name!r}; expected one of {', '.join(DATASETS)}")
    return DATASETS[name]


def read_official_annotations(name: str, lists: Path) -> tuple[ImportedAnnotations, str]:
    """The annotations in the folder of a data set's official files, and what the figures lack ("": nothing).

    XD-Violence has two files, of which one will do. Raises MissingFileError without any, AnnotationError,
    naming the line, for an invalid file.
    """
    found = dataset(name)
    files = [file for file in (found.segments_file, found.frames_file) if file]
    if not any((lists / file).is_file() for file in files):
        raise MissingFileError(f"no annotations in {lists}; expected {' or '.join(files)}")
    annotations, note = ImportedAnnotations(), ""
    if (lists / found.segments_file).is_file():
        annotations.segments = found.import_segments(lists / found.segments_file)
    else:
        note = f"{found.segments_file} is missing, and {found.frames_file} has no classes: there is no mAP"
    if found.import_frames is not None and found.frames_file is not None:
        if (lists / found.frames_file).is_file():
            annotations.frames = found.import_frames(lists / found.frames_file)
        else:
            note = f"{found.frames_file} is missing: AUC and AP are those of {found.segments_file}"
    return annotations, note


def import_official_lists(name: str, lists: Path, videos: AnyPath, out: Path) -> ImportedDataset:
    """Write the manifest `out`, and its annotations file beside it, for the listed videos found in `videos`.

    `lists` is the folder of the official files. Returns the records and the names of missing videos. Raises
    ValueError for an unknown data set, and FileNotFoundError for a missing list.
    """
    found = dataset(name)
    if out.is_dir():
        raise InputError(f"the manifest {out} is a folder; give the name of a CSV file with --out")
    imported = found.import_videos(lists, videos)
    annotations, note = read_official_annotations(name, lists)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(out, imported.records)
    out.with_suffix(".annotations.csv").unlink(missing_ok=True)  # of an earlier import
    tested = [MeasuredVideo(r.name, r.path, r.labels) for r in imported.records if r.split == "test"]
    add_annotations(out, tested, annotations)
    if note:
        log.warning("%s", note)
    return imported
