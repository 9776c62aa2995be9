"""The inputs of a run: values that are given, and those kept from `workspace.json`."""

from pathlib import Path

import jsonschema
import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.pipeline.prefect_flows import evaluate, extract, extract_train_eval, infer, train
from flows.retraining.flow import retrain_on_new_footage
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


def test_settings_given_in_part_keep_the_others(manifests: Path) -> None:
    before = configured(
        manifests, manifest=manifests / "a.csv", preset="small", settings=["retrain.settle_s=1"]
    )
    workspace = Workspace(manifests / "ws")
    inputs = resolve_inputs(workspace, None, {"retrain": {"min_new_labels": 50}})
    assert inputs.config == override(before.config, ["retrain.min_new_labels=50"])


def test_a_source_given_in_part_keeps_the_rest(manifests: Path) -> None:
    before = configured(manifests, manifest=manifests / "a.csv", annotations=manifests / "more.csv")
    workspace = Workspace(manifests / "ws")
    titled = before.model_copy(update={"title": "Street"})
    assert resolve_inputs(workspace, Source(title="Street"), None) == titled
    workspace.write_inputs(titled)
    assert resolve_inputs(workspace, Source(manifest=manifests / "a.csv"), None) == titled
    with pytest.raises(FileNotFoundError, match="is not a workspace"):
        resolve_inputs(Workspace(manifests / "new"), Source(title="Street"), None)


@pytest.mark.parametrize(
    "deployed",
    [extract_train_eval, extract, train, infer, evaluate, retrain_on_new_footage],
    ids=lambda found: found.name,
)
def test_a_flow_gets_exactly_the_settings_that_a_deployment_names(deployed: Flow[..., object]) -> None:
    """Prefect's server checks them against the schema; in the run nothing is filled in by default values."""
    schema = parameter_schema(deployed.fn).model_dump()
    given = {
        "config": {"train": {"epochs": 3}},
        "extract": {"crops": 5},
        "runtime": {"workers": 2},
        "model": {"bag_length": 32},
        "train": {"epochs": 3},
        "infer": {},
        "evaluate": {"threshold": 0.4},
        "retrain": {"gate": {"quantile": 0.1}},
    }
    sections = {name: value for name, value in given.items() if name in schema["properties"]}
    if deployed.name == "infer":
        sections["model"] = "champion"
    assert sections
    jsonschema.validate(sections, schema)
    validated = deployed.validate_parameters(sections)
    assert {name: validated[name] for name in sections} == sections
    for name in sections.keys() - {"model"} if deployed.name == "infer" else sections:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: {"no-such-setting": 1}}, schema)
