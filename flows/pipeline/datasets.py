"""The official lists of UCF-Crime and XD-Violence as a manifest and an annotations file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluate.annotations import (
    Segment,
    import_ucf_crime_annotations,
    import_xd_violence_annotations,
    write_annotations,
)
from extract.manifest import ImportedDataset, import_ucf_crime, import_xd_violence, write_manifest


@dataclass(frozen=True)
class Dataset:
    """How one data set is read: its lists, and the name and reader of its temporal annotations."""

    videos: Callable[[Path, Path], ImportedDataset]
    annotations_file: str
    annotations: Callable[[Path], dict[str, list[Segment]]]


DATASETS = {
    "ucf-crime": Dataset(import_ucf_crime, "Temporal_Anomaly_Annotation.txt", import_ucf_crime_annotations),
    "xd-violence": Dataset(
        import_xd_violence, "annotations_multiclasses.txt", import_xd_violence_annotations
    ),
}


def import_official_lists(name: str, lists: Path, videos: Path, out: Path) -> ImportedDataset:
    """Write the manifest `out` and `*.annotations.csv` beside it, for the videos that are there.

    Returns what was found and the names of what is missing. Raises ValueError for an unknown data set and
    FileNotFoundError where a list is missing.
    """
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r}; there are {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    imported = dataset.videos(lists, videos)
    truth = dataset.annotations(lists / dataset.annotations_file)
    write_manifest(out, imported.records)
    write_annotations(
        out.with_suffix(".annotations.csv"),
        {record.path: truth[record.name] for record in imported.records if truth.get(record.name)},
    )
    return imported
