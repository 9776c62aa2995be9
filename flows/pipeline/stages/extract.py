"""Stage `extract`: videos → features/NAME.h5 and features/failures.csv, by CLIP's frozen image tower."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extract.engine import extract_videos
from flows.pipeline.artifacts import publish_failures
from flows.pipeline.cache import Stage
from flows.pipeline.progress import extraction_progress
from flows.pipeline.stages.device import computing
from flows.pipeline.stages.digests import features_digest
from flows.workspace.run import Run, recorded_digest

log = logging.getLogger(__name__)

_SHOWN_RECORDINGS = 10


def _inputs(run: Run) -> Any:
    """The videos and the weights by content, and the settings that determine the features."""
    run.check_sources()
    config = run.config.extract
    return (
        {
            record.name: recorded_digest(record, run.workspace.features) or run.digest(record.path)
            for record in run.records
        },
        config.model_dump(exclude={"weights"}),
        run.digest(Path(config.weights)) or config.weights,
        run.config.runtime.partial,
    )


def _work(run: Run) -> str:
    with computing(run, "extract", "snippets") as report:
        result = extract_videos(
            run.records,
            run.workspace.features,
            run.config.extract,
            run.config.runtime,
            on_progress=extraction_progress(report),
        )
    for line in irregularities(result.timing):
        log.info("%-9s %s", "note", line)
    done = len(result.extracted) + len(result.reused)
    failed = f", {len(result.failures)} failed (features/failures.csv)" if result.failures else ""
    return f"{done} videos, {len(result.reused)} of them reused{failed}"


def irregularities(timing: Mapping[str, str]) -> list[str]:
    """One line for each of the first ten irregular recordings, and how many more there are."""
    lines = [f"{name}: {found}" for name, found in sorted(timing.items())]
    rest = len(lines) - _SHOWN_RECORDINGS
    more = [f"{rest} more recordings are irregular; `dsanet features show` lists them"] if rest > 0 else []
    return lines[:_SHOWN_RECORDINGS] + more


def _output_digest(run: Run) -> str | None:
    """None while a video has no features: the next run then tries the failed videos again, and only those."""
    return None if run.without_features() else features_digest(run)


EXTRACT = Stage("extract", 1, _inputs, _work, _output_digest, publish_failures)
