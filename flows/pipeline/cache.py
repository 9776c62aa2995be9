"""Stages as cached Prefect tasks, and the cache key.

The key of a stage is a digest of its inputs: file contents (never paths or times), settings and code version.
Cache records are files in the workspace, `.cache/KEY`. A record is used only while the output files still
have the digest that it holds; if a file was deleted, truncated or edited, the stage runs again. Where the
digest of an input is found by the work itself, the record is written after it.
"""

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.results import ResultStore
from prefect.tasks import exponential_backoff

from extract.config import StrictModel
from extract.store import FeatureFileError
from flows.workspace.run import Run, digest_of

log = logging.getLogger(__name__)

Record = dict[str, Any]
"""The return value of a stage's task, stored in its cache record: the fields of a StageResult as plain
values, so that records do not depend on the module path of the class."""

WORKSPACE_ROOT = "{workspace}"
"""The folder of the workspace in a stored summary: a copied workspace names its own files."""
NON_RETRYABLE = (
    FileNotFoundError,
    PermissionError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
)
NON_RETRYABLE_ERRNO = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


class StageResult(StrictModel):
    """The outcome of a stage: its name, the digest of its output files, and its log line."""

    stage: str
    digest: str | None
    """None if the output is incomplete; the stage then runs again next time."""
    summary: str


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline, called with a run."""

    name: str
    version: int
    """To be raised when a code change alters the output for the same inputs."""
    inputs: Callable[[Run], Any]
    """Returns the values that determine the output, as JSON-able values or pydantic models.

    None while they are not known; the work then finds them.
    """
    work: Callable[[Run], str]
    """Writes the output files; returns a summary for the log."""
    output_digest: Callable[[Run], str | None]
    """Returns a digest of the output files, None if they are missing or incomplete."""
    publish: Callable[[Run], object]
    """Publishes the stage's Prefect artifacts."""

    def __call__(self, run: Run, *, refresh: bool = False) -> StageResult:
        """Run the stage, or take its result from the cache. `refresh` ignores the cache.

        Raises whatever `inputs` and `work` raise.
        """
        try:
            result = self._run(run, refresh)
            run.workspace.synchronise()
            return result
        except FeatureFileError as error:
            if error.path is not None:
                run.index.forget(error.path)  # so that the next extraction replaces it
            raise
        finally:
            run.index.flush()

    def _run(self, run: Run, refresh: bool) -> StageResult:
        began = time.monotonic()
        key = self.cache_key(run)
        state = self._task(run, key, refresh)(return_state=True)
        result = _result_of(state, run)
        if key is None and result.digest is not None:
            self._store(run, state)
        if state.name == "Cached" and (result.digest is None or result.digest != self.output_digest(run)):
            log.info("%s: its output is incomplete or has changed; running the stage again", self.name)
            state = self._task(run, key, True)(return_state=True)
            result = _result_of(state, run)
        duration = "Cached" if state.name == "Cached" else f"{time.monotonic() - began:.1f} s"
        log.info("%-9s %s (%s)", self.name, result.summary, duration)
        self.publish(run)
        return result

    def cache_key(self, run: Run) -> str | None:
        """Name, code version and digest of the inputs: `train-v1-cdc43b74c1b23d621f5912f9f6c7393f`.

        None while the inputs are not known.
        """
        inputs = self.inputs(run)
        return None if inputs is None else f"{self.name}-v{self.version}-{digest_of(inputs)[:32]}"

    def _store(self, run: Run, state: State[Record]) -> None:
        """Write the record of work whose inputs were not known before."""
        key = self.cache_key(run)
        if key is not None:
            store = cast(ResultStore, ResultStore().update_for_task(self._task(run, key, False)))
            store.write(state.result(), key=key)

    def _task(self, run: Run, key: str | None, refresh: bool) -> Task[[], Record]:
        limits = run.config.stages

        def stage() -> Record:
            summary = self.work(run).replace(str(run.workspace.root), WORKSPACE_ROOT)
            return StageResult(stage=self.name, digest=self.output_digest(run), summary=summary).model_dump()

        return Task(
            stage,
            name=self.name,
            cache_policy=NO_CACHE if key is None else CacheKeyFnPolicy(cache_key_fn=lambda *_: key),
            result_storage=run.workspace.cache,
            refresh_cache=refresh,
            persist_result=key is not None,
            result_serializer="json",
            retries=limits.retries,
            retry_delay_seconds=exponential_backoff(limits.retry_delay_s),
            retry_condition_fn=_is_retryable,
            timeout_seconds=limits.timeout_h and limits.timeout_h * 3600,
        )


def _result_of(state: State[Record], run: Run) -> StageResult:
    record = state.result()
    # Older records hold the fields in `data`, beside the path that the class had then.
    result = StageResult.model_validate(record.get("data", record))
    summary = result.summary.replace(WORKSPACE_ROOT, str(run.workspace.root))
    return result.model_copy(update={"summary": summary})


def _is_retryable(task: Task[..., Any], task_run: TaskRun, state: State) -> bool:
    return can_be_temporary(state.result(raise_on_failure=False))


def can_be_temporary(error: object) -> bool:
    """True for an I/O error that may pass; not for a missing file, missing rights or a full disk."""
    if not isinstance(error, OSError) or isinstance(error, NON_RETRYABLE):
        return False
    return error.errno not in NON_RETRYABLE_ERRNO
