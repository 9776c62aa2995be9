"""Scores from the nodes of a Ray cluster: the bytes of this machine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsanet.checkpoint import CheckpointInfo, save_checkpoint
from dsanet.cluster_inference import batch_groups, cluster_scores
from dsanet.detectors.config import InferConfig
from dsanet.inference import infer
from extract.config import ExtractConfig, ExtractRuntime
from extract.errors import InputError
from tests.dsanet.helpers import ENCODER, small_config, small_model, write_video
from tests.ray_nodes import RayNodes

SNIPPETS = (5, 32, 75, 40, 96, 7, 33, 64, 1, 130, 20, 31, 65)
"""Of 13 videos; windows have 32."""
NAMES = [f"video{number:02d}" for number in range(len(SNIPPETS))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and the features of the videos, of two crops."""
    root = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    for name, snippets in zip(NAMES, SNIPPETS, strict=True):
        write_video(root / "features", name, random.normal(size=(snippets, 5, 512)).astype(np.float16))
    model = small_model(small_config(text_tuning="frozen"))
    info = CheckpointInfo(model=model.config, encoder=ENCODER, extract=ExtractConfig())
    save_checkpoint(root / "model", model, info)
    return root


def scored(
    names: list[str], place: Path, folder: Path, config: InferConfig, **arguments: Any
) -> dict[str, bytes]:
    infer(names, place / "features", place / "model", folder, config, device="cpu", **arguments)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("causal", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_scores_of_a_cluster_are_the_bytes_of_this_machine(
    causal: bool, place: Path, ray_nodes: RayNodes, tmp_path: Path
) -> None:
    """Causal scores are computed window by window, which takes long."""
    names = NAMES[:2] if causal else NAMES
    config = InferConfig(crop=0 if causal else "mean", batch_size=3)
    runtime = ExtractRuntime(runner="ray", ray_address=ray_nodes.address)

    def score(names: Any) -> Any:
        return cluster_scores(names, place / "features", place / "model", config, runtime, causal=causal)

    expected = scored(names, place, tmp_path / "here", config, causal=causal)
    assert scored(names, place, tmp_path / "there", config, causal=causal, score=score) == expected
    assert len(expected) == len(names)


def test_groups_fill_whole_batches(place: Path) -> None:
    for size in (1, 3, 4, 8):
        groups = batch_groups(NAMES, place / "features", InferConfig(batch_size=size), 32)
        assert [name for group in groups for name in group] == NAMES
        windows = [sum(-(-SNIPPETS[NAMES.index(name)] // 32) for name in group) for group in groups]
        assert all(count % size == 0 for count in windows[:-1])
    assert len(batch_groups(NAMES, place / "features", InferConfig(batch_size=1), 32)) == len(NAMES)


def test_a_damaged_feature_file_is_named_before_anything_is_sent(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"no features")
    runtime = ExtractRuntime(runner="ray")
    with pytest.raises(InputError, match=r"a\.h5 is not a feature file"):
        next(cluster_scores(["a"], tmp_path, place / "model", InferConfig(), runtime))
