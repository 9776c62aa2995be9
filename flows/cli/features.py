"""The commands about feature files: their content, their integrity, and how features were made."""

from pathlib import Path
from typing import Annotated

import typer

from extract.remote.path import as_path

app = typer.Typer()
features = typer.Typer(help="Inspect feature files; find out how features were made.", no_args_is_help=True)
app.add_typer(features, name="features", epilog="Example: dsanet features verify ws/features")

_USUAL_IMAGES = 400
"""Pictures that a search embeds, about."""

FeatureFolder = Annotated[Path, typer.Argument(help="Folder of feature files, or a workspace.")]


@features.command("show", epilog="Example: dsanet features show ws/features")
def features_show(folder: FeatureFolder) -> None:
    """Print the content of each feature file and how it was made."""
    from extract.inspect import summarise_features
    from flows.cli.output import print_features

    print_features(summarise_features(_feature_folder(folder)))


@features.command("verify", epilog="Example: dsanet features verify ws/features")
def features_verify(folder: FeatureFolder) -> None:
    """Verify the checksum of every feature file; exit with code 1 if one is damaged.

    The next extraction makes the damaged ones again.
    """
    from extract.inspect import verify_features
    from flows.progress import stage_progress

    with stage_progress("verify", "files") as report:
        files, damaged = verify_features(_feature_folder(folder), lambda done, total: report(done, total, ""))
    for problem in damaged:
        print(f"damaged  {problem}")
    print(f"{files} feature files, {len(damaged)} damaged")
    raise typer.Exit(1 if damaged else 0)


@features.command(
    "match", epilog="Example: dsanet features match UCFClipFeatures videos --weights ViT-B-16.pt"
)
def features_match(
    arrays: Annotated[
        Path, typer.Argument(help="Folder of VIDEO__CROP.npy or of feature files, a workspace, or one file.")
    ],
    videos: Annotated[
        list[Path],
        typer.Argument(
            parser=as_path,
            metavar="VIDEOS...",
            help="Videos of the same names, and folders that are searched for them; all on this machine.",
        ),
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option(help="CLIP weights to try, as for `extract`. Repeatable; default: openai."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    rows: Annotated[
        int | None,
        typer.Option(
            help="Rows of each array to compare, 0 for all. Default: as many as take a minute.", min=0
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write: the cosine of every compared row.")] = None,
) -> None:
    """Find out how features were made: the settings of `extract` that make the same ones of the videos.

    The exit code is 1 if no recipe makes all of them.
    """
    from extract.match.match import match_features
    from flows.cli.match_output import print_match, write_cosines
    from flows.progress import stage_progress

    with stage_progress("match", "pictures") as report:
        result = match_features(
            _feature_folder(arrays),
            videos,
            weights=weights or ["openai"],
            device=device,
            rows=rows,
            on_progress=lambda what, images: report(images, max(images, _USUAL_IMAGES), what),
        )
    print_match(result)
    if out is not None:
        write_cosines(out, result)
        print(f"cosines  {out}")
    raise typer.Exit(0 if result.identified else 1)


def _feature_folder(folder: Path) -> Path:
    """`features/` of a workspace, or the folder itself."""
    from flows.workspace.workspace import Workspace, local_folder

    folder = local_folder(folder, feature_files=True)
    inside = Workspace(folder).features
    return inside if inside.is_dir() else folder
