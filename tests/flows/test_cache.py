"""Retries, time limit and cache records of a stage."""

import errno
import json
import operator
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from flows.pipeline.cache import Stage, StageResult, can_be_temporary
from flows.workspace.config import PipelineConfig, preset_config
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace, WorkspaceInputs

TEMPORARY = OSError(errno.EIO, "the disk did not answer")
PERMANENT = {
    "a bad setting": ValueError("a bad setting"),
    "a missing file": FileNotFoundError(errno.ENOENT, "no such video"),
    "missing rights": PermissionError(errno.EACCES, "permission denied"),
    "a file in place of a folder": NotADirectoryError(errno.ENOTDIR, "not a directory"),
    "a full disk": OSError(errno.ENOSPC, "no space left on device"),
    "a read-only disk": OSError(errno.EROFS, "read-only file system"),
    "a used-up quota": OSError(errno.EDQUOT, "disk quota exceeded"),
}


class Work:
    """Work of a stage: fails with each of `failures` in turn, then succeeds. `tries` counts the calls."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tries = 0

    def __call__(self, run: Run) -> str:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def small_run(root: Path, **limits: float) -> Run:
    """A run in the workspace `root`; `limits` are settings of `stages`."""
    values = preset_config("small").model_dump() | {"stages": {"retry_delay_s": 0.01, **limits}}
    inputs = WorkspaceInputs(
        manifest=root / "m.csv", annotations=None, config=PipelineConfig.model_validate(values), title="t"
    )
    return Run(Workspace(root), inputs)


def run_stage(root: Path, work: Callable[[Run], str], **limits: float) -> StageResult:
    """Run a flow of one stage, as `small_run`."""
    run = small_run(root, **limits)
    stage = Stage("stage", 1, lambda run: 0, work, lambda run: "digest", lambda run: None)

    @flow
    def one() -> StageResult:
        return stage(run)

    return one()


def test_a_temporary_io_error_is_retried(tmp_path: Path) -> None:
    work = Work(TEMPORARY, TEMPORARY)
    assert run_stage(tmp_path, work).summary == "done"
    assert work.tries == 3


def test_a_lasting_io_error_fails_after_the_retries(tmp_path: Path) -> None:
    work = Work(*[TEMPORARY] * 5)
    with pytest.raises(OSError, match="the disk did not answer"):
        run_stage(tmp_path, work, retries=1)
    assert work.tries == 2


def test_a_permanent_error_is_not_retried(tmp_path: Path) -> None:
    work = Work(PERMANENT["a full disk"])
    with pytest.raises(OSError, match="no space left on device"):
        run_stage(tmp_path, work)
    assert work.tries == 1


@pytest.mark.parametrize("error", PERMANENT)
def test_some_errors_can_be_temporary(error: str) -> None:
    assert can_be_temporary(TEMPORARY)
    assert not can_be_temporary(PERMANENT[error])


def test_a_stage_is_stopped_at_its_time_limit(tmp_path: Path) -> None:
    def slow(run: Run) -> str:
        time.sleep(60)
        return "done"

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run_stage(tmp_path, slow, timeout_h=1 / 3600, retries=0)
    assert time.monotonic() - began < 30


def test_the_settings_are_the_limits_of_the_task(tmp_path: Path) -> None:
    stage = Stage("train", 3, lambda run: {"epochs": 2}, Work(), lambda run: None, lambda run: None)
    run = small_run(tmp_path, retries=3, retry_delay_s=2, timeout_h=0.5)
    task = stage._task(run, "the key", True)
    assert (task.name, task.retries, task.retry_delay_seconds) == ("train", 3, [2, 4, 8])
    assert (task.timeout_seconds, task.refresh_cache, task.persist_result) == (1800, True, True)
    again = stage._task(small_run(tmp_path), "the key", False)
    assert (again.timeout_seconds, again.refresh_cache) == (None, False)
    # Records of existing workspaces have such names.
    assert stage.cache_key(run) == "train-v3-e0c139bb2d341382fa13954417ae9ec5"


def test_a_stage_logs_its_summary_and_duration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def slow(run: Run) -> str:
        time.sleep(0.2)
        return "done"

    with caplog.at_level("INFO", logger="flows"):
        run_stage(tmp_path, slow)
        run_stage(tmp_path, Work())
    first, second = (record.message for record in caplog.records if record.name == "flows.pipeline.cache")
    assert re.fullmatch(r"stage     done \((0\.[2-9]|[1-9]\.\d|\d\d\.\d) s\)", first)
    assert second == "stage     done (Cached)"


def test_a_record_holds_plain_values_under_the_cache_key(tmp_path: Path) -> None:
    run_stage(tmp_path, Work())
    (record,) = Workspace(tmp_path).cache.iterdir()
    assert record.name.startswith("stage-v1-")
    assert json.loads(json.loads(record.read_text())["result"]) == {
        "stage": "stage",
        "digest": "digest",
        "summary": "done",
    }


def test_a_record_of_an_older_version_is_used(tmp_path: Path) -> None:
    """It names the class by the module that defined it then."""
    fields = run_stage(tmp_path, Work()).model_dump()
    (record,) = Workspace(tmp_path).cache.iterdir()
    content = json.loads(record.read_text())
    old = {"__class__": "flows.cached.StageResult", "data": fields | {"summary": "done before"}}
    record.write_text(json.dumps(content | {"result": json.dumps(old)}))
    work = Work()
    assert run_stage(tmp_path, work).summary == "done before"
    assert work.tries == 0


def test_a_record_is_used_only_for_the_outputs_that_it_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "output"
    published: list[Run] = []

    def work(run: Run) -> str:
        tries.append(run)
        (run.workspace.root / "output").write_text(f"of try {len(tries)}")
        return "done"

    def stage(**changes: Any) -> Stage:
        def digest(run: Run) -> str | None:
            file = run.workspace.root / "output"
            return file.read_text() if file.exists() else None

        inputs = operator.attrgetter("workspace.root.name")
        return replace(Stage("stage", 1, inputs, work, digest, published.append), **changes)

    tries: list[Run] = []
    run = small_run(tmp_path)

    @flow
    def count(one: Stage, refresh: bool = False) -> int:
        before = len(tries)
        result = one(run, refresh=refresh)
        assert result == StageResult(stage=one.name, digest=f"of try {len(tries)}", summary="done")
        assert published == [run] * (len(tries) + hits)
        return len(tries) - before

    hits = 0
    assert count(stage()) == 1
    hits += 1
    assert count(stage()) == 0
    assert count(stage(), refresh=True) == 1
    output.write_text("edited")
    assert count(stage()) == 1
    hits += 1
    assert count(stage()) == 0
    output.unlink()
    assert count(stage()) == 1
    assert count(stage(version=2)) == 1
    assert count(stage(name="other")) == 1
    assert count(stage(inputs=lambda run: 1)) == 1
    again = "stage: its output is incomplete or has changed; running the stage again"
    assert caplog.messages.count(again) == 2


def test_an_incomplete_output_is_made_again(tmp_path: Path) -> None:
    run, work = small_run(tmp_path), Work()
    stage = Stage("stage", 1, lambda run: 0, work, lambda run: None, lambda run: None)

    @flow
    def one() -> StageResult:
        return stage(run)

    assert (one().digest, one().digest, work.tries) == (None, None, 2)


def test_a_copied_workspace_names_its_own_files(tmp_path: Path) -> None:
    def work(run: Run) -> str:
        return f"report in {run.workspace.report / 'index.html'}"

    assert run_stage(tmp_path / "first", work).summary == f"report in {tmp_path}/first/report/index.html"
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    shutil.rmtree(tmp_path / "first")
    again = Work()
    assert run_stage(tmp_path / "copy", again).summary == f"report in {tmp_path}/copy/report/index.html"
    assert again.tries == 0
