"""The failure list, `failures.csv`: the videos of a feature folder that have no features, and the reasons."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from extract.atomic import write_atomically
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
    rows = [asdict(failure) for failure in sorted(failures, key=lambda failure: failure.name)]
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _frame_number(text: str) -> int | None:
    return int(text) if text else None
