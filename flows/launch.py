"""What the commands share: describing a workspace, running flows over it, showing what came out."""

import json
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flows.config import override, preset_config
from flows.workspace import Workspace, WorkspaceInputs, default_annotations

if TYPE_CHECKING:
    from extract.failures import Failure
    from flows.score import ScoredVideo

log = logging.getLogger(__name__)
console = Console()


def describe(
    out: Path,
    manifest: Path | None = None,
    annotations: Path | None = None,
    preset: str | None = None,
    weights: str | None = None,
    settings: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Write `workspace.json`. What is not given stays as it was; `preset` begins with new settings.

    Raises FileNotFoundError or ValueError for options that do not fit together.
    """
    workspace = Workspace(out)
    before = workspace.recall() if manifest is None or workspace.inputs_file.is_file() else None
    if manifest is None:
        assert before is not None  # recall() has raised otherwise
        manifest, annotations = before.manifest, annotations or before.annotations
    annotations = annotations or default_annotations(manifest)
    for path in (manifest, annotations):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"no file {path}; give --manifest and --annotations paths of CSV files")
    config = before.config if before and preset is None else preset_config(preset or "ucf-crime")
    inputs = WorkspaceInputs(
        manifest=manifest.absolute(),
        annotations=annotations.absolute() if annotations else None,
        config=override(config, [*weight_settings(weights), *(settings or [])]),
        title=title or (before.title if before else manifest.stem),
    )
    workspace.remember(inputs)


def weight_settings(weights: str | None) -> list[str]:
    """The settings that `--weights` stands for: both towers of CLIP."""
    if weights is None:
        return []
    place = weights if weights in ("openai", "random") else str(Path(weights).absolute())
    return [f"extract.weights={json.dumps(place)}", f"model.clip_weights={json.dumps(place)}"]


def runtime_settings(**values: object) -> list[str]:
    """Settings of `runtime` from the options that were given."""
    return [f"runtime.{key}={json.dumps(value)}" for key, value in values.items() if value is not None]


def run_everything(out: Path, refresh: str | None = None) -> None:
    """The flow `extract-train-eval` in this process, then the figures."""
    from flows.pipeline import STAGES, extract_train_eval
    from flows.run import Run

    Run.of(out).check()
    names = [stage.name for stage in STAGES]
    if refresh is not None and refresh not in names:
        raise ValueError(f"no stage {refresh!r} to refresh; there are {', '.join(names)}")
    _start_prefect()
    extract_train_eval(Workspace(out).root, refresh)
    print_metrics(out)


def run_stage(name: str, out: Path, refresh: bool) -> None:
    """The flow of one stage in this process."""
    from flows import pipeline
    from flows.run import Run

    Run.of(out).records  # noqa: B018 - a wrong manifest is found before Prefect starts
    _start_prefect()
    getattr(pipeline, name)(Workspace(out).root, refresh)


def _start_prefect() -> None:
    """Start Prefect's embedded server, if no other is configured, where Ctrl-C does not reach it.

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
