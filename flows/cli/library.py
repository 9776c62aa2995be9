"""Commands for retraining on new footage: `retrain`, labels of arriving videos, versions of the model."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import DEFAULT_WORKSPACE, ExistingOut, Settings

if TYPE_CHECKING:
    from flows.library.library import Library

app = typer.Typer()
label = typer.Typer(help="Give labels to the videos that arrive.", no_args_is_help=True)
models = typer.Typer(help="List and switch the versions of a workspace's model.", no_args_is_help=True)
app.add_typer(label, name="label")
app.add_typer(models, name="models")

By = Annotated[str | None, typer.Option(help="Person who gives the labels. Default: the current user.")]
NewClass = Annotated[
    bool,
    typer.Option(
        "--new-class", help="Allow labels that no video has yet; without it they are taken for typing errors."
    ),
]


@app.command(epilog="Example: dsanet retrain --out ws --inbox /srv/footage")
def retrain(
    out: ExistingOut = DEFAULT_WORKSPACE,
    inbox: Annotated[
        list[Path] | None,
        typer.Option(help="Folder where footage arrives; remembered for later runs. Repeatable."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train a challenger even if there are few new labels.")
    ] = False,
    settings: Settings = None,
) -> None:
    """Add new footage, and replace the model if a challenger trained with it is not worse."""
    from flows.cli.run_flows import run_retraining
    from flows.cli.tables import print_line
    from flows.workspace.inputs import configure_workspace

    inboxes = [f"retrain.inboxes={json.dumps([str(path.absolute()) for path in inbox])}"] if inbox else []
    configure_workspace(out, settings=[*inboxes, *(settings or [])])
    outcome = run_retraining(out, force)
    print_line(f"page     {outcome.page}")


@label.command("import", epilog="Example: dsanet label import labels.csv --out ws")
def label_import(
    labels_csv: Annotated[Path, typer.Argument(help="CSV with the columns video,labels.")],
    out: ExistingOut = DEFAULT_WORKSPACE,
    by: By = None,
    new_class: NewClass = False,
) -> None:
    """Label many videos, each given by name, path or digest. An invalid row changes nothing at all."""
    from flows.library.labels import import_labels

    with _open_library(out) as library:
        result = import_labels(library, labels_csv, allowed=_allowed_labels(library, out, new_class), by=by)
    for name in result.test:
        print(f"skipped  {name}: a test video keeps the labels of the manifest")
    print(f"{len(result.changed)} videos labelled, {len(result.unchanged)} had these labels already")


@label.command("set", epilog="Example: dsanet label set camera-3 fighting --out ws")
def label_set(
    video: Annotated[str, typer.Argument(help="Name, path or first digits of the digest.")],
    labels: Annotated[str, typer.Argument(help="One or more labels joined by `|`, or normal.")],
    out: ExistingOut = DEFAULT_WORKSPACE,
    by: By = None,
    new_class: NewClass = False,
) -> None:
    """Label one video and print its label history."""
    from flows.library.labels import set_labels

    with _open_library(out) as library:
        allowed = _allowed_labels(library, out, new_class)
        found, _ = set_labels(library, video, labels, allowed=allowed, by=by)
        for entry in library.label_history(found.digest):
            print(f"{entry.at}  {'|'.join(entry.labels)}  by {entry.by} ({entry.source})")


@label.command("queue", epilog="Example: dsanet label queue --out ws")
def label_queue(
    out: ExistingOut = DEFAULT_WORKSPACE,
    most: Annotated[int, typer.Option(help="Number of rows to print.", min=1)] = 30,
) -> None:
    """List the videos without labels: unscored ones, then by decreasing entropy of the champion's score."""
    from flows.cli.output import print_label_queue
    from flows.library.labels import label_queue
    from flows.workspace.model_registry import Registry

    champion = Registry(out).champion()
    with _open_library(out) as library:
        items = label_queue(library, champion.key if champion else None)
    print_label_queue(items[:most])
    print(f"{len(items)} videos without labels")


@models.command("list", epilog="Example: dsanet models list --out ws")
def models_list(out: ExistingOut = DEFAULT_WORKSPACE) -> None:
    """List every version: alias, date, folder and the gate's decision."""
    from flows.cli.output import print_versions
    from flows.workspace.model_registry import Registry

    print_versions(Registry(out).versions())


@models.command("promote", epilog="Example: dsanet models promote 2 --out ws")
def models_promote(
    model: Annotated[
        str, typer.Argument(help="Version number, challenger, or key (folder name below models/).")
    ],
    out: ExistingOut = DEFAULT_WORKSPACE,
) -> None:
    """Make a version the champion, whatever the gate decided."""
    from flows.workspace.model_registry import Registry

    registry = Registry(out)
    version = registry.find(model)
    registry.promote(version, by_hand=True)
    print(f"version {version.number} is the champion")


@models.command("rollback", epilog="Example: dsanet models rollback --out ws")
def models_rollback(out: ExistingOut = DEFAULT_WORKSPACE) -> None:
    """Make the previous champion the champion again."""
    from flows.workspace.model_registry import Registry

    version = Registry(out).roll_back()
    print(f"version {version.number} is the champion again")


@contextmanager
def _open_library(out: Path) -> Iterator["Library"]:
    from flows.library.library import Library
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    with Library.open(workspace.root, workspace.read_inputs().config.retrain.library) as library:
        yield library


def _allowed_labels(library: "Library", out: Path, new_class: bool) -> set[str] | None:
    """The classes that labels may name; None, that is any, with `--new-class`."""
    from flows.library.labels import known_classes
    from flows.workspace.workspace import Workspace

    return None if new_class else known_classes(library, Workspace(out).read_inputs().config.model.classes)
