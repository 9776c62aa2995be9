"""What the tests of `dsanet/` share: one random CLIP text tower, small models, synthetic features."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch

import dsanet.detectors.base
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.dsanet.model import DSANet
from dsanet.layers.clip_text import TextTower
from dsanet.released_weights import release_name
from extract.clip import build_clip
from extract.config import EncoderFingerprint, ExtractConfig
from extract.manifest import VideoRecord
from extract.store import FeatureMeta, SourceInfo, VideoFeatures, feature_path, write_features
from tests.dsanet.reference import Reference

CLASSES = ("normal", "abuse", "car accident", "riot")
ENCODER = EncoderFingerprint(
    architecture="synthetic", weights_digest="random-0", preprocessing="none", precision="fp32"
)


@cache
def random_clip() -> open_clip.CLIP:
    return build_clip("random")[0]


@cache
def random_tower() -> TextTower:
    return TextTower(random_clip())


def small_config(**changes: Any) -> ModelConfig:
    """A model that is quick on a CPU; `changes` override."""
    values = {"classes": CLASSES, "bag_length": 32, "layers": 1, "window": 8, "decoder_layers": 2}
    return ModelConfig.model_validate(values | {"clip_weights": "random", "adapter_layers": 2} | changes)


def small_model(config: ModelConfig | None = None, seed: int = 0) -> DSANet:
    """A model in eval mode, all its weights random, norms and scales too, so that a swapped one shows."""
    torch.manual_seed(seed)
    config = config or small_config()
    model = DSANet(config, DSANet.text_module(config, random_tower()))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if (parameter.requires_grad and parameter.dim() <= 1) or name.endswith("scale"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif name.startswith("normality."):
                parameter.mul_(3)
    return model.eval()


def reference_of(model: DSANet) -> Reference:
    """The loop-by-loop rewrite with the same weights."""
    config = model.config
    weights = {release_name(name, config): tensor for name, tensor in model.own_state().items()}
    clip = {f"clip_adapter.clipmodel.{name}": tensor for name, tensor in random_clip().state_dict().items()}
    return Reference(
        weights | clip,
        config.texts,
        config.window,
        config.adapter_layers,
        config.adapter_weight,
        config.variant == "release",
    )


def padded_bags(lengths: Sequence[int], rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features with zeros beyond each length, and the lengths."""
    features = torch.randn(len(lengths), rows, 512, generator=torch.Generator().manual_seed(seed)) * 0.5
    for b, n in enumerate(lengths):
        features[b, n:] = 0
    return features, torch.tensor(lengths)


class Footage(NamedTuple):
    records: list[VideoRecord]
    features_dir: Path
    truth: Mapping[str, np.ndarray]
    """Anomalous snippets of each video."""
    measured: Mapping[str, np.ndarray] = {}
    """Snippets in which something happens, anomalous or harmless, where harmless things do."""


def write_video(
    folder: Path, name: str, features: np.ndarray, *, encoder: EncoderFingerprint = ENCODER, **config: Any
) -> None:
    """A feature file from (T, crops, 512) or (T, 512)."""
    features = features[:, None] if features.ndim == 2 else features
    snippets = len(features)
    source = SourceInfo(
        file_name=f"{name}.mp4",
        sha256="0" * 64,
        size=1,
        mtime_ns=1,
        codec="h264",
        fps=30.0,
        n_frames=snippets * 16,
        width=320,
        height=240,
        duration_s=snippets * 16 / 30,
    )
    extract = ExtractConfig.model_validate({"weights": "random", "crops": features.shape[1]} | config)
    meta = FeatureMeta(
        source=source, encoder=encoder, config=extract, decoder="none", decoder_reason="synthetic"
    )
    frames = np.arange(snippets) * 16 + 8
    folder.mkdir(parents=True, exist_ok=True)
    write_features(
        feature_path(folder, name),
        VideoFeatures(name, features.astype(np.float16), frames, frames / 30, meta),
    )


def make_footage(
    folder: Path,
    *,
    train: int = 24,
    test: int = 10,
    seed: int = 0,
    snippets: int = 12,
    harmless: bool = False,
) -> Footage:
    """Gaussian features around one scene; in every other video 4 snippets are shifted its class's way.

    With `harmless`, 4 snippets of the normal videos are shifted too, in one of two other ways.
    """
    random = np.random.default_rng(seed)
    scene, *shifts = random.normal(size=(5 if harmless else 3, 512)) * 0.4
    records, truth, measured = [], {}, {}
    for i in range(train + test):
        label = "normal" if i % 2 == 0 else ("fire", "riot")[i // 2 % 2]
        count = snippets + int(random.integers(-3, 4))
        features = scene + 0.15 * random.normal(size=(count, 512))
        anomalous = np.zeros(count, dtype=bool)
        if label != "normal" or harmless:
            start = int(random.integers(0, count - 4))
            shown = slice(start, start + 4)
            features[shown] += shifts[i // 2 % 2 + 2 * (label == "normal")]
            anomalous[shown] = label != "normal"
            if harmless:
                measured[f"video{i:03d}"] = np.arange(start, start + 4)
        name = f"video{i:03d}"
        write_video(folder, name, features)
        records.append(VideoRecord(name, Path(f"{name}.mp4"), (label,), "train" if i < train else "test"))
        truth[name] = anomalous
    return Footage(records, folder, truth, measured)


TRAINED = {"bag_length": 16, "window": 2, "decoder_layers": 1, "adapter_layers": 1, "classes": ()}
"""Changes to `small_config` for models that tests train: the classes come from the labels."""


def weights_of(checkpoint_dir: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(checkpoint_dir / "model.safetensors")


@contextmanager
def copies_of_random_clip() -> Iterator[None]:
    """Give every detector a copy of the CLIP that the tests share: it takes its text tower to the device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            dsanet.detectors.base, "build_clip", lambda weights: (deepcopy(random_clip()), "random")
        )
        yield
