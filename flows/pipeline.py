"""The flows: `extract-train-eval`, which is all four stages in a row, and one flow a stage.

Each works on the folder that its `workspace.json` describes (`flows.workspace`), and holds it while it runs.
"""

from pathlib import Path

from prefect import flow

from flows.cached import Stage, StageResult
from flows.run import Run
from flows.stages import EVALUATE, EXTRACT, INFER, TRAIN

STAGES = (EXTRACT, TRAIN, INFER, EVALUATE)


@flow(name="extract-train-eval")
def extract_train_eval(workspace: Path, refresh: str | None = None) -> list[StageResult]:
    """Raw video to metrics and a report.

    `refresh` names a stage that runs again, and all after it, though nothing changed. Raises ValueError or
    FileNotFoundError for input that no stage could use.
    """
    run = Run.of(workspace)
    run.check()
    names = [stage.name for stage in STAGES]
    first_refreshed = names.index(refresh) if refresh else len(names)
    with run.workspace.locked():
        return [stage(run, refresh=position >= first_refreshed) for position, stage in enumerate(STAGES)]


@flow(name="extract")
def extract(workspace: Path, refresh: bool = False) -> StageResult:
    """Only the features."""
    return _one(EXTRACT, workspace, refresh)


@flow(name="train")
def train(workspace: Path, refresh: bool = False) -> StageResult:
    """Only the training, on the features that are there."""
    return _one(TRAIN, workspace, refresh)


@flow(name="infer")
def infer(workspace: Path, refresh: bool = False) -> StageResult:
    """Only the scores of the test videos, by the model that is there."""
    return _one(INFER, workspace, refresh)


@flow(name="evaluate")
def evaluate(workspace: Path, refresh: bool = False) -> StageResult:
    """Only the metrics and the report, from the scores that are there."""
    return _one(EVALUATE, workspace, refresh)


def _one(stage: Stage, workspace: Path, refresh: bool) -> StageResult:
    run = Run.of(workspace)
    with run.workspace.locked():
        return stage(run, refresh=refresh)
