"""The inputs of a run: values that are given, and those kept from `workspace.json`."""

from pathlib import Path

import pytest

from flows.workspace.config import override, preset_config
from flows.workspace.inputs import Source, configure_workspace, resolve_inputs
from flows.workspace.workspace import Workspace, WorkspaceInputs


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A folder with the manifests a.csv and b.csv; only a.csv has annotations beside it."""
    for name in ("a.csv", "b.csv", "a.annotations.csv", "more.csv"):
        (tmp_path / name).touch()
    return tmp_path


def configured(folder: Path, **options: object) -> WorkspaceInputs:
    configure_workspace(folder / "ws", **options)  # type: ignore[arg-type]
    return Workspace(folder / "ws").read_inputs()


def test_a_new_workspace_gets_the_defaults(manifests: Path) -> None:
    inputs = configured(manifests, manifest=manifests / "a.csv")
    assert inputs == WorkspaceInputs(
        manifest=manifests / "a.csv",
        annotations=manifests / "a.annotations.csv",
        config=preset_config("ucf-crime"),
        title="a",
    )


def test_a_new_workspace_needs_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a workspace"):
        configure_workspace(tmp_path / "ws", preset="small")
    with pytest.raises(FileNotFoundError, match="is not a workspace"):
        resolve_inputs(Workspace(tmp_path / "ws"), None, preset_config("small"))


def test_a_command_keeps_the_options_that_it_is_not_given(manifests: Path) -> None:
    first = configured(manifests, manifest=manifests / "a.csv", preset="small", title="Street")
    assert configured(manifests) == first
    changed = configured(manifests, settings=["train.epochs=3"], annotations=manifests / "more.csv")
    assert changed.config == override(first.config, ["train.epochs=3"])
    assert (changed.annotations, changed.title) == (manifests / "more.csv", "Street")
    assert configured(manifests).annotations == manifests / "more.csv"
    assert configured(manifests, preset="xd-violence").config == preset_config("xd-violence")


def test_another_manifest_does_not_keep_the_annotations(manifests: Path) -> None:
    configured(manifests, manifest=manifests / "a.csv", title="Street")
    inputs = configured(manifests, manifest=manifests / "b.csv")
    assert (inputs.manifest, inputs.annotations) == (manifests / "b.csv", None)
    assert inputs.title == "Street"


def test_a_missing_file_is_named_and_nothing_is_written(manifests: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.csv; give --manifest"):
        configure_workspace(manifests / "ws", manifests / "a.csv", manifests / "absent.csv")
    assert not (manifests / "ws").exists()


def test_a_flow_keeps_the_parameters_that_it_is_not_given(manifests: Path) -> None:
    before = configured(manifests, manifest=manifests / "a.csv", preset="small", title="Street")
    workspace, other = Workspace(manifests / "ws"), preset_config("xd-violence")
    assert resolve_inputs(workspace, None, other) == before.model_copy(update={"config": other})
    inputs = resolve_inputs(workspace, Source(manifest=manifests / "b.csv"), None)
    assert (inputs.manifest, inputs.annotations, inputs.title) == (manifests / "b.csv", None, "b")
    assert inputs.config == before.config
