"""The tree of the `dsanet` command, flattened, for the tests that walk it."""

from collections.abc import Iterator
from typing import Any

import typer.main

from flows import cli


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for inner, subcommand in command.commands.items():
        yield from _leaves(subcommand, f"{name} {inner}".strip())


COMMANDS: dict[str, Any] = dict(_leaves(typer.main.get_command(cli.app), ""))
"""Every command by its words (`features show`), without groups."""
