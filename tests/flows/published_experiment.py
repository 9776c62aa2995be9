"""A small experiment in the form of the published ones: lists, annotations and feature arrays."""

import re
from pathlib import Path

import numpy as np

SNIPPETS = {
    "Abuse028_x264": 9,
    "Fighting003_x264": 5,
    "Arson011_x264": 12,
    "Normal_Videos_015_x264": 7,
    "Normal_Videos_100_x264": 4,
}
"""Test videos of UCF-Crime and the number of their snippets."""
ANNOTATIONS = """\
Abuse028_x264.mp4  Abuse  40  100  -1  -1
Fighting003_x264.mp4  Fighting  10  30  50  97
Arson011_x264.mp4  Arson  60  150  250  260
Normal_Videos_015_x264.mp4  Normal  -1  -1  -1  -1
Normal_Videos_100_x264.mp4  Normal  -1  -1  -1  -1
"""
"""Arson011's second segment begins after its last snippet, Fighting003's ends 17 frames after it."""


def write_experiment(folder: Path) -> None:
    """Write `lists/` and, in another layout than the lists have, `features/`."""
    lists, features = folder / "lists", folder / "features"
    lists.mkdir(parents=True)
    (lists / "Temporal_Anomaly_Annotation.txt").write_text(ANNOTATIONS)
    random = np.random.default_rng(0)
    test_rows, train_rows = [], []
    for name, snippets in SNIPPETS.items():
        label = re.match("[A-Za-z]+", name)[0]  # type: ignore[index]
        for crop in range(10):
            _save(features / "all" / label / f"{name}__{crop}.npy", random, snippets, crop)
        test_rows.append(f"/home/a/UCFTest/{label}/{name}__5.npy,{label}")
    for number, label in enumerate(("Abuse", "Fighting", "Normal", "Normal")):
        for crop in range(10):
            name = f"{label}9{number:02}_x264__{crop}.npy"
            _save(features / name, random, 6, crop)
            train_rows.append(f"/home/a/UCF/{label}/{name},{label}")
    for name, rows in (("ucf_CLIP_rgbtest.csv", test_rows), ("ucf_CLIP_rgb.csv", train_rows)):
        (lists / name).write_text("path,label\n" + "".join(f"{row}\n" for row in rows))


def _save(path: Path, random: np.random.Generator, snippets: int, crop: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, (random.normal(size=(snippets, 512)) * 0.4 + crop / 10).astype(np.float16))


def frame_truth(name: str) -> np.ndarray:
    """The published ground truth of a test video: as many frames as its features have, cut there."""
    labels = np.zeros((SNIPPETS[name] + 1) * 16, dtype=bool)
    fields = next(line for line in ANNOTATIONS.splitlines() if line.startswith(name)).split()
    numbers = [int(field) for field in fields[2:6]]
    for start, end in zip(numbers[::2], numbers[1::2], strict=True):
        if start != -1:
            labels[start:end] = True
    return labels[:-16]


def segment_truth(name: str) -> list[tuple[str, int, int]]:
    """The published segments of a test video, `A` for a normal one."""
    if name.startswith("Normal"):
        return [("A", 0, 16 * SNIPPETS[name])]
    fields = next(line for line in ANNOTATIONS.splitlines() if line.startswith(name)).split()
    pairs = [(fields[1], int(fields[i]), int(fields[i + 1])) for i in (2, 4) if fields[i] != "-1"]
    return pairs
