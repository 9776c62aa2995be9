"""A folder like a reader's, in which the Python API page has been worked through."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

import dsanet.detectors.base
import extract.clip
from dsanet.checkpoint import CheckpointInfo, save_checkpoint
from dsanet.detectors.registry import build_detector, detector_preset
from dsanet.layers.clip_text import FixedText
from evaluate.annotations import Segment, write_annotations
from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig
from extract.encoder import load_encoder
from extract.source import SourceInfo
from extract.store import FeatureMeta, VideoFeatures, feature_path, write_features
from tests.docs.markdown import ROOT, blocks
from tests.docs.snippets import run_blocks
from tests.flows.tiny import EVENT, N_FRAMES, write_tiny_clip

CLASSES = ("normal", "explosion", "fire", "riot")


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after every block of `docs/python-api.md` was run in it."""
    folder = tmp_path_factory.mktemp("reader")
    write_footage(folder)
    with pytest.MonkeyPatch.context() as patch:
        built = cache(extract.clip.build_clip)  # building it takes seconds

        def one_clip(weights: str) -> tuple[open_clip.CLIP, str]:
            return copy.deepcopy(built(weights))  # an encoder changes the precision of its tower

        patch.setattr(extract.clip, "build_clip", one_clip)
        patch.setattr(dsanet.detectors.base, "build_clip", one_clip)
        write_demo(folder / "demo")
        run_blocks(blocks(ROOT / "docs" / "python-api.md", "python"), folder)
    return folder


def write_footage(folder: Path) -> None:
    """`camera.mp4`, and the videos, manifest and annotations of the page `your-videos.md`."""
    (folder / "footage").mkdir()
    write_tiny_clip(folder / "camera.mp4", 0, burns=True)
    for seed, name in enumerate(("monday.mp4", "tuesday.mkv", "wednesday.mp4")):
        write_tiny_clip(folder / "footage" / name, seed, burns=seed > 0)
    manifest = next(
        block.text for block in blocks(ROOT / "docs" / "your-videos.md", "csv") if "split" in block.text
    )
    (folder / "videos.csv").write_text(manifest)
    truth = {folder / "footage" / "wednesday.mp4": [Segment("fighting", *EVENT)]}
    write_annotations(folder / "videos.annotations.csv", truth)


def write_demo(demo: Path) -> None:
    """The demo's files that the page uses: a clip, its features, and an untrained checkpoint."""
    (demo / "footage-0" / "videos").mkdir(parents=True)
    clip = write_tiny_clip(demo / "footage-0" / "videos" / "test-fire-00.mp4", 0, burns=True)
    encoder = load_encoder("random", "cpu").fingerprint
    config = ExtractConfig(weights="random")
    (demo / "features").mkdir()
    write_features(feature_path(demo / "features", clip.path.stem), features_of(clip.path, encoder, config))
    model = detector_preset("dsanet", "small").model.model_copy(update={"classes": CLASSES})
    net = build_detector(model, FixedText(torch.randn(len(CLASSES), FEATURE_DIM)))
    save_checkpoint(demo / "model", net, CheckpointInfo(model=model, encoder=encoder, extract=config))


def features_of(path: Path, encoder: EncoderFingerprint, config: ExtractConfig) -> VideoFeatures:
    """Random features of two snippets of a tiny clip."""
    source = SourceInfo(
        file_name=path.name, sha256="", size=path.stat().st_size, mtime_ns=0, codec="h264", fps=30.0,
        n_frames=N_FRAMES, width=320, height=240, duration_s=N_FRAMES / 30,
    )  # fmt: skip
    meta = FeatureMeta(source=source, encoder=encoder, config=config, decoder="none", decoder_reason="drawn")
    values = np.random.default_rng(0).normal(size=(2, 1, FEATURE_DIM)).astype(np.float16)
    times = np.array([[8, 24], [0, 16], [16, 32]]) / 30
    return VideoFeatures(path.stem, values, np.array([8, 24]), times[0], meta, times[1], times[2])
