"""The README tells the truth: what it shows exists, and every command is shown."""

import itertools
import re
import shlex
from pathlib import Path

import pytest

from flows.workspace.config import override, preset_config
from tests.flows.commands import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHOWN = sorted(set(re.findall(r"(?:^\$ |`)dsanet (?:--debug )?([a-z][^`\n]*)", README, re.MULTILINE)))


def command_of(line: str) -> str:
    """The command that a line of the README calls; the line itself if there is none."""
    return next((name for name in COMMANDS if f"{line} ".startswith(f"{name} ")), line)


def test_the_readme_shows_commands() -> None:
    assert len(SHOWN) >= 10


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_shown_exists_with_its_options_and_settings(line: str) -> None:
    words = shlex.split(line)
    known = {option for parameter in COMMANDS[command_of(line)].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    settings = [value for word, value in itertools.pairwise(words) if word == "--set"]
    override(preset_config("small"), settings)


def test_every_command_is_shown() -> None:
    assert {command_of(line) for line in SHOWN} == set(COMMANDS)


def test_every_make_target_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets


def test_every_local_link_and_file_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
    assert all((ROOT / folder).is_dir() for folder in re.findall(r"^(\w+/)  ", README, re.MULTILINE))
