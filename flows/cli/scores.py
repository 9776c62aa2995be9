"""Commands that judge the scores of any model: import them, and compare several runs in one table."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from extract.remote.path import as_path
from flows.cli.options import PATH

app = typer.Typer()


@app.command(
    "import-scores",
    epilog="Example: dsanet import-scores rtfm-scores --manifest ucf.csv --out ws-rtfm --every snippet",
)
def import_scores(
    scores: Annotated[
        Path,
        typer.Argument(
            help="Folder with a .npy, .csv or .json file a video, or one file with the scores of all videos."
        ),
    ],
    manifest: Annotated[
        Path,
        typer.Option(
            parser=as_path, metavar=PATH, help="A manifest, or a published list with the columns path,label."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Workspace folder; gets scores/ and workspace.json.")],
    annotations: Annotated[
        Path | None,
        typer.Option(
            parser=as_path,
            metavar=PATH,
            help="Annotations: M.annotations.csv (default, beside M.csv), or published ones (file, folder).",
        ),
    ] = None,
    every: Annotated[
        str,
        typer.Option(
            help="What one score stands for: frame, snippet (16 frames), a number of frames, or segments:32."
        ),
    ] = "frame",
    classes: Annotated[
        str | None,
        typer.Option(help="Class of each column of scores, in order, separated by commas; one is normal."),
    ] = None,
    class_scores: Annotated[
        Path | None, typer.Option(help="Folder or file of class scores beside anomaly scores in SCORES.")
    ] = None,
    scale: Annotated[
        Literal["none", "logits", "range", "rows"],
        typer.Option(
            help="How numbers outside 0 to 1 become scores: logits (sigmoid, softmax), range (lowest to "
            "highest of all videos), rows (class scores divided by their sum)."
        ),
    ] = "none",
    fps: Annotated[
        float | None,
        typer.Option(help="Frame rate of videos for which nothing else tells it.", min=0.1, max=1000),
    ] = None,
    cut: Annotated[
        bool,
        typer.Option(
            "--cut", help="Leave out up to 15 frames where a video and its scores differ in length."
        ),
    ] = False,
    missing: Annotated[
        Literal["error", "skip"], typer.Option(help="What to do if test videos have no scores.")
    ] = "error",
    title: Annotated[
        str | None, typer.Option(help="Name of the method. Default: the name of the folder or file.")
    ] = None,
) -> None:
    """Take the scores of any model into a workspace, to evaluate and compare them without a detector."""
    from evaluate.foreign_scores.lengths import parse_every
    from evaluate.foreign_scores.rules import ImportRules
    from evaluate.foreign_scores.scale import parse_classes
    from extract.display import shortened
    from extract.remote.store import place_text
    from flows.cli.tables import print_line, print_note
    from flows.pipeline.import_scores import import_scores

    named = parse_classes(classes) if classes else ()
    rules = ImportRules(parse_every(every), named, scale, fps, cut, missing == "skip")
    result = import_scores(
        scores,
        manifest,
        out,
        rules,
        annotations=annotations,
        class_scores=class_scores,
        title=title,
    )
    for note in result.notes:
        print_note(note)
    if result.unknown:
        print_note(f"{len(result.unknown)} files of no video in the manifest: {shortened(result.unknown)}")
    if result.missing:
        print_note(f"{len(result.missing)} test videos without scores: {shortened(result.missing)}")
    print_line(f"{result.videos} videos imported; next: dsanet evaluate --out {place_text(out)}")


@app.command(epilog="Example: dsanet leaderboard ws ws-rtfm ws-vadclip --out leaderboard.html")
def leaderboard(
    runs: Annotated[
        list[Path], typer.Argument(help="Evaluated workspaces; differences are those from the first.")
    ],
    out: Annotated[
        Path, typer.Option(help="HTML page to write; the same table as .csv and .md is written beside it.")
    ] = Path("leaderboard.html"),
) -> None:
    """Compare evaluated runs in one table, with paired intervals of the differences from the first."""
    from evaluate.report.leaderboard import build_leaderboard, read_runs
    from evaluate.report.leaderboard_files import write_leaderboard
    from flows.cli.leaderboard_table import print_leaderboard
    from flows.pipeline.stages.evaluate import read_truths
    from flows.workspace.run import Run
    from flows.workspace.workspace import local_folder

    local_folder(runs[0], feature_files=True)  # the ground truth is that of its videos
    evaluated = read_runs([local_folder(run) for run in runs])
    first = Run.load(evaluated[0].scores.parent)
    settings = first.config.evaluate
    table = build_leaderboard(
        evaluated,
        read_truths(first),
        resamples=settings.bootstrap,
        confidence=settings.confidence,
        seed=settings.seed,
        release=settings.release,
    )
    print_leaderboard(table, write_leaderboard(out, table))
