"""The `dsanet` commands for what grows: labels, models, retraining on new footage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.library.library import Library

app = typer.Typer()
label = typer.Typer(help="Labels of the videos that arrive.", no_args_is_help=True)
models = typer.Typer(help="The versions of a workspace's model.", no_args_is_help=True)
app.add_typer(label, name="label")
app.add_typer(models, name="models")

Out = Annotated[Path, typer.Option(envvar="DSANET_WORKSPACE", help="Workspace folder of a first training.")]
By = Annotated[str | None, typer.Option(help="Who gives the labels. Default: who is logged in.")]
NewClass = Annotated[
    bool, typer.Option("--new-class", help="Allow labels that no video has yet (else: a typing error).")
]
WORKSPACE = Path("workspace")


@app.command(epilog="Example: dsanet retrain --out ws --inbox /srv/footage")
def retrain(
    out: Out = WORKSPACE,
    inbox: Annotated[
        list[Path] | None,
        typer.Option(help="Folder where footage arrives; kept for later runs. May be repeated."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train a challenger though few new labels have come.")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, for example train.init=champion.")
    ] = None,
) -> None:
    """New footage in; the model is replaced if one trained on it too is not worse."""
    import json

    from flows.cli.launch import run_retraining
    from flows.workspace.inputs import describe

    inboxes = [f"retrain.inboxes={json.dumps([str(path.absolute()) for path in inbox])}"] if inbox else []
    describe(out, settings=[*inboxes, *(settings or [])])
    run_retraining(out, force)


@label.command("import", epilog="Example: dsanet label import labels.csv --out ws")
def label_import(
    labels_csv: Annotated[Path, typer.Argument(help="CSV with the columns video,labels.")],
    out: Out = WORKSPACE,
    by: By = None,
    new_class: NewClass = False,
) -> None:
    """The labels of many videos, named by name, path or digest: all of the file, or nothing."""
    from flows.library.labels import import_labels, known_labels

    with _library(out) as (library, classes):
        known = None if new_class else known_labels(library, classes)
        given = import_labels(library, labels_csv, known=known, by=by)
    for name in given.test:
        print(f"left as it is  {name}: a test video's labels are the manifest's")
    print(f"{len(given.changed)} videos labelled, {len(given.unchanged)} had these labels already")


@label.command("set", epilog="Example: dsanet label set camera-3 fighting --out ws")
def label_set(
    video: Annotated[str, typer.Argument(help="Its name, its path, or the beginning of its digest.")],
    labels: Annotated[str, typer.Argument(help="Joined by `|`, or normal.")],
    out: Out = WORKSPACE,
    by: By = None,
    new_class: NewClass = False,
) -> None:
    """The labels of one video. What was said before is kept."""
    from flows.library.labels import known_labels, set_labels

    with _library(out) as (library, classes):
        known = None if new_class else known_labels(library, classes)
        found, _ = set_labels(library, video, labels, known=known, by=by)
        for said in library.history(found.digest):
            print(f"{said.at}  {'|'.join(said.labels)}  by {said.by} ({said.source})")


@label.command("queue", epilog="Example: dsanet label queue --out ws")
def label_queue(
    out: Out = WORKSPACE,
    most: Annotated[int, typer.Option(help="Rows to show.", min=1)] = 30,
) -> None:
    """What has no labels yet, the most surprising first: what the champion is least sure of."""
    from rich.console import Console
    from rich.table import Table

    from flows.library.labels import queue
    from flows.workspace.model_registry import Registry

    champion = Registry(out).champion()
    with _library(out) as (library, _):
        waiting = queue(library, champion.key if champion else None)
    table = Table(box=None)
    for heading in ("video", "surprise", "score", "class", "path"):
        table.add_column(heading, justify="right" if heading in ("surprise", "score") else "left")
    for one in waiting[:most]:
        score = one.score
        told = (
            (f"{score.surprise:.2f}", f"{score.anomaly:.3f}", score.predicted) if score else ("–", "–", "–")
        )
        table.add_row(one.video.name, *told, str(one.video.path))
    Console().print(table)
    print(f"{len(waiting)} videos without labels")


@models.command("list", epilog="Example: dsanet models list --out ws")
def models_list(out: Out = WORKSPACE) -> None:
    """Every version: when it was made, whether it serves, how the gate judged it."""
    from rich.console import Console
    from rich.table import Table

    from flows.workspace.model_registry import Registry

    table = Table(box=None)
    for heading in ("version", "alias", "made", "folder", "gate"):
        table.add_column(heading)
    for one in Registry(out).versions():
        gate = one.decision.reason if one.decision else ""
        told = f"{'promoted' if one.decision.promoted else 'refused'}, {gate}" if one.decision else "–"
        told += " (taken out of service by hand)" if one.withdrawn else ""
        made = f"{one.created:%Y-%m-%d %H:%M}"
        table.add_row(str(one.number), ", ".join(one.aliases), made, f"models/{one.key}", told)
    Console().print(table)


@models.command("promote", epilog="Example: dsanet models promote 2 --out ws")
def models_promote(
    model: Annotated[str, typer.Argument(help="A version's number, `challenger`, or its folder's name.")],
    out: Out = WORKSPACE,
) -> None:
    """Put a version into service, whatever the gate says of it."""
    from flows.workspace.model_registry import Registry

    registry = Registry(out)
    version = registry.find(model)
    registry.promote(version, by_hand=True)
    print(f"version {version.number} is in service")


@models.command("rollback", epilog="Example: dsanet models rollback --out ws")
def models_rollback(out: Out = WORKSPACE) -> None:
    """Put the champion's predecessor into service again."""
    from flows.workspace.model_registry import Registry

    version = Registry(out).roll_back()
    print(f"version {version.number} is in service again")


@contextmanager
def _library(out: Path) -> Iterator[tuple["Library", tuple[str, ...]]]:
    """The library of a workspace, and the classes of its settings."""
    from flows.library.library import Library
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    config = workspace.recall().config
    with Library.of(workspace.root, config.retrain.library) as library:
        yield library, config.model.classes
