"""The library's database: SQLite in the workspace, or PostgreSQL by URL; migrated when it is opened."""

import os
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from extract.errors import InputError

URL_VARIABLE = "DSANET_LIBRARY_URL"
FILE_NAME = "library.db"
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
BUSY_TIMEOUT_S = 60
_MIGRATION_LOCK = 0x64_73_61_6E_65_74  # PostgreSQL advisory lock: "dsanet" in ASCII


def database_url(root: Path, setting: str = "") -> URL:
    """URL of the library of the workspace `root`: DSANET_LIBRARY_URL, else `setting`, else `root/library.db`.

    Raises ValueError for anything but a URL of SQLite or PostgreSQL; the message has no password.
    """
    given = os.environ.get(URL_VARIABLE) or setting
    if not given:
        return URL.create("sqlite", database=str(root / FILE_NAME))
    try:
        url = make_url(given)
    except ArgumentError:
        raise InputError(
            f"{URL_VARIABLE} (or retrain.library) is not a database URL; "
            "expected for example postgresql://user@host/database"
        ) from None
    url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"the library needs sqlite or postgresql, not {url.get_backend_name()}")
    return url


def open_database(url: URL) -> Engine:
    """Connect to the database and create or migrate its tables.

    Raises ValueError if the database cannot be opened or a later version of dsanet has migrated it.
    """
    sqlite = url.get_backend_name() == "sqlite"
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_S} if sqlite else {"connect_timeout": 10}
    )
    if sqlite:
        _begin_transactions_immediately(engine)
    try:
        with engine.begin() as connection:
            _migrate(connection)
    except DBAPIError as error:
        engine.dispose()
        reason = str(error.orig).strip().splitlines()[0]
        raise InputError(f"the library at {url.render_as_string()} cannot be opened: {reason}") from None
    except CommandError as error:
        engine.dispose()
        raise InputError(
            f"the library at {url.render_as_string()} was made by a later version of dsanet ({error}); "
            "upgrade dsanet"
        ) from None
    return engine


def _migrate(connection: Connection) -> None:
    """Apply the missing migrations in the connection's transaction; other processes wait for it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    config = Config(attributes={"connection": connection})
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    command.upgrade(config, "head")


def _begin_transactions_immediately(engine: Engine) -> None:
    """Begin every SQLite transaction with BEGIN IMMEDIATE, instead of leaving it to Python's driver.

    The driver begins late and excludes table changes, so that a migration would not be atomic. IMMEDIATE
    takes the write lock at the start: a transaction waits there instead of failing in the middle.
    """

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
