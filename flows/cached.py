"""A stage as a cached Prefect task whose memory is never trusted beyond the files on disk.

The cache key is made of what the stage reads (digests, not paths or times), its configuration and its code
version. A hit is checked against the digest of what lies in the workspace; where an output was deleted,
truncated or edited, the stage runs again (and itself reuses what still fits).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect import Task, task
from prefect.cache_policies import CacheKeyFnPolicy
from pydantic import BaseModel, ConfigDict

from flows.run import Run
from flows.workspace import digest_of

log = logging.getLogger(__name__)


class StageResult(BaseModel):
    """The small reference that a stage's task returns: what it wrote, never the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    digest: str | None
    summary: str


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    `reads` gives the JSON-able values that the output depends on; `work` does the step and returns a line for
    the log; `written` digests the output as it lies on disk, None where nothing does. `version` is raised
    when the code changes what the same inputs give.
    """

    name: str
    version: int
    reads: Callable[[Run], Any]
    work: Callable[[Run], str]
    written: Callable[[Run], str | None]

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
        return result

    def _task(self, run: Run, key: str, refresh: bool) -> Task[[], StageResult]:
        policy = CacheKeyFnPolicy(cache_key_fn=lambda context, parameters: key)

        @task(
            name=self.name,
            cache_policy=policy.configure(key_storage=run.workspace.cache),
            refresh_cache=refresh,
            persist_result=True,
            result_serializer="json",
        )
        def stage() -> StageResult:
            summary = self.work(run)
            return StageResult(stage=self.name, digest=self.written(run), summary=summary)

        return stage
