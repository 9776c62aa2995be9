"""Synthetic footage for the extraction benchmarks: CCTV-like clips."""

import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.extract.numbered_clips import make_clip, numbered_picture

CALM = 8
"""Noise in levels of 255 that gives a realistic bit rate: 0.13 Mb/s with a key frame every 250 frames."""


@cache
def noise_pictures(levels: int, width: int, height: int) -> np.ndarray:
    """(16, H, W, 1) uint8"""
    return np.random.default_rng(1).integers(0, levels, (16, height, width, 1), dtype=np.uint8)


@cache
def scene(width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8"""
    texture = np.random.default_rng(0).integers(0, 200, (60, 80, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(texture).resize((width, height), Image.Resampling.BICUBIC))


def cctv_like(number: int, width: int, height: int, noise: int = CALM) -> np.ndarray:
    """A static textured scene with sensor noise and a moving object."""
    picture = scene(width, height) + noise_pictures(noise, width, height)[number % 16]
    x = number * 3 % (width - 64)
    picture[60:124, x : x + 64] = numbered_picture(number, 64, 64)
    return picture


def make_footage(
    folder: Path,
    clips: int,
    frames: int,
    key_every: int = 12,
    noise: int = CALM,
    size: tuple[int, int] = (320, 240),
) -> list[Path]:
    """H.264 clips with a key frame every `key_every` frames; all are copies of the first."""
    options = {"preset": "fast", "g": str(key_every)}
    folder.mkdir(exist_ok=True)
    picture = partial(cctv_like, noise=noise)
    first = make_clip(folder / "0.mp4", frames, size=size, options=options, picture=picture)
    copies = [folder / f"{index}.mp4" for index in range(1, clips)]
    for copy in copies:
        copy.write_bytes(first.read_bytes())
    return [first, *copies]
