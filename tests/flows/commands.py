"""The `dsanet` command for tests: as a separate process, and all subcommands by name."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer.main

from flows.cli import main as cli

Dsanet = Callable[..., tuple[int, str, str]]
"""The fixture `dsanet`: takes arguments, returns exit code, standard output and standard error."""

DSANET = (sys.executable, "-m", "dsanet")


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for inner, subcommand in command.commands.items():
        yield from _leaves(subcommand, f"{name} {inner}".strip())


COMMANDS: dict[str, Any] = dict(_leaves(typer.main.get_command(cli.app), ""))
"""Every subcommand by its full name, for example `features show`."""
