"""The command that compares detectors with each other."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Annotations, Manifest, Preset, Settings, Weights

app = typer.Typer()


@app.command(epilog="Example: dsanet bench --detectors all --seeds 3 --manifest videos.csv --out ws")
def bench(
    out: Annotated[
        Path, typer.Option(help="Workspace folder; the runs and the table are written below its bench/.")
    ],
    detectors: Annotated[str, typer.Option(help="`all`, or names separated by commas.")] = "all",
    seeds: Annotated[int, typer.Option(help="Runs of each detector, with the seeds 0, 1, …", min=1)] = 3,
    ablation: Annotated[
        str | None,
        typer.Option(help="table5 or table6: the ablations of DSANet's paper instead of detectors."),
    ] = None,
    manifest: Manifest = None,
    annotations: Annotations = None,
    preset: Preset = None,
    weights: Weights = None,
    settings: Settings = None,
    shuffle_labels: Annotated[
        bool,
        typer.Option("--shuffle-labels", help="Check: train on shuffled labels. AUC must fall to about 0.5."),
    ] = False,
) -> None:
    """Train and evaluate detectors on the same splits over several seeds, and write one table."""
    from flows.cli.output import print_standings
    from flows.pipeline.bench import bench, parse_entries
    from flows.workspace.inputs import configured_workspace

    entries = parse_entries(detectors, ablation)
    table = ablation or "detectors"
    with configured_workspace(out, manifest, annotations, preset, weights):
        rows, page = bench(out, entries, seeds, settings or (), shuffle_labels=shuffle_labels, table=table)
    print_standings(rows, page)
