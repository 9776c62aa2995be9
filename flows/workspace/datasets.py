"""UCF-Crime and XD-Violence: a manifest and an annotations file from their official lists."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluate.annotation_formats import import_ucf_crime_annotations, import_xd_violence_annotations
from evaluate.annotations import (
    Segment,
    write_annotations,
)
from extract.errors import InputError
from extract.manifest import ImportedDataset, import_ucf_crime, import_xd_violence, write_manifest


@dataclass(frozen=True)
class Dataset:
    """The readers of one data set's official files."""

    import_videos: Callable[[Path, Path], ImportedDataset]
    annotations_file: str
    import_annotations: Callable[[Path], dict[str, list[Segment]]]


DATASETS = {
    "ucf-crime": Dataset(import_ucf_crime, "Temporal_Anomaly_Annotation.txt", import_ucf_crime_annotations),
    "xd-violence": Dataset(
        import_xd_violence, "annotations_multiclasses.txt", import_xd_violence_annotations
    ),
}


def import_official_lists(name: str, lists: Path, videos: Path, out: Path) -> ImportedDataset:
    """Write the manifest `out`, and its annotations file beside it, for the listed videos found in `videos`.

    `lists` is the folder of the official files. Returns the records and the names of missing videos. Raises
    ValueError for an unknown data set, and FileNotFoundError for a missing list.
    """
    if name not in DATASETS:
        raise InputError(f"no data set {name!r}; expected one of {', '.join(DATASETS)}")
    if out.is_dir():
        raise InputError(f"the manifest {out} is a folder; give the name of a CSV file with --out")
    dataset = DATASETS[name]
    imported = dataset.import_videos(lists, videos)
    segments = dataset.import_annotations(lists / dataset.annotations_file)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(out, imported.records)
    write_annotations(
        out.with_suffix(".annotations.csv"),
        {record.path: segments[record.name] for record in imported.records if segments.get(record.name)},
    )
    return imported
