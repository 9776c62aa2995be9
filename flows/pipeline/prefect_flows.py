"""The Prefect flows of the pipeline: `extract-train-eval`, and one flow for each single stage.

A flow works on one workspace and holds its lock while it runs. Parameters that are given are written to
`workspace.json` first; those left out keep their value there. Settings are given as a model object, which
replaces a whole section, or as a mapping (deployments), which changes only the settings that it names.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import deployment, flow_run
from pydantic import BaseModel

from dsanet.detectors.config import InferConfig
from dsanet.detectors.registry import AnyDetectorConfig
from evaluate.config import EvaluateConfig
from extract.config import ExtractConfig, ExtractRuntime
from extract.remote.listings import one_listing
from flows.pipeline.cache import Stage, StageResult
from flows.pipeline.checks import check_frames, check_run, warn_of_unlearned_classes
from flows.pipeline.stages import EVALUATE, EXTRACT, INFER, STAGES, TRAIN
from flows.server.connection import logs_sent_to_server
from flows.server.embedded import OwnedServer
from flows.workspace.config import PipelineConfig, StageName, TrainSettings
from flows.workspace.inputs import Source, resolve_inputs, undone_if_refused
from flows.workspace.model_reference import version_folder
from flows.workspace.partial import PARTIAL
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace, WorkspaceInputs

OwnedServer()  # where no server is set, Prefect starts this one before it runs a flow

WORKSPACE = Path(os.environ.get("DSANET_WORKSPACE", "workspace"))
"""Default workspace of a deployed run; a relative path counts from the folder it was deployed from."""

Settings = PipelineConfig | Mapping[str, Any]
"""All settings, or those to change, nested as in `workspace.json`."""


def run_name() -> str:
    """Name of a flow run: flow, footage and day, for example `extract-train-eval ucf-crime 2026-11-20`."""
    parameters = flow_run.parameters
    source, workspace = parameters.get("source"), Workspace(parameters.get("workspace", WORKSPACE))
    if source is not None and (source.title or source.manifest):
        title = source.title or source.manifest.stem
    else:
        title = workspace.read_inputs().title if workspace.inputs_file.is_file() else workspace.place.name
    return f"{flow_run.flow_name} {title} {date.today()}"


@contextmanager
def locked_workspace(
    root: Path, source: Source | None = None, config: Settings | None = None
) -> Iterator[Workspace]:
    """The workspace of a flow run: holds its lock, and sends the log lines to Prefect's server.

    While another process holds the lock, a deployed run waits for it; any other run raises BusyError. Raises
    what `_inputs` raises for these parameters, before the lock file creates the folder. Parameters of a run
    that is refused are not kept in `workspace.json`.
    """
    workspace = Workspace(root)
    _inputs(workspace, source, config)
    with (
        logs_sent_to_server(),
        workspace.locked(wait=deployment.id is not None),
        one_listing(),
        undone_if_refused(workspace),
    ):
        yield workspace


@flow(name="extract-train-eval", flow_run_name=run_name)
def extract_train_eval(
    workspace: Path = WORKSPACE,
    source: Source | None = None,
    config: Annotated[PipelineConfig, PARTIAL] | None = None,
    refresh: StageName | None = None,
    retry: bool = False,
) -> list[StageResult]:
    """All stages, from raw video to metrics and a report; a stage with unchanged inputs comes from the cache.

    Args:
        workspace: folder for all outputs
        source: footage; empty: as in the workspace
        config: all settings; empty: as in the workspace, or the preset ucf-crime in a new one
        refresh: first stage to run again although its inputs are unchanged; all later ones follow
        retry: try videos again now that failed before and have not changed

    Returns:
        The results of the four stages in order.

    Raises:
        FileNotFoundError: the manifest, the annotations or a video does not exist
        ValueError: invalid settings, or too few videos in a split
        BusyError: another process works in the workspace (a deployed run waits instead)

    Examples:
        >>> from pathlib import Path
        >>> from flows import extract_train_eval
        >>> results = extract_train_eval(Path("workspace"), refresh="evaluate")
        >>> [result.stage for result in results]
        ['extract', 'train', 'infer', 'evaluate']
    """
    names = [stage.name for stage in STAGES]
    first_refreshed = names.index(refresh) if refresh else len(names)
    with locked_workspace(workspace, source, config) as place:
        run = replace(_load_run(place, source, config), retry=retry)
        check_run(run)
        warn_of_unlearned_classes(run)
        results = []
        for position, stage in enumerate(STAGES):
            results.append(stage(run, refresh=position >= first_refreshed or (retry and stage is EXTRACT)))
            if stage is EXTRACT:
                check_frames(run)
        return results


@flow(name="extract", flow_run_name=run_name)
def extract(
    workspace: Path = WORKSPACE,
    source: Source | None = None,
    extract: Annotated[ExtractConfig, PARTIAL] | None = None,
    runtime: Annotated[ExtractRuntime, PARTIAL] | None = None,
    refresh: bool = False,
    retry: bool = False,
) -> StageResult:
    """Only the stage `extract`: the features of all videos.

    Args:
        workspace: folder for the features
        source: footage; empty: as in the workspace
        extract: settings that determine the features; empty: as in the workspace
        runtime: device, workers and error handling; empty: as in the workspace
        refresh: run the stage although its inputs are unchanged
        retry: try videos again now that failed before and have not changed
    """
    return _run_stage(EXTRACT, workspace, refresh, source, retry=retry, extract=extract, runtime=runtime)


@flow(name="train", flow_run_name=run_name)
def train(
    workspace: Path = WORKSPACE,
    model: Annotated[AnyDetectorConfig, PARTIAL] | None = None,
    train: Annotated[TrainSettings, PARTIAL] | None = None,
    refresh: bool = False,
) -> StageResult:
    """Only the stage `train`: a checkpoint from the features in the workspace.

    Args:
        workspace: folder with features
        model: settings of the detector; empty: as in the workspace
        train: settings of the training; empty: as in the workspace
        refresh: run the stage although its inputs are unchanged
    """
    return _run_stage(TRAIN, workspace, refresh, model=model, train=train)


@flow(name="infer", flow_run_name=run_name)
def infer(
    workspace: Path = WORKSPACE,
    infer: Annotated[InferConfig, PARTIAL] | None = None,
    model: str | None = None,
    refresh: bool = False,
) -> StageResult:
    """Only the stage `infer`: scores of the test videos, by the workspace's model or a registered version.

    Args:
        workspace: folder with features and a model
        infer: settings of the inference; empty: as in the workspace
        model: champion, challenger or a version number, with the scores in that version's folder; empty: the
            workspace's own model
        refresh: run the stage although its inputs are unchanged
    """
    return _run_stage(INFER, workspace, refresh, version=model, infer=infer)


@flow(name="evaluate", flow_run_name=run_name)
def evaluate(
    workspace: Path = WORKSPACE,
    evaluate: Annotated[EvaluateConfig, PARTIAL] | None = None,
    refresh: bool = False,
) -> StageResult:
    """Only the stage `evaluate`: metrics and report from the scores in the workspace.

    Args:
        workspace: folder with scores
        evaluate: thresholds, protocol and pictures; empty: as in the workspace
        refresh: run the stage although its inputs are unchanged
    """
    return _run_stage(EVALUATE, workspace, refresh, evaluate=evaluate)


def _run_stage(
    stage: Stage,
    workspace: Path,
    refresh: bool,
    source: Source | None = None,
    *,
    version: str | None = None,
    retry: bool = False,
    **sections: BaseModel | Mapping[str, Any] | None,
) -> StageResult:
    """Run one stage with some sections of the configuration changed, on a registered version if given."""
    config = {name: section for name, section in sections.items() if section is not None} or None
    with locked_workspace(workspace, source, config) as place:
        run = replace(_load_run(place, source, config), retry=retry)
        if version is not None:
            run = version_folder(version, place).run(run, run.records)
        return stage(run, refresh=refresh or retry)


def _load_run(workspace: Workspace, source: Source | None, config: Settings | None) -> Run:
    """The run of the workspace, after writing the given parameters to `workspace.json`."""
    inputs = _inputs(workspace, source, config)
    if source is not None or config is not None:
        inputs = workspace.write_inputs(inputs)
    return Run(workspace, inputs)


def _inputs(workspace: Workspace, source: Source | None, config: Settings | None) -> WorkspaceInputs:
    """The inputs of a run with these parameters: those of `workspace.json` if there are none.

    Raises what `resolve_inputs` and `Workspace.read_inputs` raise.
    """
    if source is None and config is None:
        return workspace.read_inputs()
    return resolve_inputs(workspace, source, config)
