"""The commands about feature files: their content, their integrity, and how features were made."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
features = typer.Typer(help="Inspect feature files.", no_args_is_help=True)
app.add_typer(features, name="features", epilog="Example: dsanet features verify ws/features")

FeatureFolder = Annotated[Path, typer.Argument(help="Folder of feature files, or a workspace.")]


@features.command("show", epilog="Example: dsanet features show ws/features")
def features_show(folder: FeatureFolder) -> None:
    """Print the content of each feature file and how it was made."""
    from extract.inspect import summarise_features
    from flows.cli.output import print_features

    print_features(summarise_features(_feature_folder(folder)))


@features.command("verify", epilog="Example: dsanet features verify ws/features")
def features_verify(folder: FeatureFolder) -> None:
    """Verify the checksum of every feature file; exit with code 1 if one is damaged."""
    from extract.inspect import summarise_features

    found = summarise_features(_feature_folder(folder))
    damaged = [one for one in found if one.problem]
    for one in damaged:
        print(f"damaged  {one.problem}")
    print(f"{len(found)} feature files, {len(damaged)} damaged")
    raise typer.Exit(1 if damaged else 0)


def _feature_folder(folder: Path) -> Path:
    """`features/` of a workspace, or the folder itself."""
    from flows.workspace.workspace import Workspace

    inside = Workspace(folder).features
    return inside if inside.is_dir() else folder
