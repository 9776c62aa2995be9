"""The failure list, `failures.csv`: the videos of a feature folder that have no features, and the reasons.

It is also the memory of failed tries: file, settings and time of the last one, and the time of the next.
"""

import csv
import errno
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

from extract.atomic import write_atomically
from extract.display import encodable
from extract.errors import InputError
from extract.remote.path import AnyPath, RemotePath, as_path
from extract.tables import Row, read_table


@dataclass(frozen=True)
class Failure:
    """A video without features. `frame` is the first frame that could not be decoded, if known.

    The fields after it describe the last try. Lists of earlier versions do not have them.
    """

    name: str
    path: AnyPath
    reason: str
    frame: int | None = None
    size: int | None = None
    """Bytes of the file; None if there was no file."""
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    """Time of its last change, which no copying tool sets back."""
    attempts: int = 0
    """Failed tries of this file with these settings."""
    tried_at: datetime | None = None
    """In UTC, whole seconds."""
    next_at: datetime | None = None
    """Earliest time of the next try, if file and settings stay the same."""
    tried_with: str = ""
    """Digest of the settings and decoders (`extract.remembered.settings_digest`)."""


COLUMNS = tuple(field.name for field in fields(Failure))
FIRST_COLUMNS = ("name", "path", "reason", "frame")
"""The columns of earlier versions; the others are optional."""
LATER_COLUMNS = tuple(name for name in COLUMNS if name not in FIRST_COLUMNS)
LINE_END = "\r\n"


def failures_path(features_dir: Path) -> Path:
    return features_dir / "failures.csv"


def read_failures(features_dir: Path) -> list[Failure]:
    """The failure list of a feature folder; empty if there is no file.

    Raises InputError for a file without the expected columns or values.
    """
    path = failures_path(features_dir)
    if not path.is_file():
        return []
    try:
        return [_failure(row) for row in read_table(path, FIRST_COLUMNS, LATER_COLUMNS, exact=True)]
    except ValueError as error:
        raise InputError(
            f"{path} is not a failure list with the columns name,path,reason,frame; delete it, the next "
            "extraction rewrites it"
        ) from error


def write_failures(features_dir: Path, failures: Iterable[Failure]) -> None:
    """Replace the failure list atomically, sorted by name; without failures the file is removed.

    Raises OSError if the disk refuses.
    """
    path = failures_path(features_dir)
    rows = sorted(failures, key=lambda failure: failure.name)
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_atomically(path, ",".join(COLUMNS) + LINE_END + "".join(map(_csv_row, rows)))


def append_failure(features_dir: Path, failure: Failure) -> None:
    """Add one failure to the list, which a run replaces by a sorted one at its end.

    The row is kept if the process is killed afterwards. Raises OSError if the disk refuses.
    """
    path = failures_path(features_dir)
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        row = _csv_row(failure) if size else ",".join(COLUMNS) + LINE_END + _csv_row(failure)
        try:
            if file.write(row.encode()) != len(row.encode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(size)  # no half row on a full disk
            if not size:
                path.unlink()
            raise


def _csv_row(failure: Failure) -> str:
    """The row with its line end; bytes of a path that are not UTF-8 become escapes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=LINE_END).writerow(_cell(getattr(failure, name)) for name in COLUMNS)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return encodable(str(value)) if isinstance(value, str | Path | RemotePath) else value


def _failure(row: Row) -> Failure:
    """Raises ValueError for a value of the wrong type."""
    return Failure(
        name=row["name"],
        path=as_path(row["path"]),
        reason=row["reason"],
        frame=_number(row["frame"]),
        size=_number(row["size"]),
        mtime_ns=_number(row["mtime_ns"]),
        ctime_ns=_number(row["ctime_ns"]),
        attempts=_number(row["attempts"]) or 0,
        tried_at=_time(row["tried_at"]),
        next_at=_time(row["next_at"]),
        tried_with=row["tried_with"],
    )


def _number(text: str) -> int | None:
    return int(text) if text else None


def _time(text: str) -> datetime | None:
    """Raises ValueError for a time without a time zone, which could not be compared with others."""
    time = datetime.fromisoformat(text) if text else None
    if time is not None and time.tzinfo is None:
        raise InputError(f"the time {text} has no time zone")
    return time
