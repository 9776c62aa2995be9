"""The `dsanet` commands for data: data sets, the field's features and weights, a look into feature files."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
features = typer.Typer(help="Look into a folder of feature files.", no_args_is_help=True)
app.add_typer(features, name="features", epilog="Example: dsanet features verify ws/features")

FeatureFolder = Annotated[Path, typer.Argument(help="A folder of feature files, or a workspace.")]


@app.command(
    "import-dataset",
    epilog="Example: dsanet import-dataset ucf-crime --lists lists --videos UCF --out ucf.csv",
)
def import_dataset(
    dataset: Annotated[str, typer.Argument(help="ucf-crime or xd-violence.")],
    lists: Annotated[Path, typer.Option(help="Folder of the data set's official lists and annotations.")],
    videos: Annotated[Path, typer.Option(help="Folder of the videos, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="Manifest to write; the annotations go beside it.")],
) -> None:
    """The official lists become a manifest and its annotations; missing videos are counted and named."""
    from flows.pipeline.datasets import import_official_lists

    imported = import_official_lists(dataset, lists, videos, out)
    _print_missing(imported.missing)
    print(f"{len(imported.records)} videos found, {len(imported.missing)} missing; manifest {out}")


@app.command(
    "import-features",
    epilog="Example: dsanet import-features UCFClipFeatures --manifest ucf_CLIP_rgb.csv --out ws/features",
)
def import_features(
    arrays: Annotated[Path, typer.Argument(help="Folder of `<video>__<crop>.npy` files.")],
    manifest: Annotated[Path, typer.Option(help="A manifest, or one of the field's lists (path,label).")],
    out: Annotated[Path, typer.Option(help="Folder for the feature files and their manifest.csv.")],
    split: Annotated[str, typer.Option(help="Split of a list that names none: train, val, test.")] = "train",
    fps: Annotated[float, typer.Option(help="Frames a second of the videos, for times.", min=1)] = 30.0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Declare them features of this checkpoint's encoder: it will score them."),
    ] = None,
) -> None:
    """The field's published .npy features become feature files, to train and score without the videos."""
    from dsanet.checkpoint import read_info
    from dsanet.released_features import PUBLISHED_ENCODER, import_features

    encoder = read_info(checkpoint).encoder if checkpoint else PUBLISHED_ENCODER
    imported = import_features(arrays, manifest, out, encoder=encoder, split=split, fps=fps)
    _print_missing(imported.missing)
    print(f"{len(imported.imported)} videos imported, {len(imported.missing)} missing")
    print(f"manifest  {imported.manifest}")


@app.command(
    "import-weights",
    epilog="Example: dsanet import-weights model_ucf.pth --preset ucf-crime --out ws/model",
)
def import_weights(
    weights: Annotated[Path, typer.Argument(help="The authors' .pth file.")],
    preset: Annotated[str, typer.Option(help="ucf-crime or xd-violence.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    detector: Annotated[str, typer.Option(help="Whose weights: dsanet or vadclip.")] = "dsanet",
) -> None:
    """The authors' released weights become a checkpoint; nothing in the file is run, nothing downloaded."""
    from dsanet.checkpoint import import_weights

    print(f"checkpoint  {import_weights(weights, preset, out, detector)}")


@features.command("show", epilog="Example: dsanet features show ws/features")
def features_show(folder: FeatureFolder) -> None:
    """Print what each feature file holds and how it was made."""
    from rich.console import Console
    from rich.table import Table

    from extract.inspect import show_features

    table = Table(box=None)
    table.add_column("video", no_wrap=True)
    for heading in ("snippets", "crops", "frames", "fps", "codec", "decoder", "encoder"):
        table.add_column(heading)
    found = show_features(_features_below(folder))
    encoders = {}
    for one in found:
        if (meta := one.meta) is None:
            table.add_row(one.name, f"[red]damaged[/]: {one.problem}")
            continue
        encoders[meta.encoder.digest[:6]] = meta.encoder
        counts = (str(n) for n in (one.snippets, meta.config.crops, meta.source.n_frames))
        made = (f"{meta.source.fps:.2f}", meta.source.codec, meta.decoder, meta.encoder.digest[:6])
        table.add_row(one.name, *counts, *made)
    console = Console()
    console.print(table)
    for short, encoder in encoders.items():
        console.print(f"encoder {short}: {encoder!r}", soft_wrap=True, highlight=False)


@features.command("verify", epilog="Example: dsanet features verify ws/features")
def features_verify(folder: FeatureFolder) -> None:
    """Check every byte of every feature file; exit with 1 if one is damaged."""
    from extract.inspect import show_features

    found = show_features(_features_below(folder))
    damaged = [one for one in found if one.problem]
    for one in damaged:
        print(f"damaged  {one.problem}")
    print(f"{len(found)} feature files, {len(damaged)} damaged")
    raise typer.Exit(1 if damaged else 0)


def _features_below(folder: Path) -> Path:
    """A workspace's features, or the folder itself."""
    from flows.workspace.workspace import Workspace

    inside = Workspace(folder).features
    return inside if inside.is_dir() else folder


def _print_missing(names: list[str]) -> None:
    for name in names:
        print(f"missing  {name}")
