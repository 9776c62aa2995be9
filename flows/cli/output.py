"""Output of the commands on the terminal: tables, notes and the paths of written files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.workspace.workspace import Workspace

if TYPE_CHECKING:
    from evaluate.report.standings import Spread, Standing
    from extract.failures import Failure
    from extract.inspect import FeatureSummary
    from flows.library.labels import QueueItem
    from flows.pipeline.score import ScoredVideo
    from flows.workspace.model_registry import Version

console = Console(markup=False, highlight=False)  # names and paths may contain brackets

BENCH_FIGURES = ("auc", "ap", "anomaly_auc", "map_corrected", "accuracy")
"""The figures of a benchmark that fit on a terminal; its files have all."""


def print_line(text: object) -> None:
    """Print one line without wrapping it."""
    console.print(text, soft_wrap=True)


def print_note(text: str) -> None:
    """Print something that a reader of the figures has to know."""
    console.print(Text.assemble(("note", "yellow"), f" {text}"))


def print_metrics(out: Path) -> None:
    """Print the headline figures of a workspace's report, its notes and its files."""
    report = Workspace(out).report
    metrics = json.loads((report / "metrics.json").read_text())
    for note in [*metrics["notes"], *sorted(set(metrics["missing"].values()))]:
        print_note(note)
    table = Table(title="test split, frame level")
    figures = {"AUC": "auc", "AP": "ap", "Ano-AUC": "anomaly_auc", "FAR": "far"}
    for heading in figures:
        table.add_column(heading, justify="right")
    table.add_row(*(_percent(metrics[key]) for key in figures.values()))
    console.print(table)
    print_line(f"report   {report / 'index.html'}")
    print_line(f"metrics  {report / 'metrics.json'}")


def print_scored(
    scored: "Sequence[ScoredVideo]", failures: "Sequence[Failure]", notes: Sequence[str], out: Path
) -> None:
    """Print the notes on the model, the anomalous intervals, the failed videos and the files in `out`."""
    for note in notes:
        print_note(note)
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
        console.print(Text.assemble(("failed", "red"), f" {failure.path}: {failure.reason}"))
    if scored:
        print_line(f"picture  {out / 'timeline.png'}")
        print_line(f"table    {out / 'intervals.csv'}")


def print_features(summaries: "Sequence[FeatureSummary]") -> None:
    """Print a table of feature files, and the encoders that made them."""
    table = Table(box=None)
    table.add_column("video", no_wrap=True)
    for heading in ("snippets", "crops", "frames", "fps", "codec", "decoder", "encoder"):
        table.add_column(heading)
    encoders = {}
    for summary in summaries:
        if (meta := summary.meta) is None:
            table.add_row(summary.name, Text.assemble(("damaged", "red"), f": {summary.problem}"))
            continue
        encoder = meta.encoder.digest[:6]
        encoders[encoder] = meta.encoder
        counts = (str(n) for n in (summary.snippets, meta.config.crops, meta.source.n_frames))
        table.add_row(
            summary.name, *counts, f"{meta.source.fps:.2f}", meta.source.codec, meta.decoder, encoder
        )
    console.print(table)
    for short, fingerprint in encoders.items():
        print_line(f"encoder {short}: {fingerprint!r}")


def print_label_queue(items: "Sequence[QueueItem]") -> None:
    """Print the videos without labels, with the champion's score of each."""
    table = Table(box=None)
    for heading in ("video", "entropy", "score", "class", "path"):
        table.add_column(heading, justify="right" if heading in ("entropy", "score") else "left")
    for item in items:
        score = item.score
        columns = (
            (f"{score.entropy:.2f}", f"{score.anomaly:.3f}", score.predicted) if score else ("–", "–", "–")
        )
        table.add_row(item.video.name, *columns, str(item.video.path))
    console.print(table)


def print_versions(versions: "Sequence[Version]") -> None:
    """Print the versions of a workspace's model, with the gate's decision on each."""
    table = Table(box=None)
    for heading in ("version", "alias", "made", "folder", "gate"):
        table.add_column(heading)
    for version in versions:
        decision = version.decision
        gate = f"{'promoted' if decision.promoted else 'refused'}, {decision.reason}" if decision else "–"
        if version.withdrawn:
            gate += " (taken out of service by hand)"
        made = f"{version.created:%Y-%m-%d %H:%M}"
        table.add_row(str(version.number), ", ".join(version.aliases), made, f"models/{version.key}", gate)
    console.print(table)


def print_settings(values: Mapping[str, object], prefix: str = "") -> None:
    """Print nested settings as `key.path=value` lines, values as JSON."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            print_settings(value, f"{prefix}{key}.")
        else:
            print(f"{prefix}{key}={json.dumps(value)}")


def print_standings(rows: "Sequence[Standing]", page: Path) -> None:
    """Print a benchmark: figures by model, the comparison with DSANet and costs, published results, files."""
    console.print(_figures_table(rows))
    console.print(_costs_table(rows))
    for row in rows:
        for result in row.published:
            print_line(f"published  {row.name}: {result}")
    for path in (page, page.with_name("standings.csv"), page.with_name("standings.json")):
        print_line(path)


def _figures_table(rows: "Sequence[Standing]") -> Table:
    from evaluate.report.standings import HEADLINES

    seeds = max(row.seeds for row in rows)
    table = Table(title=f"test split, {f'mean ± deviation over {seeds} seeds' if seeds > 1 else 'one seed'}")
    shown = [h for h in HEADLINES if h.key in BENCH_FIGURES and any(h.key in row.figures for row in rows)]
    table.add_column("model", no_wrap=True)
    for headline in shown:
        table.add_column(headline.title, justify="right")
    for row in rows:
        table.add_row(row.name, *(_spread(row.figures.get(headline.key)) for headline in shown))
    return table


def _costs_table(rows: "Sequence[Standing]") -> Table:
    from evaluate.report.standings import COMPARED

    compared = next((key for key in COMPARED if any(key in row.margins for row in rows)), "")
    table = Table(title="difference from dsanet, and costs")
    table.add_column("model", no_wrap=True)
    for heading in (compared.upper(), "parameters", "training", "snippets/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        margin = row.margins.get(compared)
        difference = f"{margin.difference:+.1f} ({margin.low:+.1f} to {margin.high:+.1f})" if margin else ""
        training = "–" if row.train_s is None else f"{row.train_s:.1f} s"
        table.add_row(row.name, difference, f"{row.parameters:,}", training, f"{row.snippets_per_s:,.0f}")
    return table


def _spread(spread: "Spread | None") -> str:
    if spread is None:
        return "–"
    return f"{spread.mean:.1f}" + ("" if spread.deviation is None else f" ±{spread.deviation:.1f}")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:05.2f}"
