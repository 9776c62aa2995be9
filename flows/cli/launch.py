"""What the commands share: running flows over a workspace in this process, showing what came out."""

import json
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flows.workspace.config import StageName, override, preset_config
from flows.workspace.workspace import Workspace

if TYPE_CHECKING:
    from extract.failures import Failure
    from flows.pipeline.score import ScoredVideo

log = logging.getLogger(__name__)
console = Console()

TRIES_TO_END = 3
"""How often a command tells a lost server again how the run ended: half a minute; a deployed run, two."""


def run_everything(out: Path, refresh: StageName | None = None) -> None:
    """The flow `extract-train-eval` in this process, then the figures."""
    from flows.pipeline.flows import extract_train_eval
    from flows.workspace.run import Run

    Run.of(out).check()
    with _prefect():
        extract_train_eval(Workspace(out).root, refresh=refresh)
    print_metrics(out)


def run_stage(name: str, out: Path, refresh: bool, **more: object) -> None:
    """The flow of one stage in this process; `more` are parameters that only that flow has."""
    from flows.pipeline import flows as pipeline
    from flows.workspace.run import Run

    Run.of(out).records  # noqa: B018 - a wrong manifest is found before Prefect starts
    with _prefect():
        getattr(pipeline, name)(Workspace(out).root, refresh=refresh, **more)


def run_retraining(out: Path, force: bool) -> None:
    """The flow `retrain-on-new-footage` in this process, then where its report is."""
    from flows.retraining.flow import retrain_on_new_footage

    with _prefect():
        outcome = retrain_on_new_footage(Workspace(out).root, force=force)
    console.print(f"page     {outcome.page}", soft_wrap=True, highlight=False)


@contextmanager
def _prefect() -> Iterator[None]:
    """Prefect's server, for a flow in this process. Raises ValueError where it does not answer."""
    import httpx
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from flows.server.connection import answers

    api = PREFECT_API_URL.value()
    if api is None:
        _start_prefect()
    elif not answers(api):
        raise ValueError(
            f"no Prefect server answers at {api}; start one with `dsanet up`, or unset PREFECT_API_URL: the "
            "run then brings its own"
        )
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: TRIES_TO_END}):
            yield
    except httpx.TransportError:
        if api is None or answers(api):
            raise  # it was another connection, such as a download's
        raise ValueError(
            "Prefect's server is gone and was not told how the run ended; finished work is kept, the same "
            "command goes on from there"
        ) from None


def _start_prefect() -> None:
    """Start Prefect's embedded server where Ctrl-C does not reach it.

    A terminal interrupts the whole process group; a server that went down with the flow could not be told
    that the flow has ended, and Prefect would ask it for a minute. The signal mask is inherited.
    """
    from prefect.client.orchestration import get_client

    log.info("Prefect starts; without a server of its own this takes some seconds")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with get_client(sync_client=True):
            pass
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def print_metrics(out: Path) -> None:
    """The headline figures and where the report is."""
    report = Workspace(out).report
    metrics = json.loads((report / "metrics.json").read_text())
    for note in [*metrics["notes"], *sorted(set(metrics["missing"].values()))]:
        console.print(f"[yellow]note[/] {note}", highlight=False)
    table = Table(title="test split, frame level")
    rows = {"AUC": "auc", "AP": "ap", "Ano-AUC": "anomaly_auc", "FAR": "far"}
    for heading in rows:
        table.add_column(heading, justify="right")
    table.add_row(*(_percent(metrics[key]) for key in rows.values()))
    console.print(table)
    console.print(f"report   {report / 'index.html'}", soft_wrap=True, highlight=False)
    console.print(f"metrics  {report / 'metrics.json'}", soft_wrap=True, highlight=False)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def print_scored(
    scored: "Sequence[ScoredVideo]", failures: "Sequence[Failure]", notes: Sequence[str], out: Path
) -> None:
    """What to know of the model, a table with one row an interval, what failed, and where the files are."""
    for note in notes:
        console.print(f"[yellow]note[/] {note}", highlight=False)
    table = Table(title="anomalous intervals")
    for heading in ("video", "start", "end", "class", "score"):
        table.add_column(heading, justify="right" if heading in ("start", "end", "score") else "left")
    for video in scored:
        for i in video.intervals:
            table.add_row(video.scores.name, _clock(i.start_s), _clock(i.end_s), i.label, f"{i.score:.3f}")
        if not video.intervals:
            table.add_row(video.scores.name, "–", "–", "nothing above the threshold", "")
    console.print(table)
    for failure in failures:
        console.print(f"[red]failed[/] {failure.path}: {failure.reason}", highlight=False)
    if scored:
        console.print(f"picture  {out / 'timeline.png'}", soft_wrap=True, highlight=False)
        console.print(f"table    {out / 'intervals.csv'}", soft_wrap=True, highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:05.2f}"


def print_config(preset: str | None, out: Path | None, settings: Sequence[str] | None) -> None:
    """Every setting as `key.path=value`, with the values of a preset or of a workspace."""
    config = Workspace(out).recall().config if out else preset_config(preset or "ucf-crime")
    _print_settings(override(config, settings or []).model_dump(mode="json"), "")


def _print_settings(values: dict[str, object], prefix: str) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            _print_settings(value, f"{prefix}{key}.")
        else:
            print(f"{prefix}{key}={json.dumps(value)}")
