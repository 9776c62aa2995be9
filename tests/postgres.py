"""A real PostgreSQL server for tests, in a temporary folder, on a free port and with a random password.

PostgreSQL refuses to run as root. If the tests run as root, the server runs as the user `postgres`, else
`nobody`.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL

START_TIMEOUT_S = STOP_TIMEOUT_S = 60
PASSWORD_FILE = "password"
USER = "postgres"


@dataclass(frozen=True)
class PostgresServer:
    """A running server; each test asks it for a new database."""

    port: int
    password: str
    _numbers: Iterator[int] = field(default_factory=count)

    def new_database(self, driver: str | None = None) -> str:
        """URL of a new, empty database; `driver` is SQLAlchemy's name of the driver: psycopg, asyncpg."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name, driver)

    def url(self, database: str, driver: str | None = None) -> str:
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        url = URL.create(scheme, USER, self.password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)


def find_binaries() -> Path | None:
    """Folder of `initdb` and `postgres`: Debian's newest version, else the one in PATH, else None."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    found = packaged[-1] if packaged else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def running_postgres(binaries: Path) -> Iterator[PostgresServer]:
    """Start a server in a temporary folder; stop it and remove the folder at the end."""
    server = PostgresServer(free_port(), f"{secrets.token_hex(16)}@/:%")  # characters that a URL has to quote
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's folder may be readable for root only
    try:
        (folder / PASSWORD_FILE).write_text(server.password)
        account = _account()
        for path in (folder, folder / PASSWORD_FILE):
            if account:
                os.chown(path, account["user"], account["group"])
        _initialise(binaries, folder, account)
        with _serving(binaries, folder, server, account):
            yield server
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _account() -> dict[str, Any]:
    """Options of subprocess that start a child as another user, if this process runs as root."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _initialise(binaries: Path, folder: Path, account: dict[str, Any]) -> None:
    options = [f"--username={USER}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
    command = [binaries / "initdb", "-D", folder / "data", f"--pwfile={folder / PASSWORD_FILE}", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **account)
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stderr.strip()}")


@contextmanager
def _serving(binaries: Path, folder: Path, server: PostgresServer, account: dict[str, Any]) -> Iterator[None]:
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [binaries / "postgres", "-D", folder / "data", "-p", str(server.port), *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **account)
    try:
        _wait_until_it_answers(server, process, folder / "log")
        yield
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's "fast shutdown", which disconnects clients
        process.wait(timeout=STOP_TIMEOUT_S)


def _wait_until_it_answers(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(server.url("postgres")).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from error
        time.sleep(0.1)
