"""Copying a library from one database to another, for example from SQLite to PostgreSQL.

The copy is one transaction of the target: it is complete or not there. Row numbers stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, Integer, Table, func, insert, select, text
from sqlalchemy.orm import Session

from extract.errors import InputError, MissingFileError
from flows.library.database import lock_writers, open_database, plain_errors, shown
from flows.library.tables import Base

ROWS_AT_ONCE = 5000

Progress = Callable[[str, int, int], object]
"""Called with the name of a table, the rows copied and the rows to copy."""


def copy_library(source: URL, target: URL, on_progress: Progress | None = None) -> dict[str, int]:
    """Copy all rows into an empty database; returns their number by table. Writers wait until the end.

    Raises InputError if the target holds a library already, or a database cannot be opened or refuses.
    """
    if source == target:
        raise InputError(f"the library is at {shown(target)} already; name another database")
    if source.get_backend_name() == "sqlite" and not Path(source.database or "").is_file():
        raise MissingFileError(f"no library {source.database} to copy")
    with (
        _opened(source) as reading,
        _opened(target) as writing,
        _snapshot(reading) as rows,
        plain_errors(writing),
        writing.begin() as connection,
    ):
        _check_empty(connection, target)
        expected = _counts(rows)
        for table in Base.metadata.sorted_tables:
            _copy_table(table, rows, connection, expected[table.name], on_progress)
        _continue_numbering(connection)
        copied = _counts(connection)
        if copied != expected:
            raise RuntimeError(f"{expected} rows were to be copied, the target has {copied}")
    return copied


@contextmanager
def _opened(url: URL) -> Iterator[Engine]:
    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the database, which nobody changes meanwhile."""
    level = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with plain_errors(engine), engine.execution_options(**level).connect() as connection, connection.begin():
        lock_writers(Session(connection))
        yield connection


def _check_empty(connection: Connection, target: URL) -> None:
    for table, count in _counts(connection).items():
        if count:
            raise InputError(
                f"the database {shown(target)} holds a library already ({count:,} rows in {table}); "
                "give an empty one"
            )


def _counts(connection: Connection) -> dict[str, int]:
    counts = {}
    for table in Base.metadata.sorted_tables:
        counts[table.name] = connection.scalar(select(func.count()).select_from(table)) or 0
    return counts


def _copy_table(
    table: Table, source: Connection, target: Connection, total: int, on_progress: Progress | None
) -> None:
    streamed = source.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE)
    done = 0
    for page in streamed.execute(select(table)).mappings().partitions(ROWS_AT_ONCE):
        target.execute(insert(table), [dict(row) for row in page])
        done += len(page)
        if on_progress is not None:
            on_progress(table.name, done, total)


def _continue_numbering(connection: Connection) -> None:
    """Let PostgreSQL number new rows behind those that were copied; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in Base.metadata.sorted_tables:
        if "id" in table.columns and isinstance(table.columns["id"].type, Integer):
            highest = connection.scalar(select(func.max(table.columns["id"])))
            if highest is not None:
                connection.execute(
                    text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :highest)"),
                    {"name": table.name, "highest": highest},
                )
