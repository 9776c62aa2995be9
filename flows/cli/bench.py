"""The command that sets detectors side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluate.report.standings import Spread, Standing

app = typer.Typer()

PRINTED = ("auc", "ap", "anomaly_auc", "map_corrected", "accuracy")
"""Figures that fit on a terminal; the files have all."""


@app.command(epilog="Example: dsanet bench --detectors all --seeds 3 --manifest videos.csv --out ws")
def bench(
    out: Annotated[Path, typer.Option(help="Workspace folder; runs and the table go to bench/ in it.")],
    detectors: Annotated[str, typer.Option(help="`all`, or names with commas between them.")] = "all",
    seeds: Annotated[int, typer.Option(help="Runs of each detector, with the seeds 0, 1, …", min=1)] = 3,
    ablation: Annotated[
        str | None, typer.Option(help="table5 or table6: DSANet's switches instead of the detectors.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV with path,labels,split. Default: the workspace's.")
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="CSV with path,label,start_frame,end_frame. Default: beside the manifest."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="ucf-crime (default), xd-violence or small, for every detector.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="CLIP weights: openai (default), random or the path of a file.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting for every detector. May be repeated.")
    ] = None,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle-labels", help="Train on labels that say nothing: all must fail.")
    ] = False,
) -> None:
    """Train and evaluate detectors on the same splits, over several seeds, and write one table."""
    from flows.pipeline.bench import bench, entries
    from flows.workspace.inputs import describe

    contestants = entries(detectors, ablation)
    describe(out, manifest, annotations, preset, weights)
    table = ablation or "detectors"
    rows, page = bench(out, contestants, seeds, settings or (), shuffle_labels=shuffle_labels, table=table)
    _print(rows, page)


def _print(rows: "Sequence[Standing]", page: Path) -> None:
    from rich.table import Table

    from evaluate.report.standings import COMPARED, HEADLINES
    from flows.cli.launch import console

    seeds = max(row.seeds for row in rows)
    over = f"mean ± deviation over {seeds} seeds" if seeds > 1 else "one seed"
    figures = Table(title=f"test split, {over}")
    shown = [h for h in HEADLINES if h.key in PRINTED and any(h.key in row.figures for row in rows)]
    compared = next((key for key in COMPARED if any(key in row.margins for row in rows)), "")
    costs = Table(title="against dsanet, and what it costs")
    for table in (figures, costs):
        table.add_column("model", no_wrap=True)
    for headline in shown:
        figures.add_column(headline.title, justify="right")
    for heading in (compared.upper(), "parameters", "training", "snippets/s"):
        costs.add_column(heading, justify="right")
    for row in rows:
        figures.add_row(row.name, *(_spread(row.figures.get(headline.key)) for headline in shown))
        margin = row.margins.get(compared)
        against = f"{margin.difference:+.1f} ({margin.low:+.1f} to {margin.high:+.1f})" if margin else ""
        trained = "–" if row.train_s is None else f"{row.train_s:.1f} s"
        costs.add_row(row.name, against, f"{row.parameters:,}", trained, f"{row.snippets_per_s:,.0f}")
    console.print(figures)
    console.print(costs)
    for row in rows:
        for result in row.published:
            console.print(f"published  {row.name}: {result}", highlight=False)
    for path in (page, page.with_name("standings.csv"), page.with_name("standings.json")):
        console.print(path, soft_wrap=True, highlight=False)


def _spread(spread: "Spread | None") -> str:
    if spread is None:
        return "–"
    return f"{spread.mean:.1f}" + ("" if spread.deviation is None else f" ±{spread.deviation:.1f}")
