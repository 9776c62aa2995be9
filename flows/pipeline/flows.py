"""The flows: `extract-train-eval`, which is all four stages in a row, and one flow a stage.

Each works on the folder that its `workspace.json` describes, and holds it while it runs. What a parameter
gives is taken into `workspace.json` first; what it leaves out stays as it was.
"""

import os
from datetime import date
from pathlib import Path

from prefect import flow
from prefect.runtime import deployment, flow_run
from pydantic import BaseModel

from dsanet.detectors.dsanet.config import InferConfig
from dsanet.detectors.registry import AnyDetectorConfig
from evaluate.config import EvaluateConfig
from extract.config import ExtractConfig, ExtractRuntime
from flows.pipeline.cache import Stage, StageResult
from flows.pipeline.stages import EVALUATE, EXTRACT, INFER, TRAIN
from flows.server.connection import reported
from flows.workspace.config import PipelineConfig, StageName, TrainSettings
from flows.workspace.inputs import Source, merged
from flows.workspace.model_reference import version_folder
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace

STAGES = (EXTRACT, TRAIN, INFER, EVALUATE)
WORKSPACE = Path(os.environ.get("DSANET_WORKSPACE", "workspace"))
"""Where a deployed run works that is not told; relative to the folder it was deployed from."""


def run_name() -> str:
    """For example `extract-train-eval ucf-crime 2026-11-20`: the flow, the footage, the day."""
    given = flow_run.parameters
    source, workspace = given.get("source"), Workspace(given.get("workspace", WORKSPACE))
    if source is not None:
        title = source.title or source.manifest.stem
    else:
        title = workspace.recall().title if workspace.inputs_file.is_file() else workspace.root.name
    return f"{flow_run.flow_name} {title} {date.today()}"


@flow(name="extract-train-eval", flow_run_name=run_name)
def extract_train_eval(
    workspace: Path = WORKSPACE,
    source: Source | None = None,
    config: PipelineConfig | None = None,
    refresh: StageName | None = None,
) -> list[StageResult]:
    """Raw video to metrics and a report; a stage whose inputs did not change is taken from the cache.

    Raises ValueError or FileNotFoundError for input that no stage could use.

    Args:
        workspace: folder with all that the run makes
        source: the footage; empty: the workspace's
        config: every setting; empty: the workspace's, or the preset ucf-crime in a new one
        refresh: stage that runs again, with all after it, though nothing changed
    """
    names = [stage.name for stage in STAGES]
    first_refreshed = names.index(refresh) if refresh else len(names)
    with reported(), Workspace(workspace).locked(wait=deployed()):
        run = _begun(workspace, source, config)
        run.check()
        return [stage(run, refresh=position >= first_refreshed) for position, stage in enumerate(STAGES)]


@flow(name="extract", flow_run_name=run_name)
def extract(
    workspace: Path = WORKSPACE,
    source: Source | None = None,
    extract: ExtractConfig | None = None,
    runtime: ExtractRuntime | None = None,
    refresh: bool = False,
) -> StageResult:
    """Only the features.

    Args:
        workspace: folder with all that the run makes
        source: the footage; empty: the workspace's
        extract: what is computed; empty: the workspace's settings
        runtime: how it is run; empty: the workspace's settings
        refresh: run though nothing changed
    """
    return _one(EXTRACT, workspace, refresh, source, extract=extract, runtime=runtime)


@flow(name="train", flow_run_name=run_name)
def train(
    workspace: Path = WORKSPACE,
    model: AnyDetectorConfig | None = None,
    train: TrainSettings | None = None,
    refresh: bool = False,
) -> StageResult:
    """Only the training, on the features that are there.

    Args:
        workspace: folder that has features
        model: what is trained; empty: the workspace's settings
        train: how; empty: the workspace's settings
        refresh: run though nothing changed
    """
    return _one(TRAIN, workspace, refresh, model=model, train=train)


@flow(name="infer", flow_run_name=run_name)
def infer(
    workspace: Path = WORKSPACE,
    infer: InferConfig | None = None,
    model: str | None = None,
    refresh: bool = False,
) -> StageResult:
    """Only the scores of the test videos, by the model that is there, or by a registered one.

    Args:
        workspace: folder that has features and a model
        infer: how they are scored; empty: the workspace's settings
        model: champion, challenger or a version's number, whose scores go to its own folder; empty: the
            workspace's own model
        refresh: run though nothing changed
    """
    return _one(INFER, workspace, refresh, version=model, infer=infer)


@flow(name="evaluate", flow_run_name=run_name)
def evaluate(
    workspace: Path = WORKSPACE, evaluate: EvaluateConfig | None = None, refresh: bool = False
) -> StageResult:
    """Only the metrics and the report, from the scores that are there.

    Args:
        workspace: folder that has scores
        evaluate: thresholds, protocol, pictures; empty: the workspace's settings
        refresh: run though nothing changed
    """
    return _one(EVALUATE, workspace, refresh, evaluate=evaluate)


def _one(
    stage: Stage,
    workspace: Path,
    refresh: bool,
    source: Source | None = None,
    *,
    version: str | None = None,
    **sections: BaseModel | None,
) -> StageResult:
    given = {name: section for name, section in sections.items() if section is not None}
    with reported(), Workspace(workspace).locked(wait=deployed()):
        config = Run.of(workspace).config.model_copy(update=given) if given else None
        run = _begun(workspace, source, config)
        if version is not None:
            run = version_folder(version, run.workspace).run(run, run.records)
        return stage(run, refresh=refresh)


def _begun(workspace: Path, source: Source | None, config: PipelineConfig | None) -> Run:
    if source is not None or config is not None:
        Workspace(workspace).remember(merged(Workspace(workspace), source, config))
    return Run.of(workspace)


def deployed() -> bool:
    """Whether nobody sits before it: such a run waits for another one over the same folder."""
    return deployment.id is not None
