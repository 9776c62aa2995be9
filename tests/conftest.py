"""Fixtures of all tests; Prefect and MLflow are configured before anything imports them."""

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
from tests.object_store import bucket as bucket
from tests.object_store import s3 as s3
from tests.object_store import store_requests as store_requests
from tests.ray_nodes import _cluster as _cluster
from tests.ray_nodes import ray_nodes as ray_nodes

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Prefect reads its settings when it is imported. Its files go to a temporary folder, not to the user's home.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
set_environment_defaults()
configure_logging(debug=False)
for package in ("flows", "dsanet", "extract"):
    logging.getLogger(package).propagate = True  # for caplog

# A shell that starts pytest in the background with `&` sets SIGINT to ignored, and child processes inherit
# it. A Python handler is reset to the default action in them, so that tests can interrupt the commands they
# start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real annotations and footage; the test is skipped if it is missing."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared with real annotations and footage")
    return SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server; the test is skipped if PostgreSQL is not installed."""
    # Imported here: psycopg is missing on a machine that runs only `make gpu-check`.
    from tests.postgres import find_binaries, running_postgres

    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture
def absent_server() -> Iterator[str]:
    """API URL of a Prefect server that does not run: the port is bound, but nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/api"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium; the test is skipped if it is not installed."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    found = find_browser()
    if found is None:
        pytest.skip("chromium and chromedriver (Debian: chromium-driver) are not installed")
    with running_browser(*found, tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """The browser for one test. The page is closed afterwards: Prefect's UI uses a whole core while open."""
    yield chromium
    chromium.get("about:blank")
