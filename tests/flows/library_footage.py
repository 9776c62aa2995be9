"""Footage for retraining tests: clips of two snippets, an event in the second one of anomalous clips."""

from pathlib import Path

from evaluate.annotations import Segment, write_annotations
from extract.labels import NORMAL
from extract.manifest import VideoRecord, write_manifest
from flows.demo.footage import ClipPlan, write_clip

N_FRAMES, EVENT = 32, (16, 32)
EVENTS = ("fire", "explosion")
FIRST = {"train": (2, 1), "test": (2, 2)}
"""Number of normal clips and of clips per event, by split."""


def first_footage(folder: Path) -> Path:
    """Write the clips of the first training, with manifest and annotations; returns the manifest."""
    records = []
    for split, (normal, per_event) in FIRST.items():
        for label, count in ((NORMAL, normal), *((event, per_event) for event in EVENTS)):
            for index in range(count):
                name = f"{split}-{label}-{index}"
                records.append(_clip(folder / "videos", name, split, label, seed=len(records)))
    manifest = folder / "videos.csv"
    write_manifest(manifest, records)
    truth: dict[Path | str, list[Segment]] = {
        r.path: [Segment(r.labels[0], *EVENT)] for r in records if r.split == "test" and r.labels != (NORMAL,)
    }
    write_annotations(folder / "videos.annotations.csv", truth)
    return manifest


def new_footage(folder: Path, per_label: int) -> dict[str, str]:
    """Write clips that arrive later, without labels; returns their true labels by name."""
    labels = {f"new-{label}-{i}": label for label in (NORMAL, *EVENTS) for i in range(per_label)}
    for seed, (name, label) in enumerate(labels.items(), start=1000):
        _clip(folder, name, "train", label, seed)
    return labels


def _clip(folder: Path, name: str, split: str, label: str, seed: int) -> VideoRecord:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.mp4"
    write_clip(path, ClipPlan(name, split, label, N_FRAMES, None if label == NORMAL else EVENT, seed))
    return VideoRecord(name, path, (label,), split)
