"""Another project's package in the place of one of ours: the command ends with one line that names it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dsanet.__main__ import EXPORTS

PROJECT = Path(__file__).parents[2]
FOREIGN = "__version__ = '0.4.3'\nfrom .loading import load\n"


def run_dsanet(*python_path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`dsanet --help` with these folders first on the import path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, python_path))}
    command = [sys.executable, "-m", "dsanet", "--help"]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)


def assert_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("dsanet: ")
    assert all(part in line for part in (*parts, "environment of its own (python -m venv"))


@pytest.mark.parametrize("package", sorted(set(EXPORTS) - {"dsanet"}))
@pytest.mark.parametrize("form", ["package", "module", "folder"])
def test_a_foreign_package_is_named_with_its_place(package: str, form: str, tmp_path: Path) -> None:
    place = tmp_path / "site" / (f"{package}.py" if form == "module" else package)
    if form == "module":
        place.parent.mkdir()
        place.write_text(FOREIGN)
    else:
        place.mkdir(parents=True)
        (place / ("__init__.py" if form == "package" else "loading.py")).write_text(FOREIGN)
    # A folder without `__init__.py` hides an editable installation, but no package further on the path.
    path = [place.parent] if form == "folder" else [place.parent, PROJECT]
    if form == "folder" and not _is_editable():
        pytest.skip("dsanet is not installed in editable mode here")
    assert_refused(run_dsanet(*path, cwd=tmp_path), f"`{package}` at {place} ", str(PROJECT / package))


def _is_editable() -> bool:
    """True if the packages are found by an import hook and not by the import path."""
    script = "import sys, extract; print(any('__editable__' in name for name in sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    return shown.stdout.strip() == "True"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The packages as a wheel installs them."""
    folder = tmp_path / "site-packages"
    for package in EXPORTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / package, folder / package, ignore=ignored)
    return folder


@pytest.mark.parametrize("package", EXPORTS)
def test_a_package_that_another_project_has_overwritten_is_named(
    package: str, site: Path, tmp_path: Path
) -> None:
    (site / package / "__init__.py").write_text("__version__ = '0.4.3'\n")
    assert_refused(run_dsanet(site, cwd=tmp_path), "overwritten", f"`{package}` at {site / package}")


def test_without_foreign_packages_the_command_starts(site: Path, tmp_path: Path) -> None:
    done = run_dsanet(site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage: python -m dsanet" in done.stdout
