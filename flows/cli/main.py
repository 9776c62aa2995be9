"""The `dsanet` command: its groups of subcommands, and how it ends.

Subcommands import what they need when they run, so that `dsanet --help` is fast. Invalid input ends with one
line on standard error and exit code 2, a bug with one line, a log file and exit code 1;
`dsanet --debug COMMAND` shows the traceback.
"""

import io
import logging
import sys
from shutil import get_terminal_size
from typing import Annotated

import typer

from extract.remote.listings import one_listing
from flows.cli import bench, data, features, library, pipeline, reproduce, scores, server
from flows.cli.errors import end

INTERRUPTED = 130
"""Typer's exit code after Ctrl-C (128 + SIGINT, as in shells)."""
WIDTH = get_terminal_size().columns
NARROW = WIDTH < 60
"""True for a terminal on which the help has no boxes: their columns would cut the names of options."""

app = typer.Typer(
    help="Detect when something goes wrong in video, and what, after training on video-level labels alone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]} | ({"terminal_width": WIDTH} if NARROW else {}),
    rich_markup_mode=None if NARROW else "rich",
)
for group in (pipeline, reproduce, bench, data, features, library, scores, server):
    app.add_typer(group.app)


@app.callback()
def configure(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's log.")] = False,
) -> None:
    """Set the environment's defaults and logging, before a subcommand imports Prefect."""
    from flows.server.prefect_defaults import configure_logging, set_environment_defaults

    set_environment_defaults()
    configure_logging(debug=debug)
    context.with_resource(one_listing())


def main() -> None:
    """Run the command; an exception ends it as `flows.cli.errors` describes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that cannot be encoded is shown with escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(end(error))
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print(
                "dsanet: interrupted; finished work is kept, the same command resumes from there",
                file=sys.stderr,
            )
        raise
    finally:
        logging.shutdown()
