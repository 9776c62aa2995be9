"""The library's database: SQLite in the workspace, or PostgreSQL by URL; brought up to date when opened."""

import os
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

URL_VARIABLE = "DSANET_LIBRARY_URL"
FILE_NAME = "library.db"
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
BUSY_TIMEOUT_S = 60
_MIGRATION_LOCK = 0x64_73_61_6E_65_74  # any number that is nobody else's


def database_url(root: Path, setting: str = "") -> URL:
    """Where the library of the workspace `root` is: the environment's word, the setting's, or its own file.

    Raises ValueError for what is no URL of SQLite or PostgreSQL; passwords are never shown.
    """
    given = os.environ.get(URL_VARIABLE) or setting
    if not given:
        return URL.create("sqlite", database=str(root / FILE_NAME))
    try:
        url = make_url(given)
    except ArgumentError:
        raise ValueError(
            f"{URL_VARIABLE} (or retrain.library) is no database URL; "
            "expected for example postgresql://user@host/database"
        ) from None
    url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"the library can be in sqlite or postgresql, not in {url.get_backend_name()}")
    return url


def open_database(url: URL) -> Engine:
    """An engine on a database whose tables are those of this version.

    Raises ValueError where it can't be reached or was written by a later version.
    """
    sqlite = url.get_backend_name() == "sqlite"
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_S} if sqlite else {"connect_timeout": 10}
    )
    if sqlite:
        _make_transactions_whole(engine)
    try:
        with engine.begin() as connection:
            _migrate(connection)
    except DBAPIError as error:
        engine.dispose()
        reason = str(error.orig).strip().splitlines()[0]
        raise ValueError(f"the library at {url.render_as_string()} can't be opened: {reason}") from None
    except CommandError as error:
        engine.dispose()
        raise ValueError(
            f"the library at {url.render_as_string()} is of a later version of dsanet ({error})"
        ) from None
    return engine


def _migrate(connection: Connection) -> None:
    """Apply the migrations that are missing, in the connection's transaction; one process at a time."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    config = Config(attributes={"connection": connection})
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    command.upgrade(config, "head")


def _make_transactions_whole(engine: Engine) -> None:
    """Python's driver begins a transaction late and leaves table changes out of it: it shall not begin any.

    Each one takes the write lock at once, so that none fails half-way because another has written meanwhile.
    """

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
