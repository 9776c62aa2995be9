"""Commands that run the pipeline or one of its stages, score videos, and show runs and settings."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from extract.remote.path import as_path
from flows.cli.options import (
    Annotations,
    Detector,
    Manifest,
    Out,
    Preset,
    Refresh,
    Retry,
    Settings,
    Strict,
    Weights,
)

app = typer.Typer()


@app.command(epilog="Example: dsanet demo --out demo")
def demo(
    out: Out = Path("demo"),
    weights: Annotated[
        str, typer.Option(help="CLIP weights: random, openai or the path of a weight file.")
    ] = "random",
    seed: Annotated[int, typer.Option(help="Seed of the synthetic footage.", min=0)] = 0,
) -> None:
    """Run the whole pipeline on synthetic street footage: offline, a few minutes on two cores."""
    from flows.cli.output import print_metrics
    from flows.cli.run_flows import run_pipeline
    from flows.demo.prepare import prepare_demo
    from flows.server.home import use_private_home
    from flows.workspace.inputs import undone_if_refused
    from flows.workspace.workspace import Workspace

    use_private_home()  # a home that cannot be written is refused before the footage is made
    workspace = Workspace(out)
    with workspace.kept_open(), undone_if_refused(workspace):
        prepare_demo(out, weights, seed)
        run_pipeline(out)
    print_metrics(out)


@app.command(
    epilog="Example: dsanet run --manifest videos.csv --out ws --preset ucf-crime --set train.epochs=3"
)
def run(
    out: Out,
    manifest: Manifest = None,
    annotations: Annotations = None,
    preset: Preset = None,
    detector: Detector = None,
    weights: Weights = None,
    settings: Settings = None,
    refresh: Annotated[
        Literal["extract", "train", "infer", "evaluate"] | None,
        typer.Option(help="Run this stage and those after it even if their inputs have not changed."),
    ] = None,
    retry: Retry = False,
    strict: Strict = False,
) -> None:
    """Run the whole pipeline (the flow extract-train-eval): raw video to metrics and a report."""
    from flows.cli.output import print_metrics
    from flows.cli.run_flows import run_pipeline
    from flows.workspace.inputs import configured_workspace, detector_settings

    with configured_workspace(
        out, manifest, annotations, preset, weights, detector_settings(detector, settings)
    ):
        run_pipeline(out, refresh, retry=retry)
    print_metrics(out)
    _exit_if_videos_failed(out, strict)


@app.command(epilog="Example: dsanet extract --manifest videos.csv --out ws")
def extract(
    out: Out,
    manifest: Manifest = None,
    annotations: Annotations = None,
    preset: Preset = None,
    weights: Weights = None,
    settings: Settings = None,
    decoder: Annotated[str | None, typer.Option(help="auto, pyav, decord, torchcodec or nvdec.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of decoder processes. Default: one per core.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds without a decoded frame after which a video is given up.")
    ] = None,
    partial: Annotated[
        bool | None, typer.Option(help="Keep the snippets before the damage of a damaged video.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the full digest of every video, not its size and time.")
    ] = False,
    refresh: Refresh = False,
    retry: Retry = False,
    strict: Strict = False,
) -> None:
    """Run only the extraction: features by CLIP's frozen image tower."""
    from flows.cli.run_flows import run_stage
    from flows.workspace.inputs import configured_workspace, runtime_settings

    runtime = runtime_settings(
        decoder=decoder, workers=workers, device=device, timeout_s=timeout, partial=partial, verify=verify
    )
    with configured_workspace(out, manifest, annotations, preset, weights, [*runtime, *(settings or [])]):
        run_stage("extract", out, refresh or verify, retry=retry)
    _exit_if_videos_failed(out, strict)


@app.command(epilog="Example: dsanet train --out ws --set train.epochs=20")
def train(
    out: Out,
    manifest: Manifest = None,
    annotations: Annotations = None,
    preset: Preset = None,
    detector: Detector = None,
    weights: Weights = None,
    settings: Settings = None,
    refresh: Refresh = False,
) -> None:
    """Run only the training, on the feature files in the workspace."""
    from flows.cli.run_flows import run_stage
    from flows.workspace.inputs import configured_workspace, detector_settings

    with configured_workspace(
        out, manifest, annotations, preset, weights, detector_settings(detector, settings)
    ):
        run_stage("train", out, refresh)


@app.command(epilog="Example: dsanet infer --out ws --model champion")
def infer(
    out: Out,
    model: Annotated[
        str | None,
        typer.Option(
            help="champion, challenger or a version number; the scores go to models/KEY/scores/. "
            "Default: the checkpoint in model/."
        ),
    ] = None,
    manifest: Manifest = None,
    annotations: Annotations = None,
    settings: Settings = None,
    causal: Annotated[
        bool | None,
        typer.Option(
            help="Score the videos a second time as cameras, without the future of each moment, into "
            "scores-causal/. Sets evaluate.causal."
        ),
    ] = None,
    refresh: Refresh = False,
) -> None:
    """Run only the inference: scores of the test videos, by model/ or by a registered version."""
    from flows.cli.run_flows import run_stage
    from flows.workspace.inputs import configured_workspace

    if causal is not None:
        settings = [*(settings or []), f"evaluate.causal={str(causal).lower()}"]
    with configured_workspace(out, manifest, annotations, settings=settings):
        run_stage("infer", out, refresh, model=model)


@app.command(epilog="Example: dsanet evaluate --out ws --set evaluate.threshold=0.4")
def evaluate(
    out: Out,
    manifest: Manifest = None,
    annotations: Annotations = None,
    preset: Preset = None,
    detector: Detector = None,
    weights: Weights = None,
    settings: Settings = None,
    refresh: Refresh = False,
) -> None:
    """Run only the evaluation: metrics and report from the score files in the workspace."""
    from flows.cli.output import print_metrics
    from flows.cli.run_flows import run_stage
    from flows.workspace.inputs import configured_workspace, detector_settings

    with configured_workspace(
        out, manifest, annotations, preset, weights, detector_settings(detector, settings)
    ):
        run_stage("evaluate", out, refresh)
    print_metrics(out)


@app.command(epilog="Example: dsanet score camera1.mp4 camera2.mkv --model ws")
def score(
    videos: Annotated[
        list[Path],
        typer.Argument(parser=as_path, metavar="VIDEOS", help="Video files, or their addresses."),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A workspace, a checkpoint folder, WORKSPACE@champion, or champion (of DSANET_WORKSPACE)."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for intervals.csv, timeline.png and the score files.")
    ] = Path("scored"),
    threshold: Annotated[
        float, typer.Option(help="Anomaly score from which a snippet counts as anomalous.", min=0, max=1)
    ] = 0.5,
    release: Annotated[
        float,
        typer.Option(
            help="An interval goes on until the score is below this share of the threshold.", min=0.01, max=1
        ),
    ] = 1.0,
    weights: Annotated[
        str | None,
        typer.Option(help="Path of the CLIP weights, if they have moved since the training."),
    ] = None,
) -> None:
    """Detect anomalous intervals in any videos: start, end, class and score, and a timeline picture."""
    from flows.cli.output import print_scored
    from flows.pipeline.score import score_videos
    from flows.workspace.model_reference import checkpoint_folder
    from flows.workspace.workspace import local_folder

    result = score_videos(
        videos, checkpoint_folder(model), out, threshold=threshold, release=release, weights=weights
    )
    print_scored(result.videos, result.failures, result.notes, local_folder(out))
    raise typer.Exit(0 if result.videos else 1)


@app.command(epilog="Example: dsanet compare ws-a ws-b --out comparison.html")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Workspaces, report folders or metrics.json files.")],
    out: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("comparison.html"),
) -> None:
    """Write a page that compares several runs: one table, and their curves in one chart."""
    from evaluate.report.compare import compare_runs
    from flows.workspace.workspace import local_folder

    compare_runs([local_folder(run) for run in runs], out)
    print(f"comparison  {out}")


@app.command(epilog="Example: dsanet config --preset xd-violence")
def config(
    preset: Preset = None,
    detector: Detector = None,
    out: Annotated[
        Path | None, typer.Option(help="Print the settings of this workspace instead of a preset's.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Print every setting and its value in the form that `--set` takes."""
    from extract.config import EVERY_SETTING
    from flows.cli.output import print_settings
    from flows.workspace.config import DEFAULT_PRESET, override, preset_config
    from flows.workspace.inputs import detector_settings
    from flows.workspace.workspace import Workspace

    begun = Workspace(out).read_inputs().config if out else preset_config(preset or DEFAULT_PRESET)
    changed = override(begun, detector_settings(detector, settings))
    print_settings(changed.model_dump(mode="json", context=EVERY_SETTING))


def _exit_if_videos_failed(out: Path, strict: bool) -> None:
    """Exit with code 1 if no video of the manifest could be read or, with `strict`, if any could not."""
    from flows.workspace.run import Run

    run = Run.load(out)
    failed = run.without_features()
    if failed and (strict or len(failed) == len(run.records)):
        raise typer.Exit(1)
