"""The `dsanet` command. Every command imports what it needs when it runs, so that `--help` is quick.

Wrong input gives one line and exit code 2; `dsanet --debug COMMAND` shows the traceback.
"""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli import bench, data, library, server

app = typer.Typer(
    help="Find when something goes wrong in video, and what it is, from video-level labels alone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
"""What Typer makes of Ctrl-C, as shells do."""

Out = Annotated[Path, typer.Option(help="Workspace folder: features/, model/, scores/, report/.")]
Manifest = Annotated[
    Path | None,
    typer.Option(help="CSV with path,labels,split. Default: the one that the workspace was begun with."),
]
Annotations = Annotated[
    Path | None,
    typer.Option(help="CSV with path,label,start_frame,end_frame. Default: M.annotations.csv beside M.csv."),
]
PresetName = Annotated[
    str | None,
    typer.Option("--preset", help="ucf-crime (default), xd-violence or small; replaces all settings."),
]
Weights = Annotated[
    str | None,
    typer.Option(help="CLIP weights: openai (default), random (trials only) or the path of a file."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, for example train.epochs=3. May be repeated.")
]
DetectorName = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="mil-ranking, clip-tsa, vadclip, vla-gated or dsanet (default); replaces its settings.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any video could not be read.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Run the stage though nothing changed.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own log.")] = False,
) -> None:
    """Set up logging; the stages' lines go to the screen, Prefect's only with --debug."""
    import flows.server.prefect_defaults

    flows.server.prefect_defaults.apply(debug=debug)


@app.command(epilog="Example: dsanet demo --out demo")
def demo(
    out: Out = Path("demo"),
    weights: Annotated[
        str, typer.Option(help="CLIP weights: random, openai or the path of a file.")
    ] = "random",
    seed: Annotated[int, typer.Option(help="Of the synthetic footage.", min=0)] = 0,
) -> None:
    """Make synthetic street footage and run the whole pipeline on it: offline, a few minutes on two cores."""
    from flows.cli.launch import run_everything
    from flows.demo.prepare import prepare_demo

    prepare_demo(out, weights, seed)
    run_everything(out)


@app.command(
    epilog="Example: dsanet run --manifest videos.csv --out ws --preset ucf-crime --set train.epochs=3"
)
def run(
    out: Out,
    manifest: Manifest = None,
    annotations: Annotations = None,
    preset: PresetName = None,
    detector: DetectorName = None,
    weights: Weights = None,
    settings: Settings = None,
    refresh: Annotated[
        Literal["extract", "train", "infer", "evaluate"] | None,
        typer.Option(help="Stage to run again though nothing changed, with all after it."),
    ] = None,
    strict: Strict = False,
) -> None:
    """Raw video to metrics and a report: the flow extract-train-eval, in this process."""
    from flows.cli.launch import run_everything
    from flows.workspace.inputs import describe, detector_settings

    describe(out, manifest, annotations, preset, weights, detector_settings(detector, settings))
    run_everything(out, refresh)
    _exit_if_videos_failed(out, strict)


@app.command(epilog="Example: dsanet extract --manifest videos.csv --out ws")
def extract(
    out: Out,
    manifest: Manifest = None,
    annotations: Annotations = None,
    preset: PresetName = None,
    weights: Weights = None,
    settings: Settings = None,
    decoder: Annotated[str | None, typer.Option(help="auto, decord or pyav.")] = None,
    workers: Annotated[int | None, typer.Option(help="Decoder processes. Default: one a core.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds of silence after which a video is given up.")
    ] = None,
    partial: Annotated[
        bool | None, typer.Option(help="Keep the snippets before the damage of a damaged video.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every video's full digest.")] = False,
    refresh: Refresh = False,
    strict: Strict = False,
) -> None:
    """Only the features, by CLIP's frozen image tower; videos that failed before are tried again."""
    from flows.cli.launch import run_stage
    from flows.workspace.inputs import describe, runtime_settings

    given = runtime_settings(
        decoder=decoder, workers=workers, device=device, timeout_s=timeout, partial=partial, verify=verify
    )
    describe(out, manifest, annotations, preset, weights, [*given, *(settings or [])])
    run_stage("extract", out, refresh or verify)
    _exit_if_videos_failed(out, strict)


def _later_stage(name: str, does: str, example: str) -> None:
    """Register the command of a stage that reads what the ones before it have left in the workspace."""

    def command(
        out: Out,
        manifest: Manifest = None,
        annotations: Annotations = None,
        preset: PresetName = None,
        detector: DetectorName = None,
        weights: Weights = None,
        settings: Settings = None,
        refresh: Refresh = False,
    ) -> None:
        from flows.cli.launch import print_metrics, run_stage
        from flows.workspace.inputs import describe, detector_settings

        describe(out, manifest, annotations, preset, weights, detector_settings(detector, settings))
        run_stage(name, out, refresh)
        if name == "evaluate":
            print_metrics(out)

    app.command(name, help=does, epilog=f"Example: dsanet {name} --out ws {example}")(command)


_later_stage("train", "Only the training, on the features that are there.", "--set train.epochs=20")
_later_stage(
    "evaluate", "Only metrics and report, from the scores that are there.", "--set evaluate.threshold=0.4"
)


@app.command(epilog="Example: dsanet infer --out ws --model champion")
def infer(
    out: Out,
    model: Annotated[
        str | None,
        typer.Option(help="champion, challenger or a version's number: its scores go to its own folder."),
    ] = None,
    manifest: Manifest = None,
    annotations: Annotations = None,
    settings: Settings = None,
    refresh: Refresh = False,
) -> None:
    """Only the scores of the test videos, by the model that is there, or by a registered one."""
    from flows.cli.launch import run_stage
    from flows.workspace.inputs import describe

    describe(out, manifest, annotations, settings=settings)
    run_stage("infer", out, refresh, model=model)


@app.command(epilog="Example: dsanet score camera1.mp4 camera2.mkv --model ws")
def score(
    videos: Annotated[list[Path], typer.Argument(help="Video files.")],
    model: Annotated[
        str,
        typer.Option(help="A workspace with a model, a model folder, `ws@champion`, or `champion` alone."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for intervals.csv, timeline.png and the scores.")] = Path(
        "scored"
    ),
    threshold: Annotated[
        float, typer.Option(help="Score from which a snippet is anomalous.", min=0, max=1)
    ] = 0.5,
    weights: Annotated[
        str | None, typer.Option(help="Where the CLIP weights are now. Default: where they were in training.")
    ] = None,
) -> None:
    """Anomalous intervals of any video: start, end, class and score, and a timeline picture."""
    from flows.cli.launch import print_scored
    from flows.pipeline.score import score_videos
    from flows.workspace.model_reference import checkpoint_folder

    result = score_videos(videos, checkpoint_folder(model), out, threshold=threshold, weights=weights)
    print_scored(result.videos, result.failures, result.notes, out)
    raise typer.Exit(0 if result.videos else 1)


@app.command(epilog="Example: dsanet compare ws-a ws-b --out comparison.html")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Workspaces, report folders or metrics.json files.")],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("comparison.html"),
) -> None:
    """Several runs side by side: one table and overlaid curves, as a page that opens offline."""
    from evaluate.report.compare import compare_runs

    compare_runs(runs, out)
    print(f"comparison  {out}")


@app.command(epilog="Example: dsanet config --preset xd-violence")
def config(
    preset: PresetName = None,
    detector: DetectorName = None,
    out: Annotated[
        Path | None, typer.Option(help="Show a workspace's configuration instead of a preset's.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Print every setting with its value, as `--set` takes them."""
    from flows.cli.launch import print_config
    from flows.workspace.inputs import detector_settings

    print_config(preset, out, detector_settings(detector, settings))


app.add_typer(bench.app)
app.add_typer(data.app)
app.add_typer(library.app)
app.add_typer(server.app)


def _exit_if_videos_failed(out: Path, strict: bool) -> None:
    """Exit with 1 if no video of the manifest could be read, or, with `strict`, if any could not."""
    from flows.workspace.run import Run

    run = Run.of(out)
    failed = run.without_features()
    if failed and (strict or len(failed) == len(run.records)):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: input errors are one line and exit code 2, everything else is a bug and shows itself."""
    try:
        app()
    except (ValueError, FileNotFoundError, PermissionError) as error:
        if "--debug" in sys.argv:
            raise
        message = " ".join(str(error).split())
        print(f"dsanet: {message}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print(
                "dsanet: stopped; finished work is kept, the same command goes on from there", file=sys.stderr
            )
        raise
    finally:
        logging.shutdown()
