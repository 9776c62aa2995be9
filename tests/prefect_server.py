"""A real Prefect server for tests, in a separate process, on a free port of 127.0.0.1."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import free_port

START_TIMEOUT_S = 180  # includes the creation of the database
STOP_TIMEOUT_S = 30
PREFECT = [sys.executable, "-m", "prefect"]


@contextmanager
def running_server(home: Path, *, entrypoint: Path | None = None, **settings: str) -> Iterator[str]:
    """Start a server with its files in `home`; yields the URL of its API.

    `settings` are environment variables of Prefect; `entrypoint` is a script that starts the server command.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PREFECT_HOME": str(home), **settings}
    prefix = [sys.executable, str(entrypoint)] if entrypoint else []
    command = [*prefix, *PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_answers(f"{url}/health", process, home / "server.log")
        yield url
    finally:
        stop(process)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises RuntimeError with the log if the process ends or does not answer in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{url} does not answer: {log.read_text()}") from error
        time.sleep(0.2)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process by SIGTERM, or by SIGKILL if that takes too long."""
    process.terminate()
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
