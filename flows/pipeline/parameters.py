"""The parameters of a deployed run, checked before the run is made."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from extract.remote.store import absolute_place
from flows.server.deployments import PREFECT_YAML
from flows.workspace.config import PipelineConfig
from flows.workspace.inputs import Source, resolve_inputs
from flows.workspace.workspace import Workspace

RUN_FOLDER = PREFECT_YAML.parent
"""The working folder of a run, where its relative paths begin."""


def check_parameters(parameters: dict[str, Any], default_workspace: Path) -> None:
    """Raises what the run would raise at its start: a missing workspace or file, an invalid setting."""
    workspace = Workspace(
        absolute_place(Path(str(parameters.get("workspace", default_workspace))), RUN_FOLDER)
    )
    source, config = _source(parameters.get("source")), _settings(parameters)
    if source is None and not config:
        workspace.read_inputs()
    else:
        resolve_inputs(workspace, source, config)


def _settings(parameters: dict[str, Any]) -> dict[str, Any]:
    """The given settings, nested as in `workspace.json`."""
    sections = {
        name: value
        for name, value in parameters.items()
        if name in PipelineConfig.model_fields and isinstance(value, dict)
    }
    return sections | (parameters.get("config") or {})


def _source(given: Any) -> Source | None:
    """The given footage with paths from the run's folder; None if Prefect's server will refuse it."""
    try:
        source = Source.model_validate(given)
    except ValidationError:
        return None
    paths = source.model_dump(include={"manifest", "annotations"}, exclude_none=True)
    places = {name: absolute_place(path, RUN_FOLDER) for name, path in paths.items()}
    return source.model_copy(update=places)
