"""Opening the library, and its transactions: each call is one, unless `transaction` combines several."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session
from typing_extensions import Self

from flows.library.database import database_url, lock_writers, open_database, plain_errors


class Transactions:
    """The database of a library and its open transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._current: Session | None = None

    @classmethod
    @contextmanager
    def open(cls, root: Path, setting: str = "") -> Iterator[Self]:
        """Open the library of the workspace `root`; a missing one is created, an older one migrated.

        `setting` is a database URL; DSANET_LIBRARY_URL replaces it. Raises ValueError for a database that
        cannot be used.
        """
        root.mkdir(parents=True, exist_ok=True)
        engine = open_database(database_url(root, setting))
        try:
            yield cls(engine)
        finally:
            engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the calls inside one transaction. Other processes wait for it: keep it short.

        Raises LibraryError if PostgreSQL does not answer any more.
        """
        with self._new_session() as session:
            lock_writers(session)
            self._current = session
            try:
                yield
            finally:
                self._current = None

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """The open transaction, else a new one. Raises as `transaction`."""
        if self._current is not None:
            yield self._current
            return
        with self._new_session() as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """`_session` for changes, which processes make in turn."""
        with self._session() as session:
            lock_writers(session)
            yield session

    @contextmanager
    def _new_session(self) -> Iterator[Session]:
        with plain_errors(self._engine), Session(self._engine) as session, session.begin():
            yield session
