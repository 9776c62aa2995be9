"""The Prefect artifacts of a run: progress, failed videos, training curves, metrics.

They show files of the workspace and are optional: without a server, or if the server refuses an artifact, the
run continues.
"""

import base64
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from dsanet.checkpoint_info import CURVES_FILE
from evaluate.report.headlines import EVENTS_FOUND, FRAME_HEADLINES, VIDEO_HEADLINES, Metrics, missing_notes
from extract.display import MOST_NAMES, printable
from extract.failures import Failure, read_failures
from flows.pipeline.background import sent_in_background
from flows.server import connection
from flows.workspace.run import Run

Parameters = ParamSpec("Parameters")
Record = Callable[[float, str], None]
"""(percent, description)"""

SECONDS_BETWEEN_UPDATES = 5.0
LAST_UPDATE_TIMEOUT_S = 10.0
"""Seconds that the end of a stage waits for a server that has not taken the last progress yet."""
log = logging.getLogger(__name__)


def _if_possible(publish: Callable[Parameters, None]) -> Callable[Parameters, bool]:
    """Skip `publish` outside of a flow run and while the server does not answer.

    The decorated function returns False if the server refuses the artifact, otherwise True.
    """

    @wraps(publish)
    def attempt(*args: Parameters.args, **kwargs: Parameters.kwargs) -> bool:
        if FlowRunContext.get() is not None and connection.server_is_available():
            try:
                publish(*args, **kwargs)
            except (httpx.HTTPError, PrefectException) as error:
                log.warning(
                    "Prefect's server refused an artifact (%s); the run continues", type(error).__name__
                )
                return False
        return True

    return attempt


@contextmanager
def progress_artifact(stage: str) -> Iterator[Record]:
    """Yield a function that keeps the progress of a stage in an artifact; it never waits for the server.

    A thread updates the artifact every SECONDS_BETWEEN_UPDATES and at the end, with the latest progress, and
    stops if the server refuses it.
    """
    created: list[UUID] = []

    @_if_possible
    def publish(progress: tuple[float, str]) -> None:
        percent, text = progress
        if created:
            update_progress_artifact(created[0], percent, text)
        else:
            artifact = create_progress_artifact(percent, key=f"{stage}-progress", description=text)
            created.append(cast(UUID, artifact))  # a coroutine only in asynchronous flows

    with sent_in_background(
        publish, interval_s=SECONDS_BETWEEN_UPDATES, last_timeout_s=LAST_UPDATE_TIMEOUT_S
    ) as send:
        yield lambda percent, text: send((percent, text))


@_if_possible
def publish_failures(run: Run) -> None:
    """Table `failures`: the first videos without features, with the reason."""
    failures = read_failures(run.workspace.features)
    if failures:
        rows, description = failure_table(failures)
        create_table_artifact(rows, key="failures", description=description)


def failure_table(failures: Sequence[Failure]) -> tuple[list[dict[str, Any]], str]:
    """Rows of the first MOST_NAMES failures, whose cells the UI reads as Markdown, and a description."""
    rows: list[dict[str, Any]] = []
    for failure in failures[:MOST_NAMES]:
        texts = {"video": failure.name, "reason": failure.reason, "path": str(failure.path)}
        rows.append({key: markdown_text(text) for key, text in texts.items()} | {"frame": failure.frame})
    more = len(failures) - MOST_NAMES
    return rows, "Videos without features" + (f"; {more:,} more in features/failures.csv" if more > 0 else "")


def markdown_text(text: str) -> str:
    """The text of a user (a name, a path, a reason) as Markdown that shows just this text, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$])", r"\\\1", printable(text))


@_if_possible
def publish_curves(run: Run) -> None:
    """Image `curves`: the loss terms and validation figures of the training."""
    from evaluate.report.png import training_picture

    picture = base64.b64encode(training_picture(run.workspace.model / CURVES_FILE)).decode()
    create_image_artifact(f"data:image/png;base64,{picture}", key="curves", description="Training curves")


@_if_possible
def publish_metrics(run: Run) -> None:
    """Markdown `metrics`: the notes, the headline figures with their intervals, and a link to the report."""
    metrics = json.loads((run.workspace.report / "metrics.json").read_text(encoding="utf-8"))
    text = metrics_markdown(run.inputs.title, metrics, run.workspace.report / "index.html")
    create_markdown_artifact(text, key="metrics", description="Metrics of the test split")


def metrics_markdown(title: str, metrics: Metrics, page: Path) -> str:
    """The artifact `metrics` of a report whose page is at `page`."""
    lines = (*metrics["notes"], *missing_notes(metrics))
    notes = "".join(f"> {markdown_text(note)}\n\n" for note in lines)
    link = f"[{markdown_text(str(page))}]({page.as_uri()})"
    return f"# {markdown_text(title)}\n\n{notes}{_metrics_table(metrics)}\n\nReport: {link}\n"


def _metrics_table(metrics: Metrics) -> str:
    lines = [f"| metric | value | {100 * metrics['confidence_level']:g} % interval |", "|---|---|---|"]
    for headline in (*FRAME_HEADLINES, EVENTS_FOUND[1.0], *VIDEO_HEADLINES):
        value, interval = headline.value(metrics), headline.interval(metrics)
        if value is not None:
            spread = f"{interval[0]:.2f} – {interval[1]:.2f}" if interval else ""
            lines.append(f"| {headline.title} | {value:.2f} | {spread} |")
    return "\n".join(lines)


@_if_possible
def publish_markdown(key: str, text: str, description: str) -> None:
    """Markdown artifact with this key (`[a-z0-9-]`)."""
    create_markdown_artifact(text, key=key, description=description)
