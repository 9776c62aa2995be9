"""Footage for the extraction benchmarks: CCTV-like clips at 320 × 240."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from extract_media import make_clip, numbered_picture

SCENE = np.random.default_rng(0).integers(0, 200, (60, 80, 3), dtype=np.uint8)
NOISE = np.random.default_rng(1).integers(0, 25, (16, 240, 320, 1), dtype=np.uint8)


def cctv_like(number: int, width: int, height: int) -> np.ndarray:
    """A still textured scene with a sensor's noise and something that moves: 1.1 Mb/s."""
    scene = Image.fromarray(SCENE).resize((width, height), Image.Resampling.BICUBIC)
    picture = np.asarray(scene) + NOISE[number % len(NOISE)]
    x = number * 3 % (width - 64)
    picture[60:124, x : x + 64] = numbered_picture(number, 64, 64)
    return picture


def make_footage(folder: Path, clips: int, frames: int) -> list[Path]:
    """H.264 clips with a key frame every 12 frames: one, and copies of it."""
    options = {"preset": "fast", "g": "12"}
    first = make_clip(folder / "0.mp4", frames, size=(320, 240), options=options, picture=cctv_like)
    copies = [folder / f"{index}.mp4" for index in range(1, clips)]
    for copy in copies:
        copy.write_bytes(first.read_bytes())
    return [first, *copies]
