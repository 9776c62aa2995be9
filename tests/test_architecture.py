"""The import table of the four packages: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "extract": {"dsanet", "evaluate", "flows", "prefect"},
    "evaluate": {"torch", "torchvision", "open_clip", "extract", "dsanet", "flows", "prefect"},
    "dsanet": {"flows", "prefect"},
}


def imported_packages(source: str) -> set[str]:
    """Top-level names that a module imports, anywhere in it (function bodies too)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_only_what_the_table_allows(package: str) -> None:
    offenders = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in (ROOT / package).rglob("*.py")
        if (found := imported_packages(path.read_text()) & FORBIDDEN[package])
    }
    assert not offenders


def test_torch_stays_in_the_modules_of_extract_that_compute() -> None:
    allowed = {"clip.py", "encoder.py", "preprocess.py", "engine.py"}
    users = {p.name for p in (ROOT / "extract").rglob("*.py") if "torch" in imported_packages(p.read_text())}
    assert users <= allowed


def test_the_walk_sees_imports_inside_functions() -> None:
    assert imported_packages("def f():\n    from flows.cli.main import main\n    import torch.nn as nn") == {
        "flows",
        "torch",
    }
