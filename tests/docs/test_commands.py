"""Every command of the documentation is accepted by the parser of the program that it calls."""

import importlib.util
import re
import shlex
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from dsanet.training.__main__ import training_parser
from flows.cli.server import parse_parameters
from flows.server.deployments import declared_deployments
from flows.workspace.config import override, preset_config, with_detector
from tests.docs.markdown import PAGES, ROOT, inline_code, shell_lines, terms
from tests.flows.commands import COMMANDS

LINES = sorted({line for page in PAGES for line in shell_lines(page)})
INLINE = sorted({code for page in PAGES for code in inline_code(page)})
MESSAGES = terms(ROOT / "docs" / "troubleshooting.md")
DEMONSTRATED = [
    code for code in INLINE if re.match(r"dsanet (--debug )?[a-z]", code) and code not in MESSAGES
]
ORDINARY = {"git", "mkdir", "openssl", "printf", "rsync", "sqlite3", ".venv/bin/pre-commit"}
"""Programs whose command line is not parsed here."""


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_is_accepted(line: str) -> None:
    for words in split_at(shlex.split(line), "&&"):
        program, *rest = words[: words.index(">")] if ">" in words else words
        if program not in ORDINARY:
            PROGRAMS[program](rest)


@pytest.mark.parametrize("line", [code for code in INLINE if re.match(r"(make|prefect) [a-z-]", code)])
def test_a_command_in_the_text_is_accepted(line: str) -> None:
    program, *words = shlex.split(line)
    PROGRAMS[program](words)


@pytest.mark.parametrize("line", DEMONSTRATED)
def test_a_dsanet_command_in_the_text_has_these_options(line: str) -> None:
    name, words = leaf(shlex.split(line)[1:])
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_dsanet_command_is_documented() -> None:
    lines = [line for line in LINES if line.startswith("dsanet ")]
    assert {leaf(shlex.split(line)[1:])[0] for line in [*lines, *DEMONSTRATED]} == set(COMMANDS)


def test_every_make_target_is_documented() -> None:
    named = {word for line in [*LINES, *INLINE] if line.startswith("make ") for word in line.split()[1:]}
    assert make_targets() <= named


def split_at(words: Sequence[str], separator: str) -> list[list[str]]:
    """The words between the separators."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def leaf(words: Sequence[str]) -> tuple[str, list[str]]:
    """The name of the `dsanet` command that the words call, and its arguments."""
    words = [word for word in words if word != "--debug"]
    for count in (2, 1):
        if (name := " ".join(words[:count])) in COMMANDS:
            return name, words[count:]
    raise AssertionError(f"dsanet has no command {' '.join(words)}")


def accept_dsanet(words: Sequence[str]) -> None:
    name, arguments = leaf(words)
    given: dict[str, Any] = COMMANDS[name].make_context(name, list(arguments)).params
    config = preset_config(given.get("preset") or "ucf-crime")
    if name != "bench" and given.get("detector"):
        config = with_detector(config, given["detector"])
    override(config, given.get("settings") or ())
    if name == "trigger":
        flow = next(entry.flow for entry in declared_deployments() if entry.flow.name == given["flow"])
        flow.validate_parameters(parse_parameters(given["out"], given["param"] or ()))


def accept_prefect(words: Sequence[str]) -> None:
    from prefect.cli._app import _app

    words = [word for word in words if word != "--no-prompt"]
    _app.parse_args(words, exit_on_error=False, print_error=False)
    named = {word for word in words if re.fullmatch(r"[a-z-]+/[a-z]+", word)}
    assert named <= {f"{entry.flow.name}/{entry.name}" for entry in declared_deployments()}


def accept_make(words: Sequence[str]) -> None:
    assert {word for word in words if "=" not in word} <= make_targets()
    variables = set(re.findall(r"\$\(([A-Z]+)\)", (ROOT / "Makefile").read_text()))
    assert {word.partition("=")[0] for word in words if "=" in word} <= variables


def make_targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    return set(phony[1].split())


def accept_python(words: Sequence[str]) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1])
        return
    program = (ROOT / words[0]).read_text()
    assert all(f'"{word}"' in program for word in words[1:] if word.startswith("--"))


def accept_pytest(words: Sequence[str]) -> None:
    options = dict(pairwise(words))
    if "-m" in options:
        assert f'"{options["-m"]}: ' in (ROOT / "pyproject.toml").read_text()
    paths = [ROOT / word for word in words if word.startswith("tests/")]
    assert all(path.exists() for path in paths)
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("test_*.py"))]
    if "-k" in options:
        names = re.findall(r"^def (test_\w+)", "".join(file.read_text() for file in files), re.MULTILINE)
        assert any(options["-k"] in name for name in names)


def accept_docker(words: Sequence[str]) -> None:
    files = [ROOT / file for option, file in pairwise(words) if option == "-f"]
    assert all(file.is_file() for file in files)
    if words[0] == "build":
        target = words[words.index("--target") + 1]
        assert re.search(rf"^FROM .* AS {target}$", files[0].read_text(), re.MULTILINE)
    if "exec" in words:
        assert words[words.index("exec") + 1] in yaml.safe_load(files[0].read_text())["services"]
    if "dsanet" in words:
        accept_dsanet(words[words.index("dsanet") + 1 :])


def accept_kubectl(words: Sequence[str]) -> None:
    options = dict(pairwise(words))
    assert (ROOT / options["-k"] / "kustomization.yaml").is_file()


def accept_pip(words: Sequence[str]) -> None:
    assert words[0] == "install"
    extras = {extra for word in words[1:] for extra in re.findall(r"\w+", word.partition("[")[2])}
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    assert all(re.search(rf"^{extra} = ", declared, re.MULTILINE) for extra in extras)


def accept_ray(words: Sequence[str]) -> None:
    scripts = pytest.importorskip("ray.scripts.scripts", reason="Ray is not installed")
    scripts.cli.commands[words[0]].make_context(words[0], list(words[1:]))


def accept_export(words: Sequence[str]) -> None:
    """The names of variables are checked wherever they stand (`test_pages.py`)."""
    assert all(re.fullmatch(r"[A-Z_]+=\S+", word) for word in words)


def accept_torchrun(words: Sequence[str]) -> None:
    own = get_args_parser().parse_args(words)
    assert own.module
    assert own.training_script == "dsanet.training"
    training_parser().parse_args(own.training_script_args)


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "dsanet": accept_dsanet,
    "docker": accept_docker,
    "export": accept_export,
    "kubectl": accept_kubectl,
    "make": accept_make,
    "pip": accept_pip,
    "prefect": accept_prefect,
    "python": accept_python,
    "ray": accept_ray,
    "torchrun": accept_torchrun,
    ".venv/bin/python": accept_python,
    ".venv/bin/pytest": accept_pytest,
}
