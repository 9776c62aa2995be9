"""Commands for scheduled runs on one machine: Prefect's server and a worker, and runs of deployments."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from extract.errors import InputError

app = typer.Typer()


@app.command(epilog="Example: dsanet up --out ws")
def up(
    port: Annotated[
        int | None,
        typer.Option(help="Port of the server and its UI on 127.0.0.1. Default: 4200.", min=1, max=65535),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Workspace of runs whose parameters do not name one. Default: workspace."),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="PREFECT_SERVER_DATABASE_CONNECTION_URL",
            help="postgresql+asyncpg://… for more than a few concurrent runs. Default: SQLite.",
        ),
    ] = None,
) -> None:
    """Start Prefect's server, a worker and the deployments on this machine, in the background.

    Services that run already are left as they are; other options for them are refused.
    """
    from flows.cli.tables import print_line
    from flows.server import services

    started = services.up(port, database_url, out, print_line)
    print_line(f"UI     {started.url}")
    print_line("run    dsanet trigger extract-train-eval --param source.manifest=videos.csv --watch")
    print_line("stop   dsanet down")
    print_line(f"logs   {services.prefect_home()}/dsanet-*.log")
    print_line(f"for Prefect's own commands: export PREFECT_API_URL={started.api}")


@app.command(epilog="Example: dsanet down")
def down() -> None:
    """Stop what `dsanet up` started: runs, worker and server. A stopped run resumes when started again."""
    from flows.cli.tables import print_line
    from flows.server import services

    stopped = services.down(print_line)
    print_line(
        f"stopped: {', '.join(stopped)}" if stopped else "nothing to stop: `dsanet up` has started nothing"
    )


@app.command(
    epilog="Example: dsanet trigger extract-train-eval --out ws --param source.manifest=videos.csv --watch"
)
def trigger(
    flow: Annotated[
        str,
        typer.Argument(help="extract-train-eval, extract, train, infer, evaluate or retrain-on-new-footage."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Workspace folder. Default: the --out of `dsanet up`.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="Flow parameter, for example config.preset=small. Repeatable."),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Print the log until the run ends; exit with code 1 unless it completes."
        ),
    ] = False,
) -> None:
    """Start a run of a deployment, as its schedule or the UI does."""
    from flows.cli.tables import print_line
    from flows.pipeline.parameters import check_parameters
    from flows.server.trigger import trigger

    parameters = parse_parameters(out, param or [])
    if not trigger(flow, parameters, watch=watch, echo=print_line, check=check_parameters):
        raise typer.Exit(1)


def parse_parameters(workspace: Path | None, pairs: Iterable[str]) -> dict[str, Any]:
    """Flow parameters from `name=value` and `name.key=value` pairs; a value is JSON, otherwise plain text.

    `workspace` becomes the parameter of that name. Raises ValueError for a pair without `=`, or one that
    contradicts another.
    """
    from extract.remote.store import absolute_place, place_text
    from flows.workspace.config import parse_value

    parameters: dict[str, Any] = {"workspace": place_text(absolute_place(workspace))} if workspace else {}
    for pair in pairs:
        path, separator, text = pair.partition("=")
        if not separator:
            raise InputError(
                f"parameter {pair!r} has no value; expected NAME=VALUE, for example refresh=train"
            )
        *parents, key = path.strip().split(".")
        place = parameters
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InputError(f"parameter {parent} is given twice: as a whole and by {path}")
        if key in place:
            raise InputError(f"parameter {path} is given twice")
        place[key] = parse_value(text)
    return parameters
