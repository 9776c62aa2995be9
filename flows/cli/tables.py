"""Tables and lines on the terminal: text of users is never markup, and numbers are never cut.

A table that is too wide for the terminal is printed as records, one line for each value. In a pipe or a file
every row of a table is one line.
"""

import os
from collections.abc import Collection, Sequence
from itertools import zip_longest

from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from extract.display import printable

console = Console(markup=False, emoji=False, highlight=False)
_pipe = Console(markup=False, emoji=False, highlight=False, width=10_000)
"""For a pipe or a file: every row of a table is one line."""

LEAST_TEXT_WIDTH = 12
"""Columns of the terminal that a text must have in a table; longer ones are folded."""


def print_line(text: object) -> None:
    """Print one line without wrapping it."""
    console.print(plain(text), soft_wrap=True)


def print_note(text: str) -> None:
    """Print something that a reader of the figures has to know."""
    console.print(Text.assemble(("note", "yellow"), " ", plain(text)))


def print_failure(kind: str, text: str) -> None:
    """Print one line about a failure, such as `failed clip.mp4: holds no video stream`."""
    console.print(Text.assemble((kind, "red"), " ", plain(text)), soft_wrap=True)


def plain(text: object) -> Text:
    """The text as it is, without markup or emoji codes, and with control characters as escapes."""
    return Text(printable(str(text)))


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: Collection[str] = (),
    title: str = "",
    box: Box | None = None,
) -> None:
    """Print rows of values below headings; the columns `numbers` are aligned right and never wrapped."""
    texts = [[plain(value) for value in row] for row in rows]
    target = console if console.is_terminal or "COLUMNS" in os.environ else _pipe
    if _least_width(headings, texts, numbers, box) <= target.width:
        target.print(_table(headings, texts, numbers, title, box))
    else:
        _print_records(headings, texts, title)


def _least_width(
    headings: Sequence[str], rows: Sequence[Sequence[Text]], numbers: Collection[str], box: Box | None
) -> int:
    """Width at which every number fits and every text has LEAST_TEXT_WIDTH."""
    width = len(headings) * (3 if box else 2) + 1
    for heading, *cells in zip_longest(headings, *rows, fillvalue=Text()):
        widest = max(plain(cell).cell_len for cell in (heading, *cells))
        width += widest if heading in numbers else min(widest, LEAST_TEXT_WIDTH)
    return width


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Text]],
    numbers: Collection[str],
    title: str,
    box: Box | None,
) -> Table:
    table = Table(title=title or None, box=box)
    for heading in headings:
        if heading in numbers:
            table.add_column(heading, justify="right", no_wrap=True)
        else:
            table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _print_records(headings: Sequence[str], rows: Sequence[Sequence[Text]], title: str) -> None:
    if title:
        console.print(Text(title, "italic"))
    for row in rows:
        record = Table.grid(padding=(0, 2, 0, 0))
        record.add_column(no_wrap=True)
        record.add_column(overflow="fold")
        for heading, value in zip(headings, row, strict=True):
            if value:
                record.add_row(Text(heading, "bold"), value)
        console.print(record)
        console.print()


FRAMED = HEAVY_HEAD
"""Box of a table of results; listings have none."""
