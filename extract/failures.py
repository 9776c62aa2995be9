"""The failure list, `failures.csv`: the videos of a feature folder that have no features, and the reasons."""

import csv
import errno
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from extract.atomic import write_atomically
from extract.display import encodable
from extract.errors import InputError
from extract.tables import read_table


@dataclass(frozen=True)
class Failure:
    """A video without features. `frame` is the first frame that could not be decoded, if known."""

    name: str
    path: Path
    reason: str
    frame: int | None = None


COLUMNS = tuple(field.name for field in fields(Failure))
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
        return [
            Failure(row["name"], Path(row["path"]), row["reason"], _frame_number(row["frame"]))
            for row in read_table(path, COLUMNS, exact=True)
        ]
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
    values = (failure.name, str(failure.path), failure.reason, failure.frame)
    csv.writer(text, lineterminator=LINE_END).writerow(
        encodable(value) if isinstance(value, str) else value for value in values
    )
    return text.getvalue()


def _frame_number(text: str) -> int | None:
    return int(text) if text else None
