"""The demo's proof (slow): it finds the events, and with shuffled training labels it finds nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from extract.dataset import VideoRecord, read_manifest, write_manifest
from flows.demo import prepare_demo
from flows.launch import describe
from flows.pipeline import extract_train_eval
from flows.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("demo")
    prepare_demo(root, "random", seed=0)
    extract_train_eval(root)
    return Workspace(root)


def auc(workspace: Workspace) -> float:
    return float(json.loads((workspace.report / "metrics.json").read_text())["auc"])


def shuffled(records: list[VideoRecord], seed: int) -> list[VideoRecord]:
    """The same videos; labels of the training and validation videos dealt anew, the test's left alone."""
    known = [record for record in records if record.split != "test"]
    order = np.random.default_rng(seed).permutation(len(known))
    dealt = [VideoRecord(r.name, r.path, known[i].labels, r.split) for r, i in zip(known, order, strict=True)]
    return [*dealt, *(record for record in records if record.split == "test")]


def test_the_demo_finds_the_events(demo: Workspace) -> None:
    assert auc(demo) >= 0.85


def test_with_shuffled_labels_there_is_no_skill(demo: Workspace, tmp_path: Path) -> None:
    inputs = demo.recall()
    found = []
    for seed in range(3):
        root = tmp_path / str(seed)
        shutil.copytree(demo.features, root / "features")
        write_manifest(root / "m.csv", shuffled(read_manifest(inputs.manifest), seed))
        describe(root, root / "m.csv", inputs.annotations, preset="small", weights="random")
        extract_train_eval(root)
        found.append(auc(Workspace(root)))
    assert 0.35 <= np.mean(found) <= 0.65, found
