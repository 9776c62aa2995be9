"""A stage as a cached Prefect task whose memory is never trusted beyond the files on disk.

The cache key is made of what the stage reads (digests, not paths or times), its configuration and its code
version. A hit is checked against the digest of what lies in the workspace; where an output was deleted,
truncated or edited, the stage runs again (and itself reuses what still fits).
"""

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect import Task, task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from extract.config import StrictModel
from flows.workspace.run import Run
from flows.workspace.workspace import digest_of

log = logging.getLogger(__name__)


class StageResult(StrictModel):
    """The small reference that a stage's task returns: what it wrote, never the data."""

    stage: str
    digest: str | None
    summary: str


LASTING = (FileNotFoundError, PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)
LASTING_ERRNO = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


def _may_pass(task: Task[..., Any], task_run: TaskRun, state: State) -> bool:
    """Whether trying again may help: after an I/O error that is not the user's to mend."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, OSError) or isinstance(error, LASTING):
        return False
    return error.errno not in LASTING_ERRNO


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    `reads` gives the JSON-able values that the output depends on; `work` does the step and returns a line for
    the log; `written` digests the output as it lies on disk, None where nothing does; `show` puts it before
    those who watch the run. `version` is raised when the code changes what the same inputs give.
    """

    name: str
    version: int
    reads: Callable[[Run], Any]
    work: Callable[[Run], str]
    written: Callable[[Run], str | None]
    show: Callable[[Run], object]

    def __call__(self, run: Run, *, refresh: bool = False) -> StageResult:
        """Run the stage, or take over what it made before. Raises what `work` raises."""
        began = time.monotonic()
        key = f"{self.name}-v{self.version}-{digest_of(self.reads(run))[:32]}"
        state = self._task(run, key, refresh)(return_state=True)
        result = state.result()
        if state.name == "Cached" and (result.digest is None or result.digest != self.written(run)):
            log.info("%s: its output was changed or is gone; running it again", self.name)
            state = self._task(run, key, True)(return_state=True)
            result = state.result()
        how = "Cached" if state.name == "Cached" else f"{time.monotonic() - began:.1f} s"
        log.info("%-9s %s (%s)", self.name, result.summary, how)
        self.show(run)
        return result

    def _task(self, run: Run, key: str, refresh: bool) -> Task[[], StageResult]:
        policy = CacheKeyFnPolicy(cache_key_fn=lambda context, parameters: key)
        limits = run.config.stages

        @task(
            name=self.name,
            cache_policy=policy,
            result_storage=run.workspace.cache,
            refresh_cache=refresh,
            persist_result=True,
            result_serializer="json",
            retries=limits.retries,
            retry_delay_seconds=exponential_backoff(limits.retry_delay_s),
            retry_condition_fn=_may_pass,
            timeout_seconds=limits.timeout_h and limits.timeout_h * 3600,
        )
        def stage() -> StageResult:
            summary = self.work(run)
            return StageResult(stage=self.name, digest=self.written(run), summary=summary)

        return stage
