"""Digests of files, kept in one SQLite file, so that a file is read again only after it has changed.

The index is a cache: what it says of a file holds only while the file has the recorded size, modification
time and inode. An index that is missing, damaged, of another version or not writable costs time and changes
no result.
"""

import os
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from extract.remote.path import AnyPath, RemotePath
from extract.source import FileState

INDEX_FILE = ".index.sqlite"
SETTLED_NS = 100_000_000
"""Age of a file's last change from which its digest is remembered: a younger file can change again within the
same tick of the file system's clock."""

_VERSION = 1
_APPLICATION = 0x64736E69
_PENDING_ROWS, _PENDING_S = 2000, 5.0
_BUSY_TIMEOUT_S = 2.0
_MOST_KEPT = 500_000
"""Digests kept in memory, about 0.3 kB each: a stage asks for each several times."""
_STATE = struct.Struct("4q")
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS files (
        path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, ctime_ns INTEGER,
        sha256 BLOB, checksum INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS notes (path BLOB PRIMARY KEY, note TEXT, checksum INTEGER) WITHOUT ROWID;
    PRAGMA application_id = {_APPLICATION};
    PRAGMA user_version = {_VERSION};
"""
_FIND = "SELECT size, mtime_ns, inode, ctime_ns, sha256, checksum FROM files WHERE path = ?"
_FIND_NOTE = "SELECT note, checksum FROM notes WHERE path = ?"

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Entry:
    state: FileState
    sha256: str
    note: str


def is_settled(status: os.stat_result) -> bool:
    """True if the file's last change is so old that a later one shows in its times."""
    return time.time_ns() - status.st_ctime_ns > SETTLED_NS


class DigestIndex:
    """The index `folder/.index.sqlite`. Paths below `folder` are stored relative to it: it may be moved.

    May be used from several threads and, with turns taken by SQLite, from several processes. Rows are written
    in groups, by `flush` at the latest.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder.absolute() / INDEX_FILE
        self._base = os.fsencode(self._file.parent) + b"/"
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pending: dict[bytes, _Entry | None] = {}
        """Rows that are not written yet; None for one to be deleted."""
        self._kept = 0
        """Pending rows that could not be written; they are tried again with as many new ones."""
        self._flushed = time.monotonic()
        self._found: dict[bytes, bytes] = {}
        """State and sha256, packed, of rows that were read."""

    def __del__(self) -> None:
        self._disconnect()

    def digest(self, path: AnyPath | str, state: FileState) -> str | None:
        """The recorded sha256 of a file that still has this state."""
        key = self._key(path)
        with self._lock:
            if key in self._pending:
                entry = self._pending[key]
                return entry.sha256 if entry is not None and entry.state == state else None
            packed = _STATE.pack(*state)
            found = self._found.get(key)
            if found is not None and found.startswith(packed):
                return found[_STATE.size :].hex()
            row = self._query(lambda connection: connection.execute(_FIND, (key,)).fetchone())
            if row is None or row[:4] != state or row[5] != _checksum(key, *row[:5]):
                return None
            if len(self._found) < _MOST_KEPT:
                self._found[key] = packed + row[4]
            return str(row[4].hex())

    def has(self, path: AnyPath | str) -> bool:
        """True if the file is recorded, in whatever state."""
        key = self._key(path)
        with self._lock:
            if key in self._pending:
                return self._pending[key] is not None
            return self._query(lambda connection: connection.execute(_FIND, (key,)).fetchone()) is not None

    def note(self, path: AnyPath | str, sha256: str) -> str:
        """The text that was recorded with this content of the file, empty if there is none."""
        key = self._key(path)
        with self._lock:
            if key in self._pending:
                entry = self._pending[key]
                return entry.note if entry is not None and entry.sha256 == sha256 else ""
            row = self._query(lambda connection: connection.execute(_FIND_NOTE, (key,)).fetchone())
        return str(row[0]) if row is not None and row[1] == _checksum(key, row[0], sha256) else ""

    def remember(self, path: AnyPath | str, state: FileState, sha256: str, note: str = "") -> None:
        """Record the digest of a file in this state, and a text about its content."""
        self._put(path, _Entry(state, sha256, note))

    def forget(self, path: AnyPath | str) -> None:
        """Remove what is recorded of a file: the next use reads it."""
        with self._lock:
            self._found.pop(self._key(path), None)
            if self.has(path):
                self._put(path, None)

    def _put(self, path: AnyPath | str, entry: _Entry | None) -> None:
        with self._lock:
            key = self._key(path)
            self._pending[key] = entry
            self._found.pop(key, None)
            old = time.monotonic() - self._flushed > _PENDING_S
            if old or len(self._pending) - self._kept >= _PENDING_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write the pending rows; where that is impossible they stay in memory."""
        with self._lock:
            self._flushed = time.monotonic()
            written = self._query(self._write, create=True) if self._pending else None
            if written:
                self._pending.clear()
            self._kept = len(self._pending)

    def close(self) -> None:
        """Write the pending rows and close the file; the index can be used again afterwards."""
        with self._lock:
            self.flush()
            self._disconnect()
            self._found.clear()

    def _write(self, connection: sqlite3.Connection) -> bool:
        kept = [(key, entry) for key, entry in self._pending.items() if entry is not None]
        with connection:  # one transaction
            gone = [(key,) for key in self._pending]
            connection.executemany("DELETE FROM files WHERE path = ?", gone)
            connection.executemany("DELETE FROM notes WHERE path = ?", gone)
            connection.executemany(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", (_file_row(*pair) for pair in kept)
            )
            connection.executemany(
                "INSERT INTO notes VALUES (?, ?, ?)",
                ((key, e.note, _checksum(key, e.note, e.sha256)) for key, e in kept if e.note),
            )
        return True

    def _query(self, ask: Callable[[sqlite3.Connection], Value], *, create: bool = False) -> Value | None:
        """The answer of the database; None if there is none. A damaged database is removed."""
        for _ in range(2):
            try:
                connection = self._connect(create=create)
                return None if connection is None else ask(connection)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) and not str(error).startswith("no such"):
                    return None  # read-only, locked for long, no space, no locks on this disk
                self._disconnect()
                with suppress(OSError):
                    self._remove()
        return None

    def _connect(self, *, create: bool) -> sqlite3.Connection | None:
        if self._connection is not None:
            return self._connection
        if not self._file.is_file() and not (create and self._file.parent.is_dir()):
            return None
        connection = sqlite3.connect(self._file, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check that the file is an index of this version; a file without content becomes one."""
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (application, version, tables) == (0, 0, 0):
            connection.executescript(_SCHEMA)
        elif (application, version) != (_APPLICATION, _VERSION):
            raise sqlite3.DatabaseError("another version, or another program's file")
        connection.execute("PRAGMA synchronous = NORMAL")

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._file.with_name(INDEX_FILE + suffix).unlink(missing_ok=True)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _key(self, path: AnyPath | str) -> bytes:
        if isinstance(path, RemotePath):
            return path.address.encode()
        key = os.fsencode(path)
        if not key.startswith(b"/"):
            key = os.fsencode(Path(path).absolute())
        return key.removeprefix(self._base)


def _file_row(key: bytes, entry: _Entry) -> tuple[object, ...]:
    values = (*entry.state, bytes.fromhex(entry.sha256))
    return (key, *values, _checksum(key, *values))


def _checksum(*values: object) -> int:
    """Detects damaged rows, of which SQLite itself takes no notice."""
    return zlib.crc32(repr(values).encode())
