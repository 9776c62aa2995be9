"""Stage `extract`: videos → features/NAME.h5 and features/failures.csv, by CLIP's frozen image tower."""

import logging
from pathlib import Path
from typing import Any

from extract.engine import extract_videos
from extract.inspect import timing_lines
from flows.pipeline.artifacts import publish_failures
from flows.pipeline.cache import Stage
from flows.pipeline.progress import extraction_progress
from flows.pipeline.stages.device import computing
from flows.pipeline.stages.digests import features_digest
from flows.workspace.run import Run, recorded_digest

log = logging.getLogger(__name__)


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
    for line in timing_lines(result.timing):
        log.info("%-9s %s", "note", line)
    done = len(result.extracted) + len(result.reused)
    failed = f", {len(result.failures)} failed (features/failures.csv)" if result.failures else ""
    return f"{done} videos, {len(result.reused)} of them reused{failed}"


def _output_digest(run: Run) -> str | None:
    """None while a video has no features: the next run then tries the failed videos again, and only those."""
    return None if run.without_features() else features_digest(run)


EXTRACT = Stage("extract", 1, _inputs, _work, _output_digest, publish_failures)
