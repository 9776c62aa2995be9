"""Commands for retraining on new footage: `retrain`, videos and labels that arrive, versions of the model."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extract.display import shortened
from extract.remote.path import as_path
from flows.cli.library_copy import library_copy
from flows.cli.options import DEFAULT_WORKSPACE, PATH, ExistingOut, Retry, Settings

if TYPE_CHECKING:
    from flows.library.library import Library

app = typer.Typer()
label = typer.Typer(help="Give labels to the videos that arrive.", no_args_is_help=True)
models = typer.Typer(help="List and switch the versions of a workspace's model.", no_args_is_help=True)
library = typer.Typer(help="Videos that cannot be read; move to another database.", no_args_is_help=True)
library.command("copy", epilog="Example: dsanet library copy --out ws")(library_copy)
app.add_typer(label, name="label")
app.add_typer(library, name="library")
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
        typer.Option(
            parser=as_path,
            metavar=PATH,
            help="Folder where footage arrives, or its address; remembered for later runs. Repeatable.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train a challenger even if there are few new labels.")
    ] = False,
    new_registry: Annotated[
        bool,
        typer.Option(
            "--new-registry",
            help="If the model registry is lost, begin a new one: the oldest version folder becomes "
            "version 1 and the champion.",
        ),
    ] = False,
    retry: Retry = False,
    settings: Settings = None,
) -> None:
    """Add new footage, and replace the model if a challenger trained with it is not worse."""
    from flows.cli.run_flows import run_retraining
    from flows.cli.tables import print_line
    from flows.workspace.inputs import configured_workspace

    inboxes = [f"retrain.inboxes={json.dumps([str(path.absolute()) for path in inbox])}"] if inbox else []
    with configured_workspace(out, settings=[*inboxes, *(settings or [])]):
        outcome = run_retraining(out, force, new_registry or _agrees_to_new_registry(out), retry)
    print_line(f"page     {outcome.page}")


@library.command("problems", epilog="Example: dsanet library problems --out ws")
def library_problems(
    out: ExistingOut = DEFAULT_WORKSPACE,
    most: Annotated[int, typer.Option(help="Number of videos to print.", min=1)] = 100,
) -> None:
    """List the videos that could not be read: the reason, the number of tries and the next one (UTC)."""
    from extract.failures import read_failures
    from flows.cli.output import print_problems
    from flows.workspace.workspace import Workspace

    with _open_library(out) as opened:
        problems, failures = opened.problems(), read_failures(Workspace(out).features)
        readable = opened.usable_names(failure.name for failure in failures)
    failures = [failure for failure in failures if failure.name in readable]
    print_problems(problems, failures, most)
    print(f"{len(problems) + len(failures)} videos could not be read")


@library.command("recheck", epilog="Example: dsanet library recheck camera-3 --out ws")
def library_recheck(
    videos: Annotated[
        list[str] | None,
        typer.Argument(help="Names, paths or first digits of the digests. Default: all that failed."),
    ] = None,
    out: ExistingOut = DEFAULT_WORKSPACE,
) -> None:
    """Try videos again that could not be read, at once; the next run takes those that can be read now."""
    from extract.failures import read_failures
    from extract.remembered import end_wait
    from flows.cli.tables import print_failure, print_line
    from flows.library.problems import grouped_by_reason, recheck
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    features = workspace.features

    with workspace.kept_open(), _open_library(out) as opened:
        if videos:
            index = opened.index_of(videos)
            chosen = [index.find(one) for one in videos]
            names = {video.name for video in chosen}
        else:
            chosen = [problem.video for problem in opened.problems()]
            names = {failure.name for failure in read_failures(features)}
        result = recheck(opened, chosen)
        waiting = end_wait(features, names)
    for group in grouped_by_reason((video.name, reason) for video, reason in result.unreadable):
        print_failure("failed", f"{group.reason}: {group.shown}")
    if result.missing:
        print_failure("missing", shortened([str(video.path) for video in result.missing]))
    counts = (len(result.readable), len(result.unreadable), len(result.missing))
    if waiting:
        print_line(f"{len(waiting)} videos whose extraction failed are tried by the next run")
    print_line("{} videos can be read, {} cannot, {} are missing".format(*counts))


@label.command("import", epilog="Example: dsanet label import labels.csv --out ws")
def label_import(
    labels_csv: Annotated[Path, typer.Argument(help="CSV with the columns video,labels.")],
    out: ExistingOut = DEFAULT_WORKSPACE,
    by: By = None,
    new_class: NewClass = False,
) -> None:
    """Label many videos, each given by name, path or digest. An invalid row changes nothing at all."""
    from flows.cli.tables import print_line
    from flows.library.labels import import_labels

    with _open_library(out, writing=True) as opened:
        result = import_labels(opened, labels_csv, allowed=_allowed_labels(opened, out, new_class), by=by)
    if result.test:
        print_line(
            f"skipped  test and audit videos keep the labels of the manifest: {shortened(result.test)}"
        )
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
    from flows.cli.tables import print_line
    from flows.library.labels import set_labels

    with _open_library(out, writing=True) as opened:
        allowed = _allowed_labels(opened, out, new_class)
        found, _ = set_labels(opened, video, labels, allowed=allowed, by=by)
        for entry in opened.label_history(found.digest):
            labels_then = "|".join(entry.labels) or "no labels"
            print_line(f"{entry.at}  {labels_then}  by {entry.by} ({entry.source})")


@label.command("clear", epilog="Example: dsanet label clear camera-3 --out ws")
def label_clear(
    videos: Annotated[list[str], typer.Argument(help="Names, paths or first digits of the digests.")],
    out: ExistingOut = DEFAULT_WORKSPACE,
    by: Annotated[
        str | None, typer.Option(help="Person who clears the labels. Default: the current user.")
    ] = None,
) -> None:
    """Take the labels of videos back. They wait for labels again, and are not trained on."""
    from flows.library.labels import clear_labels

    with _open_library(out, writing=True) as opened:
        cleared = clear_labels(opened, videos, by=by)
    print(f"labels of {len(cleared)} videos cleared")


@label.command("queue", epilog="Example: dsanet label queue --out ws")
def label_queue(
    out: ExistingOut = DEFAULT_WORKSPACE,
    most: Annotated[int, typer.Option(help="Number of rows to print.", min=1)] = 30,
    after: Annotated[
        str | None, typer.Option(help="Begin behind this video, the last one of the page before.")
    ] = None,
) -> None:
    """List the videos without labels: unscored ones, then by decreasing entropy of the champion's score."""
    from flows.cli.output import print_label_queue
    from flows.cli.tables import print_line
    from flows.library.labels import label_queue
    from flows.workspace.model_registry import Registry
    from flows.workspace.workspace import Workspace

    champion = Registry(Workspace(out).root).champion()
    with _open_library(out) as opened:
        items = label_queue(opened, champion.key if champion else None, most, after)
        count = opened.count_unlabelled()
    print_label_queue(items)
    if len(items) == most < count:
        print_line(f"--after {shlex.quote(items[-1].video.name)} prints the next ones")
    print(f"{count:,} videos without labels")


@models.command("list", epilog="Example: dsanet models list --out ws")
def models_list(out: ExistingOut = DEFAULT_WORKSPACE) -> None:
    """List every version: alias, date, folder and the gate's decision."""
    from flows.cli.output import print_versions
    from flows.workspace.model_registry import Registry
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    registry = Registry(workspace.root)
    registry.check_not_lost()
    if versions := registry.versions():
        print_versions(versions)
    else:
        workspace.read_inputs()  # raises for a folder that is no workspace
        print("no version is registered yet; `dsanet retrain` registers the workspace's model")


@models.command("promote", epilog="Example: dsanet models promote 2 --out ws")
def models_promote(
    model: Annotated[
        str, typer.Argument(help="Version number, challenger, or key (folder name below models/).")
    ],
    out: ExistingOut = DEFAULT_WORKSPACE,
) -> None:
    """Make a version the champion, whatever the gate decided. A lost checkpoint is restored or refused."""
    from flows.workspace.model_reference import version_folder
    from flows.workspace.model_registry import Registry
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    with workspace.kept_open():
        registry = Registry(workspace.root)
        version = registry.find(model)
        version_folder(version.key, workspace)
        registry.promote(version, by_hand=True)
    print(f"version {version.number} is the champion")


@models.command("rollback", epilog="Example: dsanet models rollback --out ws")
def models_rollback(out: ExistingOut = DEFAULT_WORKSPACE) -> None:
    """Make the previous champion the champion again. A lost checkpoint is restored or refused."""
    from flows.workspace.model_reference import version_folder
    from flows.workspace.model_registry import Registry
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    with workspace.kept_open():
        registry = Registry(workspace.root)
        if replaced := registry.find("champion").replaced:
            version_folder(replaced, workspace)
        version = registry.roll_back()
    print(f"version {version.number} is the champion again")


def _agrees_to_new_registry(out: Path) -> bool:
    """True if the registry is lost and the person at the terminal wants a new one.

    Raises RegistryLostError if there is no terminal, or the answer is no.
    """
    from flows.workspace.model_registry import Registry, RegistryLostError
    from flows.workspace.workspace import Workspace

    try:
        Registry(Workspace(out).root).check_not_lost()
    except RegistryLostError as lost:
        if sys.stdin.isatty() and typer.confirm(f"{lost}\nBegin a new registry now?"):
            return True
        raise
    return False


@contextmanager
def _open_library(out: Path, *, writing: bool = False) -> Iterator["Library"]:
    """The library; for `writing` to one that is a file of a workspace in an object store, with its lock."""
    from flows.library.database import is_own_file
    from flows.library.library import Library
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    setting = workspace.read_inputs().config.retrain.library
    held = workspace.kept_open() if writing and is_own_file(setting) else nullcontext()
    with held, Library.open(workspace.root, setting) as library:
        yield library


def _allowed_labels(library: "Library", out: Path, new_class: bool) -> set[str] | None:
    """The classes that labels may name; None, that is any, with `--new-class`."""
    from flows.library.labels import known_classes
    from flows.workspace.workspace import Workspace

    return None if new_class else known_classes(library, Workspace(out).read_inputs().config.model.classes)
