"""The model registry: atomic and repeatable registration, promotion, rollback."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.workspace.decision import Decision, FigureComparison
from flows.workspace.model_registry import Registry, TrainingRecord
from flows.workspace.retrain_config import GateConfig


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one registered version; creating its store takes seconds."""
    root = tmp_path_factory.mktemp("begun")
    assert Registry(root).name.startswith("dsanet-begun")
    Registry(root).register(training(root, "first"))
    return root


@pytest.fixture
def registry(begun: Path, tmp_path: Path) -> Registry:
    """A copy of it with the version `first` as champion."""
    for name in ("mlflow.db", "mlartifacts", "models"):
        copy = shutil.copytree if (begun / name).is_dir() else shutil.copy
        copy(begun / name, tmp_path / name)
    opened = Registry(tmp_path)
    opened.promote(opened.find("first"))
    return opened


def training(root: Path, key: str) -> TrainingRecord:
    """A finished training with the files that the registry reads."""
    folder = root / "models" / key / "model"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(f'{{"key": "{key}"}}')
    curves = folder / "curves.csv"
    curves.write_text("epoch,step,total,val_auc\n1,1,0.5,\n1,2,0.25,0.75\n")
    params = {"train": {"epochs": 1, "betas": [0.9, 0.999]}, "encoder": "abc"}
    return TrainingRecord(key, f"model {key}", params, curves, {"test_auc": 0.9}, [(folder, "model")])


def decision(champion: str, difference: float) -> Decision:
    judged = FigureComparison(
        champion=0.9, challenger=0.9, difference=difference, low=-1, high=1, margin=0.005
    )
    return Decision(champion=champion, gate_fingerprint="q", promoted=judged.holds, figures={"auc": judged})


def test_a_training_is_stored_with_parameters_curves_metrics_and_files(registry: Registry) -> None:
    version = registry.find("first")
    run = registry._client.get_run(version.run_id)
    assert run.data.params == {"train.epochs": "1", "train.betas": "[0.9, 0.999]", "encoder": "abc"}
    assert run.data.metrics["test_auc"] == 0.9
    points = registry._client.get_metric_history(version.run_id, "total")
    assert sorted((point.step, point.value) for point in points) == [(1, 0.5), (2, 0.25)]
    assert [(p.step, p.value) for p in registry._client.get_metric_history(version.run_id, "val_auc")] == [
        (2, 0.75)
    ]
    files = {file.path for file in registry._client.list_artifacts(version.run_id, "model")}
    assert files == {"model/model.json", "model/curves.csv"}
    assert run.info.status == "FINISHED"


def test_registering_a_training_twice_makes_one_version(registry: Registry) -> None:
    root = registry._root
    again = Registry(root).register(training(root, "first"))
    assert again.number == 1
    assert len(registry.versions()) == 1
    assert registry.register(training(root, "second")).number == 2


def test_a_killed_registration_leaves_no_version(registry: Registry) -> None:
    experiment = registry._experiment()
    registry._client.create_run(experiment, run_name="half", tags={"dsanet.key": "second"})
    assert [version.key for version in registry.versions()] == ["first"]
    registry.register(training(registry._root, "second"))
    runs = registry._client.search_runs([experiment], "tags.`dsanet.key` = 'second'")
    assert [run.info.status for run in runs] == ["FINISHED"]


def test_promotion_and_rollback_are_one_step_each(registry: Registry) -> None:
    second = registry.register(training(registry._root, "second"))
    registry.set_challenger(second)
    assert registry.find("challenger").number == 2
    registry.record_decision(second, decision("first", 0.01))
    registry.promote(second)
    assert {one.number: one.aliases for one in registry.versions()} == {1: (), 2: ("champion",)}
    champion = registry.find("champion")
    assert (champion.number, champion.replaced) == (2, "first")
    assert champion.decision == decision("first", 0.01)
    assert registry._client.get_run(champion.run_id).data.metrics["gate_auc_difference"] == 0.01
    assert registry.roll_back().number == 1
    assert registry.find("champion").number == 1
    assert registry.find("2").withdrawn
    with pytest.raises(ValueError, match="version 1 is the first champion"):
        registry.roll_back()
    registry.promote(registry.find("2"), by_hand=True)
    assert not registry.find("2").withdrawn
    assert registry.find("1").withdrawn
    assert registry.roll_back().number == 1


def test_promoting_the_champion_again_keeps_its_predecessor(registry: Registry) -> None:
    second = registry.register(training(registry._root, "second"))
    registry.promote(second)
    registry.set_challenger(second)  # the state after a killed promotion
    registry.promote(registry.find("2"))
    assert registry.find("champion").replaced == "first"
    assert registry.find("champion").aliases == ("champion",)


def test_an_unknown_version_is_answered_with_the_known_ones(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no model '7' in .*; expected one of champion, 1"):
        registry.find("7")
    with pytest.raises(ValueError, match=r"nothing is registered yet: run `dsanet retrain`"):
        Registry(tmp_path / "other").find("champion")
    assert not (tmp_path / "other").exists()


def test_a_lost_checkpoint_is_downloaded(registry: Registry) -> None:
    folder = registry._root / "models" / "second" / "model"
    version = registry.register(training(registry._root, "second"))
    content = (folder / "model.json").read_text()
    shutil.rmtree(folder.parent)
    registry.download_model(version, folder)
    assert (folder / "model.json").read_text() == content


def test_a_moved_workspace_keeps_its_models_and_writes_to_its_new_place(begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "moved")
    registry = Registry(tmp_path / "moved")
    assert registry.name == Registry(begun).name
    version = registry.register(training(tmp_path / "moved", "second"))
    assert (version.number, registry.find("first").number) == (2, 1)
    assert list((tmp_path / "moved" / "mlartifacts").glob(f"{version.run_id}/artifacts/model/model.json"))


def test_mlflow_tracking_uri_is_used_and_no_telemetry_is_sent(begun: Path, tmp_path: Path) -> None:
    store = tmp_path / "elsewhere.db"
    script = """
import os, socket, sys
from pathlib import Path
from flows.workspace.model_registry import Registry
asked = []
socket.socket.connect = lambda self, address: asked.append(address)
sys.path.insert(0, sys.argv[2])
from tests.flows.test_model_registry import training
root = Path(sys.argv[1])
registry = Registry(root)
registry.promote(registry.register(training(root, "only")))
from mlflow.telemetry.client import get_telemetry_client
print(registry.find("champion").key, get_telemetry_client(), asked)
"""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
    for name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST", "CI"):
        environment.pop(name, None)
    (tmp_path / "ws").mkdir()
    shown = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "ws"), str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert shown.stdout == "only None []\n", shown.stderr
    assert not (tmp_path / "ws" / "mlflow.db").exists()
    with sqlite3.connect(store) as connection:
        assert connection.execute("SELECT count(*) FROM model_versions").fetchone() == (1,)
    connection.close()


def test_a_decision_holds_the_margin_of_every_figure() -> None:
    assert GateConfig().margins == {"auc": 0.005, "map_corrected": 0.01}
    assert decision("first", -0.005).promoted
    assert not decision("first", -0.0051).promoted
    assert "worse than the champion: auc -0.0051 (margin 0.005)" in decision("first", -0.0051).reason
    assert "| auc | 0.9000 |" in decision("first", 0).markdown()


def test_a_decision_is_stored_with_the_keys_of_older_registries(registry: Registry) -> None:
    registry.record_decision(registry.find("first"), decision("other", 0.0))
    (stored,) = registry._client.search_model_versions(f"name='{registry.name}'")
    assert set(json.loads(stored.tags["dsanet.decision"])) == {"champion", "question", "promoted", "figures"}
    assert registry.find("first").decision == decision("other", 0.0)
