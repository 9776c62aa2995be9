"""Commands for scheduled runs on one machine: Prefect's server and worker, and starting a deployed run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer()


@app.command(epilog="Example: dsanet up --out ws")
def up(
    port: Annotated[int, typer.Option(help="Of server and UI, on 127.0.0.1.", min=1, max=65535)] = 4200,
    out: Annotated[
        Path | None, typer.Option(help="Workspace of runs that are not told one. Default: ./workspace")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="PREFECT_SERVER_DATABASE_CONNECTION_URL",
            help="postgresql+asyncpg://… for more than a few runs at a time. Default: SQLite.",
        ),
    ] = None,
) -> None:
    """Start Prefect's server, a worker and the deployments on this machine, in the background."""
    from flows.cli.launch import console
    from flows.server import services

    started = services.up(port, database_url, out or Path("workspace"), lambda line: console.print(line))
    console.print(f"UI     {started.url}", highlight=False)
    console.print("run    dsanet trigger extract-train-eval --param source.manifest=videos.csv --watch")
    console.print("stop   dsanet down")
    console.print(f"logs   {services.home()}/dsanet-*.log", soft_wrap=True, highlight=False)
    console.print(f"Prefect's own commands find it by: export PREFECT_API_URL={started.api}", soft_wrap=True)


@app.command(epilog="Example: dsanet down")
def down() -> None:
    """Stop what `dsanet up` started, and nothing else; runs under way stop and can be run again."""
    from flows.cli.launch import console
    from flows.server import services

    stopped = services.down(lambda line: console.print(line))
    console.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing of `dsanet up` was running")


@app.command(
    epilog="Example: dsanet trigger extract-train-eval --out ws --param source.manifest=videos.csv --watch"
)
def trigger(
    flow: Annotated[str, typer.Argument(help="extract-train-eval, extract, train, infer, evaluate …")],
    out: Annotated[Path | None, typer.Option(help="Workspace folder. Default: the deployment's.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="A parameter, for example config.preset=small. May be repeated."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it; exit 1 unless it completes.")] = False,
) -> None:
    """Start a run of a deployment, as a schedule or the UI would."""
    from flows.cli.launch import console
    from flows.server.trigger import trigger

    if not trigger(flow, parse_parameters(out, param or []), watch=watch, console=console):
        raise typer.Exit(1)


def parse_parameters(workspace: Path | None, pairs: Iterable[str]) -> dict[str, Any]:
    """Flow parameters from `name=value` and `name.key=value` pairs; a value is JSON, otherwise plain text.

    `workspace` becomes the parameter of that name. Raises ValueError for a pair without `=`, or one that
    contradicts another.
    """
    from flows.workspace.config import parse_value

    parameters: dict[str, Any] = {"workspace": str(workspace.absolute())} if workspace else {}
    for pair in pairs:
        path, separator, text = pair.partition("=")
        if not separator:
            raise ValueError(f"{pair!r} gives nothing; expected name=value, for example refresh=train")
        *parents, key = path.strip().split(".")
        place = parameters
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{parent} is given twice: as a whole, and by {path}")
        place[key] = parse_value(text)
    return parameters
