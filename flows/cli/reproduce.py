"""The command that repeats a published experiment on published features."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import Settings

app = typer.Typer()


@app.command(
    epilog="Example: dsanet reproduce ucf-crime --features UCFClipFeatures --lists lists "
    "--weights model_ucf.pth --out ws"
)
def reproduce(
    dataset: Annotated[str, typer.Argument(help="ucf-crime or xd-violence.")],
    features: Annotated[
        Path, typer.Option(help="Folder of the published VIDEO__CROP.npy, in any subfolders.")
    ],
    lists: Annotated[Path, typer.Option(help="Folder of the published lists and annotations.")],
    out: Annotated[Path, typer.Option(help="Workspace folder.")],
    weights: Annotated[
        Path | None, typer.Option(help="The authors' .pth file. Default: train by the published recipe.")
    ] = None,
    detector: Annotated[str, typer.Option(help="dsanet or vadclip.")] = "dsanet",
    seeds: Annotated[int, typer.Option(help="Trainings, with the seeds 0, 1, …", min=1)] = 1,
    missing: Annotated[
        Literal["fail", "skip"],
        typer.Option(help="skip: go on without videos whose arrays are missing or invalid."),
    ] = "fail",
    clip_weights: Annotated[
        str | None,
        typer.Option(help="CLIP weights for a training: openai (default), random (for trials) or a path."),
    ] = None,
    settings: Settings = None,
) -> None:
    """Repeat a published experiment: released weights, or a training, on the published features.

    Prints and writes the figures beside those of the paper, and beside those that others have got.
    """
    from flows.cli.output import print_reproduction
    from flows.pipeline.reproduce import Experiment, reproduce
    from flows.progress import stage_progress
    from flows.workspace.inputs import text_weight_settings

    experiment = Experiment(
        dataset=dataset,
        features=features,
        lists=lists,
        weights=weights,
        detector=detector,
        seeds=seeds,
        skip_missing=missing == "skip",
        settings=[*text_weight_settings(clip_weights), *(settings or [])],
    )
    with stage_progress("import", "videos") as report:
        result = reproduce(experiment, out, on_progress=lambda done, total: report(done, total, ""))
    print_reproduction(result)
