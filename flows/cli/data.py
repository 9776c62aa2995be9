"""Commands that import published data sets, features and weights."""

from pathlib import Path
from typing import Annotated

import typer

from extract.remote.path import as_path
from flows.cli.options import PATH

app = typer.Typer()


@app.command(
    "import-dataset",
    epilog="Example: dsanet import-dataset ucf-crime --lists lists --videos UCF --out ucf.csv",
)
def import_dataset(
    dataset: Annotated[str, typer.Argument(help="ucf-crime or xd-violence.")],
    lists: Annotated[Path, typer.Option(help="Folder with the official lists and annotations.")],
    videos: Annotated[
        Path,
        typer.Option(
            parser=as_path, metavar=PATH, help="Folder with the videos, or its address; searched recursively."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Manifest to write; annotations and missing names are written beside it.")
    ],
) -> None:
    """Convert a data set's official lists to a manifest and annotations. Missing videos are listed."""
    from flows.workspace.datasets import import_official_lists

    imported = import_official_lists(dataset, lists, videos, out)
    _report_missing(imported.missing, out)
    print(f"{len(imported.records)} videos found, {len(imported.missing)} missing; manifest {out}")


@app.command(
    "import-features",
    epilog="Example: dsanet import-features UCFClipFeatures --manifest ucf_CLIP_rgb.csv --out ws/features",
)
def import_features(
    arrays: Annotated[Path, typer.Argument(help="Folder of VIDEO__CROP.npy files.")],
    manifest: Annotated[
        list[Path],
        typer.Option(help="A manifest, or a published list with the columns path,label. Repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Workspace, or its folder features/.")],
    annotations: Annotated[
        Path | None,
        typer.Option(help="Of the test videos: an official file, CSV, JSON, or frame labels (.npy)."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings of a new workspace: ucf-crime (default), xd-violence, small.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split of the videos if a list has none: train, val or test. Default: test for a list "
            "whose name ends in test, else train."
        ),
    ] = None,
    fps: Annotated[float, typer.Option(help="Frame rate of the videos.", min=1)] = 30.0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint that shall score the features: its encoder is recorded as theirs."),
    ] = None,
) -> None:
    """Convert published .npy features to feature files, to train and score without the videos.

    Makes the workspace if there is none. Several lists, also one after the other, make one workspace.
    """
    from dsanet.checkpoint import read_info
    from dsanet.released_features import PUBLISHED_ENCODER
    from flows.progress import stage_progress
    from flows.workspace.feature_import import import_into_workspace, use_imported, workspace_of

    workspace = workspace_of(out)
    with workspace.kept_open(), stage_progress("import", "videos") as report:
        imported = import_into_workspace(
            workspace,
            arrays,
            manifest,
            annotations,
            encoder=read_info(checkpoint).encoder if checkpoint else PUBLISHED_ENCODER,
            split=split,
            fps=fps,
            on_progress=lambda done, total: report(done, total, ""),
        )
    use_imported(workspace, imported, preset, title=arrays.name)
    _report_missing(list(imported.missing), imported.manifest)
    print(f"{len(imported.imported)} videos imported, {len(imported.missing)} missing")
    print(f"manifest  {imported.manifest}")


@app.command(
    "import-annotations",
    epilog="Example: dsanet import-annotations frame-masks --manifest videos.csv",
)
def import_annotations(
    annotations: Annotated[
        Path, typer.Argument(help="An official file, JSON, frame labels (.npy), or a folder of them.")
    ],
    manifest: Annotated[
        Path,
        typer.Option(
            parser=as_path, metavar=PATH, help="Manifest M.csv; M.annotations.csv is written beside it."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Workspace with features, for the lengths of videos that are gone.")
    ] = None,
) -> None:
    """Convert annotations of the test videos to this project's format; videos are found by name."""
    from flows.pipeline.listed_videos import annotate
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out or manifest.parent).with_feature_files()
    path, count = annotate(manifest, annotations, workspace.features)
    print(f"{count} videos annotated; {path}")


@app.command(
    "import-weights",
    epilog="Example: dsanet import-weights model_ucf.pth --preset ucf-crime --out ws/model",
)
def import_weights(
    weights: Annotated[Path, typer.Argument(help="The .pth file released by the authors.")],
    preset: Annotated[str, typer.Option(help="ucf-crime or xd-violence.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    detector: Annotated[
        str, typer.Option(help="Detector that the weights belong to: dsanet or vadclip.")
    ] = "dsanet",
) -> None:
    """Convert the authors' released weights to a checkpoint. No code in the file is executed."""
    from dsanet.checkpoint import import_weights
    from flows.workspace.workspace import checkpoint_place

    with checkpoint_place(out) as folder:
        print(f"checkpoint  {import_weights(weights, preset, folder, detector)}")


def _report_missing(names: list[str], manifest: Path) -> None:
    """Print the first names, and write all of them beside the manifest: `ucf.missing.txt` for `ucf.csv`."""
    from extract.atomic import write_atomically
    from extract.display import MOST_NAMES, printable

    listing = manifest.with_suffix(".missing.txt")
    if not names:
        listing.unlink(missing_ok=True)  # of an earlier import
        return
    write_atomically(listing, "".join(f"{name}\n" for name in names))
    for name in names[:MOST_NAMES]:
        print(f"missing  {printable(name)}")
    more = f"and {len(names) - MOST_NAMES:,} more; " if len(names) > MOST_NAMES else ""
    print(f"missing  {more}full list in {listing}")
