"""The `dsanet` command for tests: to run as a process of its own, and its tree, flattened, to walk."""

import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from flows.cli import main as cli

DSANET = (sys.executable, "-m", "dsanet")


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for inner, subcommand in command.commands.items():
        yield from _leaves(subcommand, f"{name} {inner}".strip())


COMMANDS: dict[str, Any] = dict(_leaves(typer.main.get_command(cli.app), ""))
"""Every command by its words (`features show`), without groups."""
