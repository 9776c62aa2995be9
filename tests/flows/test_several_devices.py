"""A pipeline whose training uses several devices, and a workspace that takes over a model of the module."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dsanet.training.__main__ import main
from tests.flows.tiny import run_arguments

if TYPE_CHECKING:
    from tests.flows.conftest import Dsanet


@pytest.mark.slow
def test_a_pipeline_on_two_devices_and_a_model_trained_without_it(
    dsanet: "Dsanet", footage: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"
    two = ("--set", 'runtime.devices=["cpu", "cpu"]')
    code, out, err = dsanet(*run_arguments(footage, workspace), *two)
    assert code == 0, err
    assert "train" in out + err
    info = json.loads((workspace / "model" / "model.json").read_text())

    paths = ("--manifest", footage, "--features", workspace / "features", "--out", workspace / "model")
    settings = ("--settings", workspace / "workspace.json", "--device", "cpu")
    new_seed = ("--set", "train.seed=3")
    assert main([*map(str, (*paths, *settings)), *new_seed]) == 0
    trained = json.loads((workspace / "model" / "model.json").read_text())
    assert trained["run_id"] != info["run_id"]
    weights = (workspace / "model" / "model.safetensors").stat().st_ino
    code, _, err = dsanet("train", "--out", str(workspace), *new_seed)
    assert code == 0, err
    assert (workspace / "model" / "model.safetensors").stat().st_ino == weights, (
        "taken over, not trained again"
    )
