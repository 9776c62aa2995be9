"""The published test sets in the shared folder beside the project; tests skip if it is missing."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
UCF_CLASSES = ("Normal", "Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting",
               "RoadAccidents", "Robbery", "Shooting", "Shoplifting", "Stealing", "Vandalism")  # fmt: skip
XD_CLASSES = ("A", "B1", "B2", "B4", "B5", "B6", "G")


class PublishedSet(NamedTuple):
    """Test videos of one data set in the published order, with the ground truth of the published mAP."""

    classes: tuple[str, ...]
    names: list[str]
    segments: list[list[tuple[str, int | str, int | str]]]
    snippets: list[int]
    """From the frame counts for UCF-Crime; XD-Violence publishes the lengths of normal videos only."""


def data_folder(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the published ground truth of {name} is not on this machine")
    return folder


def ucf_crime() -> PublishedSet:
    folder = data_folder("ucf-crime")
    names = _listed(folder / "ucf_CLIP_rgbtest.csv", "__5.npy")
    counts = ucf_frame_counts(folder)
    segments = _segments(folder / "gt_segment_ucf.npy", folder / "gt_label_ucf.npy")
    return PublishedSet(UCF_CLASSES, names, segments, [-(-counts[name] // 16) for name in names])


def xd_violence() -> PublishedSet:
    folder = data_folder("xd-violence")
    names = _listed(folder / "xd_CLIP_rgbtest.csv", "__0.npy")
    segments = _segments(folder / "gt_segment.npy", folder / "gt_label.npy")
    # Lengths of anomalous videos are not published: use the last annotated frame plus a few snippets.
    snippets = [
        -(-max(int(end) for *_, end in truth) // 16) + (0 if truth[0][0] == "A" else index % 30)
        for index, truth in enumerate(segments)
    ]
    return PublishedSet(XD_CLASSES, names, segments, snippets)


def ucf_frame_counts(folder: Path) -> dict[str, int]:
    rows = [line.split("\t") for line in (folder / "test-frame-counts.tsv").read_text().splitlines()]
    return {row[0].removesuffix(".mp4"): int(row[-1]) for row in rows}


def frame_truth(path: Path) -> NDArray[np.bool_]:
    with np.load(path) as archive:
        return archive["labels"].astype(bool)


def _listed(path: Path, suffix: str) -> list[str]:
    lines = path.read_text().splitlines()[1:]
    return [line.rsplit(",", 1)[0].rsplit("/", 1)[-1].removesuffix(suffix) for line in lines]


def _segments(segment_file: Path, label_file: Path) -> list[list[tuple[str, int | str, int | str]]]:
    pairs, labels = read_object_array(segment_file), read_object_array(label_file)
    return [
        [(label, start, end) for label, (start, end) in zip(names, found, strict=True)]
        for names, found in zip(labels, pairs, strict=True)
    ]


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that builds only NumPy arrays of lists: pickle files of others may run code."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct": "numpy._core.multiarray", "ndarray": "numpy", "dtype": "numpy"}
        if name not in allowed or not module.startswith("numpy"):
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a ground truth file")
        return super().find_class(allowed[name], name)


def read_object_array(path: Path) -> NDArray[np.object_]:
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        array: NDArray[np.object_] = _ArraysOnly(file, encoding="latin1").load()
    return array
