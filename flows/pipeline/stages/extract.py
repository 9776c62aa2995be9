"""Stage `extract`: videos → features/NAME.h5 and features/failures.csv, by CLIP's frozen image tower."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from extract.failures import Failure
from extract.inspect import timing_lines
from extract.manifest import VideoRecord
from extract.remembered import waiting_failures
from flows.pipeline.artifacts import publish_failures
from flows.pipeline.cache import Stage
from flows.pipeline.stages.device import computing
from flows.pipeline.stages.digests import features_digest
from flows.pipeline.stages.reading import read_changed_videos, read_failed_videos, read_new_features
from flows.progress import extraction_progress
from flows.workspace.run import Run, recorded_digest

log = logging.getLogger(__name__)


def _inputs(run: Run) -> Any:
    """The videos and the weights by content, and the settings that determine the features.

    None while a video is new or may have changed: it is read by the extraction, and not twice.
    """
    run.check_sources()
    read_new_features(run)
    videos = {record.name: recorded_digest(record, run.index) for record in run.records}
    if None in videos.values():
        return None
    config = run.config.extract
    return (
        videos,
        config.model_dump(exclude={"weights"}),
        run.digest(Path(config.weights)) or config.weights,
        run.config.runtime.partial,
    )


def _work(run: Run) -> str:
    from extract.devices import selected_devices
    from extract.engine import extract_videos

    read_changed_videos(run)
    run.index.flush()  # for the extraction, which opens the index itself
    on_cluster = run.config.runtime.runner == "ray"
    devices = [] if on_cluster else selected_devices(run.config.runtime)
    with computing(run, "extract", "snippets", devices, on_cluster=on_cluster) as report:
        result = extract_videos(
            run.records,
            run.workspace.features,
            run.config.extract,
            run.config.runtime,
            on_progress=extraction_progress(report),
            retry=run.retry,
            on_written=run.workspace.file_written,
        )
    read_failed_videos(run)
    for line in timing_lines(result.timing):
        log.info("%-9s %s", "note", line)
    done = len(result.extracted) + len(result.reused)
    failed = f", {len(result.failures)} failed (features/failures.csv)" if result.failures else ""
    return f"{done} videos, {len(result.reused)} of them reused{failed}"


def _output_digest(run: Run) -> str | None:
    """None while a video without features is to be tried: the next run then tries it, and only such ones."""
    missing = run.without_features()
    return None if len(_waiting(run, missing)) < len(missing) else features_digest(run)


def _waiting(run: Run, records: Iterable[VideoRecord]) -> list[Failure]:
    """The failures of videos that are not tried again before they or the settings change, or a time."""
    config = run.config
    return list(waiting_failures(records, run.workspace.features, config.extract, config.runtime).values())


def _publish(run: Run) -> None:
    """The failures, and in the log when the next try is."""
    waiting = _waiting(run, run.without_features())
    if times := [failure.next_at for failure in waiting if failure.next_at]:
        log.info(
            "%-9s %s",
            "note",
            f"{len(waiting)} videos could not be read and are tried again when they change, or from "
            f"{min(times):%Y-%m-%d %H:%M} UTC on; --retry tries them now",
        )
    publish_failures(run)


EXTRACT = Stage("extract", 1, _inputs, _work, _output_digest, _publish)
