"""Footage and a small image tower for tests of `extract.match`: every frame, crop and colour counts."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.encoder import Encoder
from extract.engine import extract_videos
from extract.snippets import pick_frames
from extract.store import read_features
from tests.extract.numbered_clips import Picture, make_clip, records_of


def lively_picture(number: int, width: int, height: int) -> Picture:
    """(H, W, 3) uint8: coloured shapes that move at several speeds over a fine pattern."""
    y, x = np.mgrid[:height, :width]
    colours = np.empty((height, width, 3))
    for channel, (speed, scale) in enumerate(((0.09, 31), (0.05, 47), (0.13, 23))):
        waves = np.sin(x / scale + speed * number) + np.cos(y / (scale - 9) - 0.7 * speed * number + channel)
        colours[..., channel] = 128 + 50 * waves
    left = int((3 * number) % width)
    colours[height // 5 : height // 2, left : left + width // 5] = (230, 40, 60)
    colours[(x // 2 + y // 2) % 2 == 0] *= 0.8
    return colours.clip(0, 255).astype(np.uint8)


def make_footage(folder: Path, frames: dict[str, int], size: tuple[int, int] = (192, 144)) -> list[Path]:
    """One clip per name with so many frames."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        make_clip(folder / f"{name}.mp4", count, size=size, picture=lively_picture, options={"crf": "12"})
        for name, count in frames.items()
    ]


class SmallTower(nn.Module):
    """An image tower that runs in milliseconds: patches, a nonlinearity, a projection."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patches = nn.Conv2d(3, 16, 16, 16)
            self.project = nn.Linear(16 * 14 * 14, 512)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.project(torch.relu(self.patches(images)).flatten(1))


def load_small(weights: str, precision: str) -> Encoder:
    """The encoder of weights named by a number (their seed), `random` or `openai`."""
    seed = int(weights) if weights.isdigit() else 0
    precision = "fp32" if precision == "auto" else precision
    fingerprint = EncoderFingerprint(
        architecture="small", weights_digest=f"random-{seed}", preprocessing="openai", precision=precision
    )
    return Encoder(SmallTower(seed).eval(), fingerprint, torch.device("cpu"), batch_size=8)


def features_of(videos: list[Path], out: Path, **settings: object) -> dict[str, npt.NDArray[np.float16]]:
    """(T, crops, 512) of each video, made by `extract` with these settings."""
    config = ExtractConfig.model_validate({"weights": "random", **settings})
    encoder = load_small(config.weights, config.precision)
    extract_videos(records_of(*videos), out, config, ExtractRuntime(device="cpu", workers=1), encoder=encoder)
    return {path.stem: read_features(path).features for path in sorted(out.glob("*.h5"))}


def features_from(
    pictures: dict[str, npt.NDArray[np.uint8]], **settings: object
) -> dict[str, npt.NDArray[np.float16]]:
    """What `features_of` gives, from pictures (n, H, W, 3) that are decoded once."""
    config = ExtractConfig.model_validate({"weights": "random", **settings})
    encoder = load_small(config.weights, config.precision)
    features = {}
    for name, frames in pictures.items():
        picks = pick_frames(len(frames), config.sampling)
        vectors = encoder.encode(frames[picks.frames], config.views).numpy()
        rows = np.stack([vectors[picks.snippet == t].mean(0) for t in range(picks.n_snippets)])
        length = np.linalg.norm(rows, axis=-1, keepdims=True) if config.normalise else 1
        features[name] = (rows / length).astype(np.float16)
    return features


def write_arrays(folder: Path, features: dict[str, npt.NDArray[np.float16]]) -> Path:
    """`<video>__<crop>.npy` for each crop."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, crops_TCD in features.items():
        for crop in range(crops_TCD.shape[1]):
            np.save(folder / f"{name}__{crop}.npy", crops_TCD[:, crop])
    return folder
