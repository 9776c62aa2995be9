"""Fixtures of the tests of `flows`."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.flows.tiny import tiny_footage

if TYPE_CHECKING:
    from tests.flows.commands import Dsanet


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of two training and two test clips, which no test changes."""
    return tiny_footage(tmp_path_factory.mktemp("footage") / "clips")


@pytest.fixture
def dsanet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Dsanet":
    """Run the command in this process; returns exit code, standard output and standard error."""
    # Imported here, as `Dsanet` above: a machine that runs only `make gpu-check` has no typer.
    from flows.cli import main as cli

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dsanet", *map(str, arguments)])
        monkeypatch.delenv("COLUMNS", raising=False)
        log = logging.getLogger("flows")
        handlers = log.handlers
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            log.handlers, log.propagate = handlers, True  # as before the command; caplog needs propagation
        out = capsys.readouterr()
        return code, out.out, out.err

    return run
