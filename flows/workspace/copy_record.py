"""The record of a working copy: which object and which local file were equal at the last synchronisation.

It is one SQLite file in the copy. A missing or damaged record costs comparisons and downloads, no data.
"""

import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from extract.remote.store import ObjectState

RECORD_FILE = ".store.sqlite"
_VERSION = 1
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS files (
        key TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, tag TEXT,
        local_size INTEGER, local_mtime_ns INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tokens (token TEXT PRIMARY KEY);
    PRAGMA user_version = {_VERSION};
"""


class LocalState(NamedTuple):
    """Equal as long as a file has not been written again."""

    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """An object and a local file with the same content."""

    remote: ObjectState
    local: LocalState


class CopyRecord:
    """The entries by key, in memory and in the file. May be used from several threads of one process."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / RECORD_FILE
        self._lock = threading.Lock()
        self._connection = self._open()
        self._entries: dict[str, Entry] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file, which other processes of this machine may have written."""
        query = "SELECT key, size, mtime_ns, tag, local_size, local_mtime_ns FROM files"
        with self._lock:
            rows = self._connection.execute(query).fetchall()
            self._entries = {
                key: Entry(ObjectState(size, mtime_ns, tag), LocalState(local_size, local_mtime_ns))
                for key, size, mtime_ns, tag, local_size, local_mtime_ns in rows
            }

    def entries(self) -> dict[str, Entry]:
        """A copy of all entries."""
        with self._lock:
            return dict(self._entries)

    def put(self, key: str, entry: Entry) -> None:
        """Record that an object and its file are equal."""
        with self._lock, self._connection:
            self._entries[key] = entry
            row = (key, entry.remote.size, entry.remote.mtime_ns, entry.remote.tag, *entry.local)
            self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def remove(self, key: str) -> None:
        """Record that there is neither the object nor the file."""
        with self._lock, self._connection:
            self._entries.pop(key, None)
            self._connection.execute("DELETE FROM files WHERE key = ?", (key,))

    @property
    def tokens(self) -> set[str]:
        """Tokens of the locks that processes of this copy have held, or have tried to get, last."""
        with self._lock:
            return {token for (token,) in self._connection.execute("SELECT token FROM tokens")}

    @tokens.setter
    def tokens(self, tokens: Iterable[str]) -> None:
        with self._lock, self._connection:
            self._connection.execute("DELETE FROM tokens")
            self._connection.executemany("INSERT INTO tokens VALUES (?)", [(token,) for token in tokens])

    def _open(self) -> sqlite3.Connection:
        try:
            return self._prepared()
        except sqlite3.OperationalError:  # no space, no rights
            raise
        except sqlite3.DatabaseError:  # damaged, or of another version
            self._file.unlink(missing_ok=True)
            return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=60, check_same_thread=False)
        try:
            # What a power failure takes back is found again by comparing.
            connection.execute("PRAGMA synchronous = OFF")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(_SCHEMA)
            elif version != _VERSION:
                raise sqlite3.DatabaseError("another version")
            connection.execute("SELECT count(*) FROM files").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection
