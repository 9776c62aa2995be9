"""Text for people: times, lists cut to their beginning, names with characters that no terminal shows.

Standard library only, so that every package can use it (`evaluate` included).
"""

import unicodedata
from collections.abc import Iterable, Sized
from itertools import islice
from pathlib import Path

from extract.errors import InputError

NOT_UTF8 = "the name of the file or of a folder above it is not UTF-8; rename it"
MOST_NAMES = 10
"""Entries of a list that a note, a table on the terminal or an artifact shows; the rest is counted."""
_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that a terminal obeys or cannot encode: controls, surrogates, separators of lines."""
_BIDI_CONTROLS = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


def format_time(seconds: float, decimals: int = 2) -> str:
    """75.5 seconds as `1:15.50`, from an hour on with hours: `1:06:40.00`. Rounded, not below 0."""
    unit = 10**decimals
    whole, fraction = divmod(round(max(seconds, 0) * unit), unit)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{fraction:0{decimals}d}" if decimals else text


def shortened(names: Iterable[str], total: int | None = None, most: int = MOST_NAMES) -> str:
    """The first `most` names joined by commas, and the number of the others: `a, b and 12 more`.

    `total` is the number of names if `names` has no length; only the first ones are then produced.
    """
    if total is None:
        names = names if isinstance(names, Sized) else list(names)
        total = len(names)
    text = ", ".join(islice(names, most))
    return f"{text} and {total - most:,} more" if total > most else text


def printable(text: str) -> str:
    r"""The text with characters that a terminal obeys or cannot encode as escapes: `caf\xe9`, `a\nb`.

    Bytes of a file name that is not UTF-8, which Python keeps as surrogates, are shown as `\xNN`.
    """
    return "".join(_escaped(c) if _is_hidden(c) else c for c in text)


def encodable(text: str) -> str:
    r"""The text with what UTF-8 cannot encode as escapes: `caf\xe9` for a file name in Latin-1."""
    return "".join(_escaped(c) if unicodedata.category(c) == "Cs" else c for c in text)


def require_utf8(path: Path) -> Path:
    """The path. Raises InputError if it is not UTF-8: databases, JSON and servers cannot store it."""
    if encodable(str(path)) != str(path):
        raise InputError(f"{encodable(str(path))}: {NOT_UTF8}")
    return path


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN or character in _BIDI_CONTROLS


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode in a file name
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
