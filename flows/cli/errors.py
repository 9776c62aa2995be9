"""The end of a command by an exception: one line for what the user can mend, else a bug report."""

import errno
import os
import platform
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from extract.display import NOT_UTF8, encodable
from extract.errors import InputError

INVALID_INPUT, BUG = 2, 1
"""Exit codes."""
_PLACES = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)
_DISKS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
_DATABASE_FILES = ("is full", "readonly database", "unable to open database file", "disk I/O error", "locked")


def end(error: Exception) -> int:
    """Print what happened on standard error; returns the exit code."""
    message = line_for_user(error)
    if message is not None:
        print(f"dsanet: {message}", file=sys.stderr)
        return INVALID_INPUT
    print(f"dsanet: {_bug_line(error)}", file=sys.stderr)
    return BUG


def line_for_user(error: Exception) -> str | None:
    """The line for an error that the user can mend; None for a bug."""
    if isinstance(error, InputError):
        return _one_line(error)
    if isinstance(error, OSError) and (isinstance(error, _PLACES) or error.errno in _DISKS):
        where = "" if error.filename is None else f": {os.fspath(error.filename)!s}"
        return f"{error.strerror or _one_line(error)}{where}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; give less at once (train.batch_size, infer.batch_size, runtime.batch_size)"
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        given = encodable(str(error.object)[max(error.start - 60, 0) : error.end + 60])
        return f"{given}: {NOT_UTF8}"
    database = getattr(error, "orig", error)  # SQLAlchemy's errors hold the driver's
    if isinstance(database, sqlite3.OperationalError) and any(
        words in str(database) for words in _DATABASE_FILES
    ):
        return f"a database file cannot be used: {_one_line(database)}"
    return None


def _bug_line(error: Exception) -> str:
    what = f"{type(error).__name__}: {_one_line(error)}".removesuffix(": ")
    log = _write_log(error)
    if log is None:
        traceback.print_exception(error)
        return f"this is a bug in dsanet: {what}"
    return f"this is a bug in dsanet: {what}; please report it with {log}"


def _write_log(error: Exception) -> Path | None:
    """Write the traceback to a new file; None if it can be written nowhere."""
    command = " ".join(sys.argv)
    text = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}\n{command}\n{_versions()}\n\n"
    text += "".join(traceback.format_exception(error))
    for folder in _log_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(".log", f"{datetime.now():%Y%m%d-%H%M%S}-", folder)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return Path(name)
    return None


def _log_folders() -> Iterator[Path]:
    with suppress(RuntimeError):  # the user has no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsanet" / "errors"
    yield Path(tempfile.gettempdir())


def _versions() -> str:
    try:
        own = version("dsanet")
    except PackageNotFoundError:  # run from a checkout
        own = "(not installed)"
    return f"dsanet {own}, Python {platform.python_version()}, {platform.platform()}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
