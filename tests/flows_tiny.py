"""The smallest footage on which the whole pipeline runs: four real clips of one snippet each."""

from pathlib import Path

from evaluate.annotations import Segment, write_annotations
from extract.dataset import VideoRecord, write_manifest
from flows.footage import ClipPlan, write_clip

OPTIONS = ("--preset", "small", "--weights", "random")
SETTINGS = ("extract.snippet_length=64", "model.bag_length=16", "train.epochs=1", "evaluate.bootstrap=20")
N_FRAMES, EVENT = 32, (8, 24)


def tiny_footage(folder: Path) -> Path:
    """A manifest with a normal and a burning street in `train` and in `test`, and its annotations."""
    folder.mkdir(parents=True)
    records, truth = [], {}
    for seed, split in enumerate(("train", "test")):
        for label, event in (("normal", None), ("fire", EVENT)):
            name = f"{split}-{label}"
            path = folder / f"{name}.mp4"
            write_clip(path, ClipPlan(name, split, label, N_FRAMES, event, seed))
            records.append(VideoRecord(name, path, (label,), split))
            if event and split == "test":
                truth[path] = [Segment(label, *event)]
    write_manifest(folder / "manifest.csv", records)
    write_annotations(folder / "manifest.annotations.csv", truth)
    return folder / "manifest.csv"


def run_arguments(manifest: Path, out: Path) -> list[str]:
    """`dsanet run` over it, after the command's name."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["run", "--manifest", str(manifest), "--out", str(out), *OPTIONS, *settings]
