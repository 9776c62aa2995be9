"""A refused command leaves `workspace.json` as it was, whatever refuses it."""

from pathlib import Path

import pytest

from extract.errors import InputError
from flows.demo import footage
from flows.demo.prepare import prepare_demo
from flows.pipeline.prefect_flows import extract_train_eval
from flows.workspace.inputs import Source, configure_workspace, configured_workspace
from flows.workspace.workspace import Workspace
from tests.flows.commands import Dsanet
from tests.flows.tiny import tiny_footage


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_footage(tmp_path_factory.mktemp("footage") / "footage").parent


@pytest.fixture
def workspace(clips: Path, tmp_path: Path) -> Workspace:
    """A configured workspace without any output, beside some files that commands refuse."""
    (tmp_path / "footage").symlink_to(clips)
    manifest = tmp_path / "footage" / "manifest.csv"
    (tmp_path / "inbox").mkdir()
    (tmp_path / "bad.csv").write_text("path,labels,split\ngone.mp4,normal,train\n")
    (tmp_path / "bad.annotations.csv").write_text("path,label\n")
    settings = ["train.epochs=1", f'retrain.inboxes=["{tmp_path / "inbox"}"]']
    configure_workspace(tmp_path / "ws", manifest, preset="small", weights="random", settings=settings)
    return Workspace(tmp_path / "ws")


@pytest.mark.parametrize(
    "command",
    [
        "retrain --out ws --inbox wrong",
        "retrain --out ws --set retrain.library=mysql://host/db",
        "retrain --out ws --set retrain.settle_s=1",  # refused: there is no model yet
        "run --out ws --manifest bad.csv",
        "run --out ws --annotations bad.annotations.csv",
        "run --out ws --set infer.crop=7",
        "extract --out ws --weights gone.pt --device cpu",
        "extract --out ws --device cuda:99",
        "train --out ws --set train.epochs=7",  # refused: there are no features yet
        "infer --out ws --model gone --set infer.batch_size=3",
        "evaluate --out ws --annotations bad.annotations.csv --set evaluate.threshold=0.9",
        "bench --out ws --detectors dsanet --seeds 1 --manifest footage/manifest.csv --set train.epoch=3 "
        "--preset xd-violence",
    ],
)
def test_nothing_is_remembered_that_was_refused(
    command: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    monkeypatch.chdir(workspace.root.parent)
    before = workspace.inputs_file.read_bytes()
    code, _, err = dsanet(*command.split())
    assert (code, err.splitlines()[-1][:8]) == (2, "dsanet: ")
    assert workspace.inputs_file.read_bytes() == before


def test_a_new_workspace_that_is_refused_has_no_settings(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    monkeypatch.chdir(workspace.root.parent)
    assert dsanet("run", "--out", "new", "--manifest", "bad.csv")[0] == 2
    assert not Path("new").exists()
    manifest = "footage/manifest.csv"
    assert dsanet("train", "--out", "new", "--manifest", manifest, "--weights", "random")[0] == 2
    assert not Path("new/workspace.json").exists()


def test_a_new_workspace_with_features_keeps_its_settings(workspace: Workspace) -> None:
    """Refused after hours of extraction: the next command continues without --manifest."""
    inputs = workspace.read_inputs()
    new = Workspace(workspace.root.with_name("new"))

    def refused_after_extraction() -> None:
        with configured_workspace(new.root, inputs.manifest, preset="small"):
            new.features.mkdir()
            (new.features / "a.h5").touch()
            raise InputError("a later stage refuses")

    with pytest.raises(InputError):
        refused_after_extraction()
    assert new.read_inputs().manifest == inputs.manifest


def test_a_demo_that_is_refused_keeps_the_settings_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    monkeypatch.setattr(footage, "write_clip", lambda path, plan: path.write_bytes(plan.name.encode()))
    prepare_demo(tmp_path / "demo", "random", seed=0)
    before = Workspace(tmp_path / "demo").inputs_file.read_bytes()
    code, _, err = dsanet("demo", "--out", tmp_path / "demo", "--weights", tmp_path / "gone.pt")
    assert (code, "gone.pt" in err) == (2, True)
    assert Workspace(tmp_path / "demo").inputs_file.read_bytes() == before


def test_a_server_that_does_not_answer_refuses_the_command(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet, absent_server: str
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    before = workspace.inputs_file.read_bytes()
    with temporary_settings({PREFECT_API_URL: absent_server}):
        code, _, err = dsanet("extract", "--out", workspace.root, "--set", "train.epochs=9")
    assert (code, "no Prefect server answers" in err) == (2, True)
    assert workspace.inputs_file.read_bytes() == before


def test_the_parameters_of_a_refused_flow_are_not_kept(workspace: Workspace) -> None:
    before = workspace.inputs_file.read_bytes()
    bad = Source(annotations=workspace.root.parent / "bad.annotations.csv")
    with pytest.raises(InputError):
        extract_train_eval(workspace.root, source=bad, config={"train": {"epochs": 9}})
    assert workspace.inputs_file.read_bytes() == before


def test_only_a_refusal_undoes_and_only_the_own_change(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError), configured_workspace(workspace.root, settings=["train.epochs=5"]):
        raise RuntimeError
    assert workspace.read_inputs().config.train.epochs == 5

    def refused_while_another_command_configures() -> None:
        with configured_workspace(workspace.root, settings=["train.epochs=6"]):
            configure_workspace(workspace.root, settings=["train.epochs=7"])
            raise InputError

    with pytest.raises(InputError):
        refused_while_another_command_configures()
    assert workspace.read_inputs().config.train.epochs == 7
