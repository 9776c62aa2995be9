"""Prefect's embedded server, for a process that runs flows without a server: it ends with that process.

Prefect's own class starts a server that a killed owner leaves behind, tries again without end if the server
cannot start, and gives the servers of all processes one database.
"""

import atexit
import itertools
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings

from extract.errors import InputError
from extract.file_lock import try_lock
from flows.server.home import check_writable

PROGRAM = Path(__file__).with_name("embedded_process.py")
SERVER_VARIABLES = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""As Prefect's own class sets them."""


class Database(NamedTuple):
    """A database that no other embedded server uses while `lock` is locked."""

    url: str
    lock: IO[bytes]
    log: Path


class OwnedServer(SubprocessASGIServer):
    """The embedded server of this process.

    The first call `OwnedServer()` registers the instance that Prefect finds when a flow needs a server.
    """

    def start(self, timeout: int | None = None) -> None:
        """Start the server and wait until it answers; without effect if it runs.

        Raises ValueError, in one line, if it does not start.
        """
        if self.running:
            return
        database = free_database()
        with database.lock, socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            self.server_process = _start_process(database, listener)
        self.running = True
        atexit.register(self.stop)
        try:
            self._wait_until_it_answers(database.log, timeout)
        except BaseException:
            self.stop()
            raise

    def _wait_until_it_answers(self, log: Path, timeout: int | None) -> None:
        limit = timeout or get_current_settings().server.ephemeral.startup_timeout_seconds
        deadline = time.monotonic() + limit
        with httpx.Client(timeout=limit) as client:
            while True:
                try:
                    client.get(f"{self.api_url}/health").raise_for_status()
                    return
                except httpx.HTTPError:
                    ended = self.server_process is None or self.server_process.poll() is not None
                if ended or time.monotonic() > deadline:
                    reason = "ended" if ended else f"did not answer within {limit} s"
                    raise InputError(
                        f"Prefect's embedded server {reason}; the cause in {log}: {_last_error(log)}"
                    )
                time.sleep(0.1)


def free_database() -> Database:
    """A database for one server: Prefect's own, or another while the server of another process uses that.

    Raises ValueError if Prefect's home cannot be written.
    """
    settings = get_current_settings()
    home = settings.home
    check_writable(home)
    for number in itertools.count(1):
        lock = (home / f"embedded-{number}.lock").open("ab")
        if not try_lock(lock):
            lock.close()
            continue
        url = settings.server.database.connection_url
        assert url is not None  # a setting that Prefect fills in
        path = url.get_secret_value()
        if number > 1 and path == f"sqlite+aiosqlite:///{home}/prefect.db":
            path = f"sqlite+aiosqlite:///{home}/embedded-{number}.db"
        return Database(path, lock, home / f"embedded-{number}.log")
    raise AssertionError  # count() has no end


def _start_process(database: Database, listener: socket.socket) -> "subprocess.Popen[Any]":
    """Start the server; it inherits the socket, so that no other process takes the port, and the lock."""
    environment = {
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
        **SERVER_VARIABLES,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.url,
    }
    with database.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), str(os.getpid()), str(listener.fileno())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(listener.fileno(), database.lock.fileno()),
            start_new_session=True,  # Ctrl-C stops the flow alone, which then reports its state to the server
        )


def _last_error(log: Path) -> str:
    """The last line of a log that names an error, or else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return (errors or lines or ["(empty)"])[-1]
