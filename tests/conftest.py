"""Shared by all tests: where optional shared data lies, and Prefect kept to a temporary home."""

import atexit
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.server.prefect_defaults import configure_logging, set_environment_defaults
from tests.browser import find_browser, running_browser
from tests.postgres import PostgresServer, find_binaries, running_postgres

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Before anything imports Prefect, which reads its settings once: no look-ups, the user's home untouched.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
set_environment_defaults()
configure_logging(debug=False)
logging.getLogger("flows").propagate = True  # for caplog

# A shell that starts pytest in the background with `&` sets SIGINT to ignored, and child processes inherit
# it. A Python handler is reset to the default action in them, so that tests can interrupt the commands they
# start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real annotations and footage; the test skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the project: real annotations and footage are not at hand")
    return SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; the test skips where none is installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a Prefect server that is not there: a port is bound, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/api"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium; the test skips where none is installed."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    found = find_browser()
    if found is None:
        pytest.skip("chromium and chromedriver (Debian: chromium-driver) are not installed")
    with running_browser(*found, tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """The browser for one test. A page left open would go on drawing: Prefect's UI takes a whole core."""
    yield chromium
    chromium.get("about:blank")
