"""Everything that the documentation names exists: paths, modules, settings, options, links, messages."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from docs.capacity import parser_of_options
from dsanet.detectors.registry import DETECTORS
from flows.workspace.config import override, preset_config, with_detector
from tests.docs.markdown import PAGES, README, ROOT, SITE_PAGES, anchors, inline_code, links, prose, terms
from tests.flows.commands import COMMANDS

PACKAGES = ("extract", "evaluate", "dsanet", "flows")
SECTIONS = tuple(name for name in type(preset_config("small")).model_fields if name != "preset")
MADE_BY_THE_READER = {
    "docker/.env",
    "docker/secrets",
    "docker/secrets/ray_token",
    "docker/secrets/store_credentials",
    "dsanet/detectors/linear_probe.py",
}
PODMAN_OPTIONS = {"--format"}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 130


def test_the_readme_leads_to_every_page() -> None:
    linked = {(ROOT / link).name for link in links(README)}
    assert {page.name for page in SITE_PAGES} - {"index.md"} <= linked


@each_page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        # The headings of the settings page are those of the configuration.
        assert not anchor or anchor in anchors(path) | set(SECTIONS if path.name == "settings.md" else ()), (
            link
        )


@each_page
def test_paths_of_the_project_exist(page: Path) -> None:
    folders = r"(?:extract|evaluate|dsanet|flows|docker|docs|tests)/[\w./-]*"
    files = r"(?:pyproject\.toml|constraints\.txt|prefect\.yaml|mkdocs\.yml|CHANGELOG\.md|CONTRIBUTING\.md)"
    named = {code for code in inline_code(page) if re.fullmatch(f"{folders}|{files}", code)}
    named -= {code for code in named if code.endswith("/default")}  # a deployment
    assert not [path for path in named - MADE_BY_THE_READER if not (ROOT / path).exists()]


@each_page
def test_modules_and_settings_exist(page: Path) -> None:
    for code in inline_code(page):
        name, _, value = code.partition("=")
        is_file = name.endswith((".json", ".safetensors"))
        if not is_file and re.fullmatch(rf"(?:{'|'.join((*PACKAGES, *SECTIONS))})(\.\w+)+", name):
            assert _is_setting(name, value) or _is_importable(name), code


def _is_setting(name: str, value: str) -> bool:
    """True if a detector has this setting and, if a value is given, takes it."""
    for detector in DETECTORS:
        config = with_detector(preset_config("ucf-crime"), detector)
        found: Any = config
        for part in name.split("."):
            found = getattr(found, part, None) if hasattr(found, part) else _MISSING
        if found is not _MISSING:
            return not value or bool(override(config, [f"{name}={value}"]))
    return False


_MISSING = object()


def _is_importable(name: str) -> bool:
    """True for a module, or for an attribute of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@each_page
def test_options_exist(page: Path) -> None:
    known = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    known |= {option for command in COMMANDS.values() for p in command.params for option in p.secondary_opts}
    for program in (*(ROOT / "tests" / "benchmarks").glob("*.py"), ROOT / "dsanet/training/__main__.py"):
        known |= set(re.findall(r'"(--[a-z]+)"', program.read_text()))
    known |= {option for action in parser_of_options()._actions for option in action.option_strings}
    named = {code.split()[0] for code in inline_code(page) if code.startswith("--")}
    assert named - {"--debug"} <= known | PODMAN_OPTIONS


@each_page
def test_environment_variables_are_read_by_something(page: Path) -> None:
    import prefect.settings

    named = set(re.findall(r"\b(?:DSANET|PREFECT|MLFLOW|PIP)_[A-Z_]+\b", page.read_text()))
    unknown = {name for name in named if name not in sources()}
    assert not [name for name in unknown if not hasattr(prefect.settings, name)]


def test_every_detector_is_described() -> None:
    page = ROOT / "docs" / "detectors.md"
    assert set(DETECTORS) <= set(inline_code(page))


@pytest.mark.parametrize("message", terms(ROOT / "docs" / "troubleshooting.md"))
def test_messages_are_those_of_the_program(message: str) -> None:
    pattern = re.compile(".*".join(re.escape(part) for part in message.split("…")))
    assert any(pattern.search(known) for known in messages())


def test_messages_are_listed() -> None:
    assert len(terms(ROOT / "docs" / "troubleshooting.md")) >= 50


@cache
def sources() -> str:
    """The text of everything that reads environment variables."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    docker = [path for path in (ROOT / "docker").rglob("*") if path.suffix in ("", ".py", ".yaml", ".json")]
    return "".join(path.read_text() for path in [*files, *docker, ROOT / "Makefile"] if path.is_file())


@cache
def messages() -> tuple[str, ...]:
    """All texts of the program, with `…` in the place of values."""
    files = [path for folder in (*PACKAGES, "docker") for path in (ROOT / folder).rglob("*.py")]
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text())))
    return ((ROOT / "Makefile").read_text(), *(text for node in nodes for text in _texts(node)))


def _texts(node: ast.AST) -> Iterator[str]:
    text = _text(node)
    if text is not None:
        yield re.sub(r"%[sd]", "…", text)


def _text(node: ast.AST) -> str | None:
    """The text of a string expression; None for another node."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = _text(left), _text(right)
            return None if first is None and second is None else (first or "…") + (second or "…")
    return None


def test_the_pages_are_where_the_site_looks() -> None:
    assert "<!-- settings -->" in prose(ROOT / "docs" / "settings.md")
