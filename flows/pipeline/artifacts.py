"""What a run shows of itself in Prefect's UI: progress, what failed, the training curves, the figures.

Only a picture of what is on disk: where no server takes it, the run goes on without.
"""

import base64
import json
import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, cast
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

from dsanet.training.curves import CURVES_FILE
from evaluate.report.headlines import FRAME_HEADLINES, VIDEO_HEADLINES, Figures
from evaluate.report.plots import training_picture
from extract.failures import read_failures
from flows.server import connection
from flows.workspace.run import Run

Given = ParamSpec("Given")
Record = Callable[[float, str], None]
"""(percent, what to say beside it)"""

SECONDS_BETWEEN_UPDATES = 5.0
log = logging.getLogger(__name__)


def _shown_if_possible(show: Callable[Given, None]) -> Callable[Given, bool]:
    """Not outside of a flow run, and not while the server is gone; False where it refuses."""

    @wraps(show)
    def attempt(*args: Given.args, **kwargs: Given.kwargs) -> bool:
        if FlowRunContext.get() is not None and connection.is_there():
            try:
                show(*args, **kwargs)
            except (httpx.HTTPError, PrefectException) as error:
                log.warning("Prefect's server takes no artifact (%s); the work goes on", type(error).__name__)
                return False
        return True

    return attempt


def progress_record(stage: str) -> Record:
    """A function that keeps the progress of `stage` in an artifact, until that is refused."""
    made: list[UUID] = []
    going, last = True, 0.0

    @_shown_if_possible
    def keep(percent: float, text: str) -> None:
        if made:
            update_progress_artifact(made[0], percent, text)
        else:
            artifact = create_progress_artifact(percent, key=f"{stage}-progress", description=text)
            made.append(cast(UUID, artifact))  # its other type is that of asynchronous flows

    def record(percent: float, text: str) -> None:
        nonlocal going, last
        if going and (percent >= 100 or time.monotonic() - last >= SECONDS_BETWEEN_UPDATES):
            last = time.monotonic()
            going = keep(percent, text)

    return record


@_shown_if_possible
def show_failures(run: Run) -> None:
    """A table of the videos that have no features, and why."""
    failures = read_failures(run.workspace.features)
    rows = [{"video": f.name, "reason": f.reason, "frame": f.frame, "path": str(f.path)} for f in failures]
    if rows:
        create_table_artifact(rows, key="failures", description="Videos without features")


@_shown_if_possible
def show_curves(run: Run) -> None:
    """The loss terms and validation figures of the training, as a picture."""
    picture = base64.b64encode(training_picture(run.workspace.model / CURVES_FILE)).decode()
    create_image_artifact(f"data:image/png;base64,{picture}", key="curves", description="Training curves")


@_shown_if_possible
def show_metrics(run: Run) -> None:
    """The headline figures with their intervals, the notes, and where the report is."""
    figures = json.loads((run.workspace.report / "metrics.json").read_text())
    notes = "".join(f"> {note}\n\n" for note in figures["notes"])
    page = run.workspace.report / "index.html"
    text = f"# {run.inputs.title}\n\n{notes}{_table(figures)}\n\nReport: [{page}]({page.as_uri()})\n"
    create_markdown_artifact(text, key="metrics", description="Metrics of the test split")


def _table(figures: Figures) -> str:
    lines = ["| metric | value | 95 % interval |", "|---|---|---|"]
    for headline in (*FRAME_HEADLINES, *VIDEO_HEADLINES):
        value, interval = headline.value(figures), headline.interval(figures)
        if value is not None:
            spread = f"{interval[0]:.2f} – {interval[1]:.2f}" if interval else ""
            lines.append(f"| {headline.title} | {value:.2f} | {spread} |")
    return "\n".join(lines)


@_shown_if_possible
def show_text(key: str, text: str, description: str) -> None:
    """Markdown under a key of its own."""
    create_markdown_artifact(text, key=key, description=description)
