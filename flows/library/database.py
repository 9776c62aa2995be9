"""The library's database: SQLite in the workspace, or PostgreSQL by URL; migrated when it is opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from extract.errors import InputError

URL_VARIABLE = "DSANET_LIBRARY_URL"
FILE_NAME = "library.db"
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
BUSY_TIMEOUT_S = 60
_MIGRATION_LOCK = 0x64_73_61_6E_65_74  # PostgreSQL advisory lock: "dsanet" in ASCII
_WRITE_LOCK = _MIGRATION_LOCK + 1
_POSTGRES_OPTIONS = {
    "connect_timeout": 10,
    # A server that vanishes without a word is noticed after a minute and a half, not after hours.
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 90_000,
}
_NOT_ALLOWED = ("42501", "25006")
"""PostgreSQL's codes for a missing permission, and for writing to a server that only reads."""


class LibraryError(InputError):
    """The database of the library does not answer, or refuses."""


def database_url(root: Path, setting: str = "") -> URL:
    """URL of the library of the workspace `root`: DSANET_LIBRARY_URL, else `setting`, else `root/library.db`.

    Raises ValueError for anything but a URL of SQLite or PostgreSQL; the message has no password.
    """
    given = os.environ.get(URL_VARIABLE) or setting
    return _parsed(given) if given else _own_file(root)


def file_and_database(root: Path, setting: str = "") -> tuple[URL, URL]:
    """URLs of `root/library.db` and of the database that takes its place. InputError if none is named."""
    if is_own_file(setting):
        raise InputError(
            f"no other database is named; set {URL_VARIABLE}, for example to postgresql://user@host/database"
        )
    return _own_file(root), database_url(root, setting)


def _own_file(root: Path) -> URL:
    return URL.create("sqlite", database=str(root / FILE_NAME))


def _parsed(given: str) -> URL:
    try:
        url = make_url(given)
    except ArgumentError:
        raise InputError(
            f"{URL_VARIABLE} (or retrain.library) is not a database URL; "
            "expected for example postgresql://user@host/database"
        ) from None
    if url.get_backend_name() not in DRIVERS:
        raise InputError(f"the library needs sqlite or postgresql, not {url.get_backend_name()}")
    return url.set(drivername=DRIVERS[url.get_backend_name()])


def is_own_file(setting: str = "") -> bool:
    """True if the library is a file in the workspace."""
    return not (os.environ.get(URL_VARIABLE) or setting)


def open_database(url: URL) -> Engine:
    """Connect to the database and create or migrate its tables.

    Raises ValueError if the database cannot be opened or a later version of dsanet has migrated it.
    """
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            _migrate(connection)
    except (DBAPIError, TypeError) as error:  # TypeError: an option of the URL that the driver does not know
        engine.dispose()
        raise InputError(
            f"the library at {shown(url)} cannot be opened: {_reason(getattr(error, 'orig', error), url)}"
        ) from None
    except CommandError as error:
        engine.dispose()
        raise InputError(
            f"the library at {shown(url)} was made by a later version of dsanet ({error}); upgrade dsanet"
        ) from None
    return engine


def shown(url: URL) -> str:
    """The URL for messages: without password, and without options, which may have one too."""
    return url.set(query={}).render_as_string(hide_password=True)


@contextmanager
def plain_errors(engine: Engine) -> Iterator[None]:
    """Raise LibraryError, one line without password, for what PostgreSQL's server or the network causes."""
    try:
        yield
    except DBAPIError as error:
        where = shown(engine.url)
        reason = _reason(error.orig, engine.url)
        if engine.dialect.name != "postgresql":  # the command line knows SQLite's errors
            raise
        if isinstance(error, DataError) or getattr(error.orig, "sqlstate", None) in _NOT_ALLOWED:
            raise LibraryError(f"the library at {where} refuses a change: {reason}") from None
        if not isinstance(error, OperationalError | InterfaceError):
            raise
        raise LibraryError(
            f"the library at {where} does not answer any more: {reason}; start the command again when it "
            "does, finished work is kept"
        ) from None


def lock_writers(session: Session) -> None:
    """Let other writers wait until the session's transaction ends, as they do in SQLite."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITE_LOCK})


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
        _begin_transactions_immediately(engine)
        return engine
    options = {name: value for name, value in _POSTGRES_OPTIONS.items() if name not in url.query}
    # pre_ping: between two uses may lie hours of computing, in which a connection can be lost.
    return create_engine(url, connect_args=options, pool_pre_ping=True, hide_parameters=True)


def _reason(error: object, url: URL) -> str:
    """The first line of a driver's error."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    secrets = [url.password, *(value for name, value in url.query.items() if "password" in name)]
    for secret in filter(None, secrets):
        reason = reason.replace(str(secret), "***")
    return reason


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
