"""Reader of the CSV files and lists that users write, as editors and spreadsheets save them.

Accepted, because unambiguous: UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one; commas,
semicolons or tabs; headings in any case, with spaces or hyphens for `_`; any line ends; blank rows. Anything
else is an error of one line with the file and the line as an editor counts it. Code pages are refused: the
bytes do not say which one they are in, and a wrong guess changes file names silently.

Standard library only, so that every package can use it (`evaluate` included).
"""

import codecs
import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.errors import InputError, MissingFileError
from extract.remote.path import AnyPath, RemotePath, as_path
from extract.remote.store import is_remote

FOLDER_SUFFIX = ".folder"
DELIMITERS = (",", ";", "\t")
_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_HEAD_BYTES = 1 << 16
_SAVE_AS_UTF8 = "save the file as UTF-8 (in a spreadsheet: `CSV UTF-8`)"


@dataclass(frozen=True)
class Row:
    """One row of a table that is not blank."""

    where: str
    """File and line of the row, `videos.csv, line 12`: the beginning of a message about it."""
    line: int
    """Line of the file in which the row begins, counted from 1 as an editor does."""
    values: dict[str, str]
    """Text by column, all columns of the file included, without the spaces around it.

    Empty for a value that is not there in a required or optional column.
    """

    def __getitem__(self, column: str) -> str:
        return self.values[column]


def read_table(
    path: AnyPath, required: Sequence[str], optional: Sequence[str] = (), *, exact: bool = False
) -> list[Row]:
    """The rows of a CSV file with these columns, without the blank ones.

    A row may be shorter than the headings where only optional columns are missing.

    Args:
        path: The file; its first line that is not blank has the headings.
        required: Columns that must be there, in lower case with `_` between words.
        optional: Columns that may be missing; their values are then empty.
        exact: Keep values and headings as they are: for files that dsanet itself writes.

    Raises:
        MissingFileError: There is no file.
        InputError: The file cannot be read as text, lacks a column or has one twice, has quotes that do not
            match, or a row with too many or too few values.
    """
    text, delimiters = _without_hint(read_text(path))
    table = _with_columns(path, text, delimiters, required, exact)
    table.refuse_repeated((*required, *optional))
    return list(table.rows(required, optional))


def listed_path(folder: AnyPath, text: str) -> AnyPath:
    """A path that a table names, relative to `folder`; `\\` counts as `/` where no file has that name.

    An address is an object in a store, in whatever folder the table is. Raises InputError for an invalid one.
    """
    if is_remote(text):
        return as_path(text)
    if text.startswith("/"):
        folder = Path("/")  # on this machine, even if the table is not
    path = folder / text
    return path if "\\" not in text or path.exists() else folder / text.replace("\\", "/")


def list_folder(path: AnyPath) -> AnyPath:
    """The folder that relative paths in a list count from: its own, or of a copy that of the original.

    A copy in an object store's workspace has a file beside it that says it.
    """
    if isinstance(path, Path) and (named := path.with_name(path.name + FOLDER_SUFFIX)).is_file():
        return as_path(named.read_text(encoding="utf-8").removesuffix("\n"))
    return path.parent


def stored_path(folder: AnyPath, path: AnyPath) -> str:
    """The path as a table in `folder` names it: relative to it for files below it. Both are resolved."""
    if isinstance(path, Path) and isinstance(folder, Path) and path.is_relative_to(folder):
        path = path.relative_to(folder)
    return path.as_posix()


def path_resolver() -> Callable[[AnyPath], AnyPath]:
    """A function like `Path.resolve` for many files in few folders: each folder is resolved once."""
    folders: dict[str, str] = {}

    def resolve(path: AnyPath) -> AnyPath:
        if not isinstance(path, Path):
            return path
        folder, name = os.path.split(path)
        if name in ("", "..") or path.is_symlink():
            return path.resolve()
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return path if folders[folder] == folder else Path(folders[folder], name)

    return resolve


def read_lines(path: AnyPath) -> list[tuple[str, str]]:
    """Location (`list.txt, line 3`) and text of each line that is not blank, without the spaces around it.

    Raises MissingFileError without a file, and InputError for one that cannot be read as text.
    """
    lines = io.StringIO(read_text(path), newline="")
    return [
        (_where(path, number), line.strip()) for number, line in enumerate(lines, start=1) if line.strip()
    ]


def read_text(path: AnyPath) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Raises MissingFileError without a file, and InputError, naming the line, for one in another encoding.
    """
    if not path.is_file():
        raise MissingFileError(f"no file {path}; expected a text file")
    try:
        with io.BytesIO(path.read_bytes()) if isinstance(path, RemotePath) else path.open("rb") as file:
            data = file.read(_HEAD_BYTES)
            encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
            if encoding.startswith("utf-8"):
                _refuse_nul(path, data)  # at once: the file may be a video of many gigabytes
            data += file.read()
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = _lines_begun(error.object[: error.start].decode(encoding, errors="ignore"))
        raise InputError(
            f"{_where(path, line)}: not {encoding.removesuffix('-sig').upper()} "
            f"(byte 0x{error.object[error.start]:02X}); {_SAVE_AS_UTF8}"
        ) from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}; check its permissions") from error
    _refuse_nul(path, text.encode(errors="replace"))
    return text


def _where(path: AnyPath, line: int) -> str:
    return f"{path}, line {line}"


def _refuse_nul(path: AnyPath, data: bytes) -> None:
    position = data.find(b"\0")
    if position >= 0:
        line = _lines_begun(data[:position].decode(errors="ignore"))
        raise InputError(f"{_where(path, line)}: a NUL byte, so this is no text in UTF-8; {_SAVE_AS_UTF8}")


def _lines_begun(text: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", text)) + 1


def _without_hint(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without the text of a first line `sep=;`, and the delimiters to try.

    Spreadsheets write and obey such a line; it is left blank, so that the other lines keep their numbers.
    """
    hint = re.match(r'"?sep=([,;\t])"?(?=[\r\n])', text)
    return (text[hint.end() :], (hint[1],)) if hint else (text, DELIMITERS)


def _with_columns(
    path: AnyPath, text: str, delimiters: Sequence[str], required: Sequence[str], exact: bool
) -> "_Table":
    """The table read with the delimiter that gives the required columns."""
    columns: list[str] = []
    problems: list[InputError] = []
    for delimiter in delimiters:
        try:
            table = _Table.begin(path, text, delimiter, exact)
        except InputError as error:  # quoted headings, split at another delimiter than theirs
            problems.append(error)
            continue
        if set(required) <= set(table.columns):
            return table
        columns = max(columns, table.columns, key=len)
    if problems and len(columns) <= 1:
        raise problems[0]
    raise InputError(_missing_columns(path, columns, required))


def _missing_columns(path: AnyPath, columns: Sequence[str], required: Sequence[str]) -> str:
    expected = f"expected the columns {', '.join(required)}, separated by commas, in the first line"
    if not columns:
        return f"{path} is empty; {expected}"
    missing = ", ".join(name for name in required if name not in columns)
    found = ", ".join(columns)
    return f"{path}: no column {missing} among {found[:80]!r}; {expected}"


@dataclass(frozen=True)
class _Table:
    """A file read with one delimiter, after its headings."""

    path: AnyPath
    delimiter: str
    columns: list[str]
    """Headings in lower case with `_` between words; empty strings for unnamed columns."""
    heading_line: int
    records: Iterator[tuple[int, list[str]]]

    @classmethod
    def begin(cls, path: AnyPath, text: str, delimiter: str, exact: bool) -> "_Table":
        records = _records(path, text, delimiter, exact)
        line, headings = next(records, (1, []))
        columns = headings if exact else [re.sub(r"[\s_-]+", "_", name.casefold()) for name in headings]
        while columns and not columns[-1]:
            columns.pop()  # spreadsheets pad rows with empty cells
        return cls(path, delimiter, columns, line, records)

    def refuse_repeated(self, used: Sequence[str]) -> None:
        repeated = [name for name in used if self.columns.count(name) > 1]
        if repeated:
            where = _where(self.path, self.heading_line)
            raise InputError(f"{where}: the column {', '.join(repeated)} is there twice; keep one of them")

    def rows(self, required: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
        for line, record in self.records:
            where, values = _where(self.path, line), dict(zip(self.columns, record, strict=False))
            if any(record[len(self.columns) :]) or not values.keys() >= set(required):
                mark = {"\t": "tab"}.get(self.delimiter, self.delimiter)
                raise InputError(
                    f"{where}: expected {len(self.columns)} values separated by `{mark}` "
                    f"({', '.join(filter(None, self.columns))}), found {len(record)}; "
                    f"put a value that has a `{mark}` in it in quotes"
                    f"{', and join several labels by `|`' if 'labels' in required else ''}"
                )
            yield Row(where, line, dict.fromkeys((*required, *optional), "") | values)


def _records(path: AnyPath, text: str, delimiter: str, exact: bool) -> Iterator[tuple[int, list[str]]]:
    """Line and values of each record that is not blank."""
    lines = io.StringIO(text, newline="")  # line ends as they are: the reader counts \r, \n and \r\n
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=not exact)
    while True:
        line = reader.line_num + 1
        try:
            values = [value if exact else value.strip() for value in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{_where(path, line)}: the quotes of the row that begins here do not match ({error}); "
                'close each one, and write "" for a quote inside a quoted value'
            ) from None
        if any(value.strip() for value in values):
            yield line, values
