"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from extract.remote.path import as_path

DEFAULT_WORKSPACE = Path("workspace")
PATH = "<path>"
"""Placeholder of a path or address in the help."""

Out = Annotated[
    Path,
    typer.Option(
        help="Workspace, a folder or s3://BUCKET/PREFIX; gets features/, model/, scores/, report/ and "
        "workspace.json."
    ),
]
ExistingOut = Annotated[
    Path,
    typer.Option(
        "--out", envvar="DSANET_WORKSPACE", help="Workspace of an earlier `dsanet run`, a folder or address."
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option(
        parser=as_path,
        metavar=PATH,
        help="CSV with the columns path,labels,split. Default: the workspace's manifest.",
    ),
]
Annotations = Annotated[
    Path | None,
    typer.Option(
        parser=as_path,
        metavar=PATH,
        help="CSV with the columns path,label,start_frame,end_frame. "
        "Default: M.annotations.csv beside M.csv.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(help="ucf-crime (default), xd-violence or small. Replaces all settings of the workspace."),
]
Detector = Annotated[
    str | None,
    typer.Option(
        help="mil-ranking, clip-tsa, vadclip, vla-gated or dsanet (default). Replaces the model's settings."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(help="CLIP weights: openai (default), random (for trials) or the path of a weight file."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="KEY=VALUE, for example train.epochs=3; `dsanet config` lists all. Repeatable."
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 1 if any video could not be read.")]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Run the stage even if its inputs have not changed.")
]
Retry = Annotated[
    bool, typer.Option("--retry", help="Try videos again now that failed before and have not changed.")
]
