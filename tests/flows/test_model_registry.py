"""The model registry: atomic and repeatable registration, promotion, rollback."""

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsanet.checkpoint import CheckpointInfo
from dsanet.detectors.dsanet.config import ModelConfig
from extract.config import ExtractConfig
from extract.errors import InputError
from flows.workspace.decision import Decision, FigureComparison
from flows.workspace.inputs import configure_workspace
from flows.workspace.model_reference import VersionLostError, checkpoint_folder, restore_version
from flows.workspace.model_registry import Registry, RegistryLostError
from flows.workspace.registered_versions import Version
from flows.workspace.retrain_config import GateConfig
from flows.workspace.training_runs import TrainingRecord
from flows.workspace.versions import TrainingVideo, VersionFolder
from flows.workspace.workspace import Workspace
from tests.dsanet.helpers import ENCODER
from tests.flows.commands import Dsanet

VALID_INFO = CheckpointInfo(
    model=ModelConfig(), encoder=ENCODER, extract=ExtractConfig(), weights_digest="none"
)


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


class Killed(BaseException):
    """Raised instead of a write, as if the process had been killed there."""


class DyingClient:
    """The real MLflow client, except that the process dies before or after the write with this number."""

    def __init__(self, client: Any, deadly: int, *, after: bool) -> None:
        self._client, self._left, self._after = client, deadly, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not name.startswith(("set_", "delete_", "create_", "log_")):
            return method

        def write(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._after):
                raise Killed
            result = method(*args, **kwargs)
            if self._left == 0:
                raise Killed
            return result

        return write


def known(root: Path) -> list[tuple[Any, ...]]:
    """All that another process sees of the versions."""
    return [(one.number, one.aliases, one.replaced, one.withdrawn) for one in Registry(root).versions()]


CHANGES: dict[str, Callable[[Registry], object]] = {
    "by the gate": lambda registry: registry.promote(registry.find("second")),
    "by hand": lambda registry: registry.promote(registry.find("second"), by_hand=True),
    "again by hand": lambda registry: registry.promote(registry.find("third"), by_hand=True),
    "rollback": lambda registry: registry.roll_back(),
}


@pytest.mark.parametrize(
    "change",
    [
        "by the gate",
        "by hand",
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("again by hand", "rollback")),
    ],
)
def test_a_promotion_killed_at_any_write_is_before_or_after(
    change: str, registry: Registry, tmp_path: Path
) -> None:
    root = registry._root
    for key in ("second", "third"):
        registry.set_challenger(registry.register(training(root, key)))
    if change in ("rollback", "again by hand"):
        registry.promote(registry.find("second"), by_hand=True)
    before = known(root)
    store = (root / "mlflow.db").read_bytes()
    CHANGES[change](Registry(root))
    after = known(root)
    assert before != after

    seen = []
    for deadly in itertools.count(1):
        for late in (False, True):
            (root / "mlflow.db").write_bytes(store)
            dying = Registry(root)
            dying.__dict__["_client"] = DyingClient(dying._client, deadly, after=late)
            try:
                CHANGES[change](dying)
                survived = True
            except Killed:
                survived = False
            state = known(root)
            assert state in (before, after), f"killed at write {deadly}"
            seen.append(state == after)
            Registry(root).finish_promotion()  # as the next run does
            assert known(root) == state
            CHANGES[change](Registry(root)) if state == before else None
            assert known(root) == after
            tags = Registry(root)._registered_model().tags
            assert state == before or "dsanet.promotion" not in tags
        if survived:
            break
    assert seen == sorted(seen)  # once it is after, it stays so
    assert {True, False} == set(seen)
    assert deadly > 4


def test_a_killed_decision_is_made_again(registry: Registry) -> None:
    first = registry.find("first")
    for deadly in range(1, 5):
        dying = Registry(registry._root)
        dying.__dict__["_client"] = DyingClient(dying._client, deadly, after=False)
        with pytest.raises(Killed):
            dying.record_decision(first, decision("other", 0.0))
        assert registry.find("first").decision is None


def test_only_one_of_two_promotions_at_the_same_time_counts(registry: Registry) -> None:
    first = registry.find("first")
    second, third = (registry.register(training(registry._root, key)) for key in ("second", "third"))
    assert registry.promote(second, instead_of=first)
    assert not registry.promote(third, instead_of=first)
    assert registry.find("champion").key == "second"


def test_the_status_of_a_version_names_gate_and_hand(registry: Registry) -> None:
    for key in ("passed", "refused", "waits", "bare"):
        registry.register(training(registry._root, key))
    registry.record_decision(registry.find("passed"), decision("first", 0.01))
    for key in ("refused", "waits"):
        registry.record_decision(registry.find(key), decision("first", -0.01))
    registry.promote(registry.find("passed"))
    registry.promote(registry.find("refused"), by_hand=True)
    registry.promote(registry.find("bare"))
    assert [version.status for version in registry.versions()] == [
        "first champion",
        "promoted; taken out of service by hand",
        "promoted by hand although the gate refused it",
        "refused",
        "promoted by hand without the gate",
    ]


def test_a_deleted_registry_is_not_rebuilt_in_silence(registry: Registry, dsanet: Dsanet) -> None:
    root = registry._root
    (root / "models" / "first" / "training.json").write_text("[]")
    registry.check_not_lost()
    (root / "mlflow.db").unlink()
    for reference in ("champion", "1"):
        with pytest.raises(RegistryLostError, match=r"is lost: .*mlflow.db has no version of this workspace"):
            Registry(root).find(reference)
    code, _, err = dsanet("models", "list", "--out", root)
    assert (code, "`dsanet retrain --new-registry`" in err) == (2, True)
    assert Registry(root).versions() == []
    assert not (root / "mlflow.db").exists()  # reading creates none


def test_models_of_a_folder_that_is_no_workspace_and_of_one_without_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DSANET_WORKSPACE", raising=False)
    code, _, err = dsanet("models", "list")
    assert (code, "is not a workspace (no workspace.json)" in err) == (2, True)
    assert not (tmp_path / "workspace").exists()
    with pytest.raises(InputError, match="no workspace or checkpoint folder 'ws', and no work"):
        checkpoint_folder("ws")
    (tmp_path / "m.csv").write_text("path,labels,split\na.mp4,normal,test\n")
    (tmp_path / "a.mp4").write_bytes(b"")
    configure_workspace(tmp_path / "ws", tmp_path / "m.csv", preset="small", weights="random")
    code, out, _ = dsanet("models", "list", "--out", "ws")
    assert (code, out) == (
        0,
        "no version is registered yet; `dsanet retrain` registers the workspace's model\n",
    )


def test_another_registry_is_not_taken_for_an_empty_one(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, begun: Path, tmp_path: Path
) -> None:
    root = registry._root
    for key in ("first", "second"):
        registry.register(training(root, key))
        (root / "models" / key / "training.json").write_text("[]")
    registry.check_not_lost()
    other = tmp_path / "other.db"
    shutil.copy(begun / "mlflow.db", other)
    with sqlite3.connect(other) as connection:  # knows nothing of this workspace
        connection.execute("UPDATE registered_models SET name = 'another'")
    connection.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with pytest.raises(RegistryLostError, match=r"other.db has no version .* set MLFLOW_TRACKING_URI"):
        Registry(root).check_not_lost()


def test_a_half_registered_first_version_is_no_lost_registry(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "first"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text("[]")
    Registry(tmp_path).check_not_lost()


def registered_folder(registry: Registry) -> tuple[Version, VersionFolder]:
    """A version whose checkpoint, training set and report are in the registry, and its folder."""
    folder = VersionFolder(Workspace(registry._root), "whole")
    record = training(registry._root, "whole")
    (folder.model / "model.json").write_text(VALID_INFO.model_dump_json())
    (folder.model / "model.safetensors").write_bytes(b"weights")
    folder.write_training_set([TrainingVideo(digest="d", labels=("fire",), split="train")])
    folder.report.mkdir()
    (folder.report / "index.html").write_text("page")
    files = [(folder.model, "model"), (folder.report, "report"), (folder.training_file, "")]
    return registry.register(replace(record, files=files)), folder


@pytest.mark.parametrize(
    "lose",
    [
        lambda folder: shutil.rmtree(folder.root),
        lambda folder: folder.training_file.unlink(),
        lambda folder: folder.training_file.write_text("[{"),
        lambda folder: shutil.rmtree(folder.model),
        lambda folder: (folder.model / "model.json").write_text("{}"),
        lambda folder: (folder.report / "index.html").unlink(),
    ],
    ids=["folder", "training-set", "damaged-training-set", "model", "damaged-model", "report"],
)
def test_everything_of_a_version_comes_back_from_the_registry(
    lose: Callable[[VersionFolder], object], registry: Registry
) -> None:
    version, folder = registered_folder(registry)
    whole = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    lose(folder)
    restore_version(registry, version, folder)
    assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == whole


def test_a_moved_workspace_restores_a_version_from_its_own_files(registry: Registry, tmp_path: Path) -> None:
    version, _ = registered_folder(registry)
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    there = VersionFolder(Workspace(moved), version.key)
    shutil.rmtree(there.root)
    restore_version(Registry(moved), version, there)
    assert there.read_training_set()[0].digest == "d"
    assert (there.model / "model.safetensors").read_bytes() == b"weights"


def test_what_is_lost_for_good_is_said_with_the_way_on(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    version, folder = registered_folder(registry)
    stored = registry._root / "mlartifacts" / version.run_id / "artifacts"
    (stored / "training.json").unlink()
    folder.training_file.unlink()
    restore_version(registry, version, folder)
    assert "every labelled video counts as newly labelled" in caplog.text
    assert folder.read_training_set() == []
    shutil.rmtree(folder.root)
    shutil.rmtree(stored)
    with pytest.raises(VersionLostError, match=r"checkpoint of version 2 is lost.*`dsanet models promote N`"):
        restore_version(registry, version, folder)
