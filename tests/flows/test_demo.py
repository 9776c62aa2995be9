"""Proof on the demo's footage (slow): events are found, and not with shuffled training labels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from extract.manifest import read_manifest, write_manifest
from flows.demo.prepare import prepare_demo
from flows.pipeline.bench import shuffled_labels
from flows.pipeline.prefect_flows import extract_train_eval
from flows.workspace.inputs import configure_workspace
from flows.workspace.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("demo")
    prepare_demo(root, "random", seed=0)
    extract_train_eval(root)
    return Workspace(root)


def auc(workspace: Workspace) -> float:
    return float(json.loads((workspace.report / "metrics.json").read_text())["auc"])


def test_the_demo_finds_the_events(demo: Workspace) -> None:
    assert auc(demo) >= 0.85


def test_with_shuffled_labels_scores_are_at_chance(demo: Workspace, tmp_path: Path) -> None:
    inputs = demo.read_inputs()
    found = []
    for seed in range(3):
        root = tmp_path / str(seed)
        shutil.copytree(demo.features, root / "features")
        write_manifest(root / "m.csv", shuffled_labels(read_manifest(inputs.manifest), seed))
        configure_workspace(root, root / "m.csv", inputs.annotations, preset="small", weights="random")
        extract_train_eval(root)
        found.append(auc(Workspace(root)))
    assert 0.35 <= np.mean(found) <= 0.65, found
