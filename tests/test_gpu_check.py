"""`make gpu-check` without a card: its commands exist, a check has its time, and the report says what ran."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

from tests.gpu_check import MODULES, ROOT, Check, checks, gpu_tests, report

TABLE = "print('| a | b |'); print('|---|---|'); print('| 1 | 2 |')"
HIDE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *arguments):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, *arguments)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
"""A `sitecustomize` module: the packages in HIDDEN are not installed."""


def with_dependencies(package: str, found: set[str]) -> set[str]:
    """Adds the package, and what it depends on in some way, to `found`."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    if name not in found:
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            return found
        for line in lines:
            if "extra ==" not in line:
                with_dependencies(re.split(r"[^\w.-]", line)[0], found)
    return found


@pytest.mark.slow
def test_tests_and_benchmarks_need_only_the_packages_that_are_asked_for(tmp_path: Path) -> None:
    present = with_dependencies("pytest", with_dependencies("torch", {"dsanet"}))
    present |= {re.sub(r"[-_.]+", "-", package).lower() for package in MODULES.values()}
    hidden = {
        module
        for module, packages in packages_distributions().items()
        if module not in MODULES
        and not any(re.sub(r"[-_.]+", "-", package).lower() in present for package in packages)
    }
    assert {"prefect", "typer", "rich"} <= hidden
    (tmp_path / "sitecustomize.py").write_text(f"HIDDEN = {hidden!r}\n{HIDE}")
    environment = dict(os.environ, PYTHONPATH=str(tmp_path), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    commands = [
        check.arguments + (["--collect-only"] if check.title == "tests" else ["--help"])
        for check in checks("cuda")
    ]
    for arguments in {command[0]: command for command in commands}.values():
        run = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_the_commands_are_those_of_the_benchmarks(device: str) -> None:
    for check in checks(device):
        script, *arguments = check.arguments
        if script == "-m":
            assert set(gpu_tests()) <= set(arguments)
            continue
        options = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
        assert "--device" in options
        assert f"--device={device}" in arguments
        text = (ROOT / script).read_text()
        assert [option for option in options if f'"{option}"' not in text] == []


def test_everything_but_the_last_fits_into_the_time_on_a_card() -> None:
    assert sum(check.expected_s for check in checks("cuda")[:-1]) < 7 * 60 - 5


def test_a_check_that_does_not_fit_is_left_out_and_one_that_hangs_is_stopped() -> None:
    passing, failing = Check("passing", 10, ["-c", TABLE]), Check("failing", 10, ["-c", "exit('no card')"])
    hanging = Check("hanging", 0.5, ["-c", f"{TABLE}; import sys, time; sys.stdout.flush(); time.sleep(60)"])
    too_long = Check("too long", 100, ["-c", "raise SystemExit"])
    for check in (passing, failing, hanging, too_long):
        check.run_if_it_fits(dict(os.environ, PYTHONUNBUFFERED="1"), left_s=60)
    assert [check.result for check in (passing, failing, hanging, too_long)] == [
        "passed",
        "failed",
        "failed",
        "left out",
    ]
    text = report("a card", [passing, failing, hanging, too_long])
    assert "| failing | `python -c exit('no card')` | FAILED: no card |" in text
    assert "| FAILED: stopped after 1 s |" in text
    assert "| LEFT OUT: it takes about 100 s, 60 s were left | 0 |" in text
    assert "passing:\n\n| a | b |\n|---|---|\n| 1 | 2 |" in text
    assert "\nfailing:" not in text
