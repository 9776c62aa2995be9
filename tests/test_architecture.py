"""The import rules: between the four packages, between the rooms of a package, and no circles.

A room is a module or a folder directly below a package. Every import statement counts, wherever it stands:
inside functions and under `TYPE_CHECKING` too.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("extract", "evaluate", "dsanet", "flows")

MAY_IMPORT = {
    "extract": (),
    "evaluate": (
        "extract.labels",
        "extract.atomic",
        "extract.lazy",
        "extract.errors",
        "extract.tables",
        "extract.display",
        "extract.remote",
    ),
    "dsanet": ("extract", "evaluate"),
    "flows": ("extract", "evaluate", "dsanet"),
}
"""Allowed imports of each package; the modules of `extract` in it need only the standard library,
and `extract.remote` fsspec once an address is used."""

THIRD_PARTY_FORBIDDEN = {
    "extract": {"prefect"},
    "evaluate": {"torch", "torchvision", "open_clip", "prefect"},
    "dsanet": {"prefect"},
}

LEVELS = {
    "extract": (
        {"engine", "inspect", "match", "device_process"},
        {"devices", "cluster"},
        {"outcomes", "extraction"},
        {"reuse", "batches", "remembered", "fetched_videos"},
        {"feature_index"},
        {"decode", "encoder", "pictures", "store", "failures"},
        {"clip", "preprocess", "manifest", "config", "digest_index"},
        {"tables"},
        {"remote"},
        {
            "snippets",
            "views",
            "source",
            "tensors",
            "labels",
            "atomic",
            "progress",
            "display",
            "weights",
        },
        {"lazy", "errors", "retry_times", "child_process", "file_lock", "termination"},
    ),
    "evaluate": (
        {"report"},
        {"evaluation"},
        {"metrics"},
        {"evaluated_videos", "ground_truth", "annotation_formats", "alarm_stream"},
        {"annotations", "predictions", "foreign_scores"},
        {"snippet_times"},
        {"scores", "config"},
    ),
    "dsanet": (
        {"cluster_inference"},
        {"inference", "__main__"},
        {"training", "causal"},
        {"checkpoint", "snippet_scores"},
        {"released_weights", "released_features"},
        {"feature_lists", "checkpoint_info"},
        {"detectors"},
        {"layers"},
    ),
    "dsanet.detectors": (
        {"registry"},
        {"dsanet", "mil_ranking", "clip_tsa", "vadclip", "vla_gated"},
        {"two_branch"},
        {"base", "settings"},
        {"config"},
    ),
    "flows": (
        {"cli"},
        {"retraining"},
        {"library", "demo"},
        {"pipeline"},
        {"workspace"},
        {"server", "progress"},
    ),
}
"""Rooms from the top down: one may import those on lower levels, none on its own level or above."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    """Path by dotted name of every module of the four packages."""
    return {module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def imported_names(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Dotted names that a module imports: `a.b` for `import a.b`, `a.b.c` for `from a.b import c`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            folder = parents[: len(parents) - node.level + is_package] if node.level else []
            base = ".".join([*folder, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def dependencies(module: str) -> frozenset[str]:
    """The modules of ours that a module imports, and the top-level names of all others."""
    path = modules()[module]
    names = imported_names(path.read_text(), module, is_package=path.name == "__init__.py")
    return frozenset(_resolved(name) for name in names) - {module}


def _resolved(name: str) -> str:
    """The module that an imported name is, or is in."""
    if name.split(".")[0] not in PACKAGES:
        return name.split(".")[0]
    while name not in modules() and "." in name:
        name = name.rpartition(".")[0]
    return name


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_the_table_allows(package: str) -> None:
    allowed = (package, *MAY_IMPORT[package])
    forbidden = THIRD_PARTY_FORBIDDEN.get(package, set())
    offenders = {
        module: sorted(wrong)
        for module in modules()
        if within(module, (package,))
        and (
            wrong := {
                found
                for found in dependencies(module)
                if found in forbidden or (found.split(".")[0] in PACKAGES and not within(found, allowed))
            }
        )
    }
    assert not offenders


@pytest.mark.parametrize("package", LEVELS)
def test_rooms_import_downwards_only(package: str) -> None:
    level_of = {room: level for level, rooms in enumerate(LEVELS[package]) for room in rooms}
    rooms = {
        rest.split(".")[0]
        for module in modules()
        if (rest := module.partition(f"{package}.")[2])
        if module.startswith(f"{package}.")
    }
    assert rooms == level_of.keys(), "every room has its place in the table"
    offenders = set()
    for module in modules():
        if not module.startswith(f"{package}."):
            continue
        room = module.removeprefix(f"{package}.").split(".")[0]
        for found in dependencies(module):
            if found == package:
                offenders.add(f"{module} imports the root of {package}")
            elif found.startswith(f"{package}."):
                other = found.removeprefix(f"{package}.").split(".")[0]
                if other != room and level_of[other] <= level_of[room]:
                    offenders.add(f"{module} imports {found}")
    assert not offenders


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: dependencies(module) & modules().keys() for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(reversed(error.args[1]))}")


def test_no_module_beside_a_deployments_entry_point_hides_a_package() -> None:
    """Prefect puts the folder of an entry point first on the path when it loads a flow."""
    entry_points = re.findall(r"entrypoint: (\S+)/\w+\.py:", (ROOT / "prefect.yaml").read_text())
    assert entry_points
    names = {path.stem for folder in entry_points for path in (ROOT / folder).glob("*.py")}
    assert not names & {*PACKAGES, *sys.stdlib_module_names, "prefect", "torch", "numpy"}


def test_torch_stays_in_the_modules_of_extract_that_compute() -> None:
    computing = (
        *("clip", "tensors", "encoder", "batches", "pictures", "preprocess"),
        *("extraction", "device_process", "engine"),
    )
    allowed = {f"extract.{name}" for name in computing}
    users = {m for m in modules() if within(m, ("extract",)) and "torch" in dependencies(m)}
    assert users <= allowed


def test_every_import_statement_is_seen() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from extract.store import read_features\n"
        "def f():\n    from flows.cli import main\n    import torch.nn as nn\n"
        "from . import registry\nfrom ..layers import belief\n"
    )
    assert set(imported_names(source, "dsanet.detectors.base")) == {
        "typing.TYPE_CHECKING",
        "extract.store.read_features",
        "flows.cli.main",
        "torch.nn",
        "dsanet.detectors.registry",
        "dsanet.layers.belief",
    }
    assert set(imported_names("from . import base", "dsanet.detectors", is_package=True)) == {
        "dsanet.detectors.base"
    }
