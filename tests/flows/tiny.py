"""The smallest footage for the whole pipeline: four real clips of one snippet each."""

from dataclasses import dataclass
from pathlib import Path

from evaluate.annotations import Segment, write_annotations
from extract.manifest import VideoRecord, write_manifest
from flows.demo.footage import ClipPlan, write_clip

OPTIONS = ("--preset", "small", "--weights", "random")
SETTINGS = (
    "extract.snippet_length=64",
    "model.bag_length=16",
    "train.epochs=1",
    "evaluate.bootstrap=20",
)
N_FRAMES, EVENT = 32, (8, 24)


@dataclass(frozen=True)
class TinyClip:
    """A clip of one snippet; `event` is the frame span of its fire, None for a normal clip."""

    path: Path
    label: str
    event: tuple[int, int] | None


def write_tiny_clip(path: Path, seed: int, *, burns: bool) -> TinyClip:
    """Write a clip of 32 frames, normal or with a fire."""
    clip = TinyClip(path, *("fire", EVENT) if burns else ("normal", None))
    write_clip(path, ClipPlan(path.stem, "train", clip.label, N_FRAMES, clip.event, seed))
    return clip


def tiny_footage(folder: Path) -> Path:
    """Write a normal and a burning clip for `train` and for `test`; returns the path of the manifest."""
    folder.mkdir(parents=True)
    records, truth = [], {}
    for seed, split in enumerate(("train", "test")):
        for burns in (False, True):
            path = folder / f"{split}-{'burns' if burns else 'calm'}.mp4"
            clip = write_tiny_clip(path, seed, burns=burns)
            records.append(VideoRecord(path.stem, path, (clip.label,), split))
            if clip.event and split == "test":
                truth[path] = [Segment(clip.label, *clip.event)]
    write_manifest(folder / "manifest.csv", records)
    write_annotations(folder / "manifest.annotations.csv", truth)
    return folder / "manifest.csv"


def run_arguments(manifest: Path, out: Path) -> list[str]:
    """The arguments of `dsanet run` over the footage, after the program name."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["run", "--manifest", str(manifest), "--out", str(out), *OPTIONS, *settings]
