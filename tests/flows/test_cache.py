"""A stage that fails: tried again where that may help, given up where it cannot, stopped when it hangs."""

import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow

from flows.pipeline.cache import Stage, StageResult
from flows.workspace.config import PipelineConfig, preset_config
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace, WorkspaceInputs

PASSING = OSError(errno.EIO, "the disk did not answer")
LASTING = {
    "a bad setting": ValueError("a bad setting"),
    "a file that is gone": FileNotFoundError(errno.ENOENT, "no such video"),
    "a folder of somebody else": PermissionError(errno.EACCES, "not yours"),
    "a full disk": OSError(errno.ENOSPC, "no space left on device"),
}


class Work:
    """A stage's work that fails with each of `failures` in turn, and then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tries = 0

    def __call__(self, run: Run) -> str:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def run_stage(root: Path, work: Callable[[Run], str], **limits: float) -> StageResult:
    """A flow of one stage that does `work` in a workspace with these settings of `stages`."""
    values = preset_config("small").model_dump() | {"stages": {"retry_delay_s": 0.01, **limits}}
    inputs = WorkspaceInputs(
        manifest=root / "m.csv", annotations=None, config=PipelineConfig.model_validate(values), title="t"
    )
    run = Run(Workspace(root), inputs)
    stage = Stage("stage", 1, lambda run: 0, work, lambda run: "digest", lambda run: None)

    @flow
    def one() -> StageResult:
        return stage(run)

    return one()


def test_an_io_error_that_passes_is_tried_again(tmp_path: Path) -> None:
    work = Work(PASSING, PASSING)
    assert run_stage(tmp_path, work).summary == "done"
    assert work.tries == 3


def test_an_io_error_that_stays_is_given_up_after_the_retries(tmp_path: Path) -> None:
    work = Work(*[PASSING] * 5)
    with pytest.raises(OSError, match="the disk did not answer"):
        run_stage(tmp_path, work, retries=1)
    assert work.tries == 2


@pytest.mark.parametrize("what", LASTING)
def test_what_trying_again_cannot_mend_is_not_tried_again(what: str, tmp_path: Path) -> None:
    work = Work(LASTING[what])
    with pytest.raises(type(LASTING[what])):
        run_stage(tmp_path, work)
    assert work.tries == 1


def test_a_stage_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run_stage(tmp_path, lambda run: str(time.sleep(60)), timeout_h=1 / 3600, retries=0)
    assert time.monotonic() - began < 30
