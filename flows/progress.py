"""Progress of a stage: on a terminal a bar with counts and time left, otherwise one log line a minute."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console, OverflowMethod
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from extract.progress import ExtractProgress

Report = Callable[[int, int, str], None]
"""(done, total, note); may be called at any rate."""
Show = Callable[[int, int, str, str], None]
"""(done, total, note, the three and the rate as one text)"""

NARROW, MEDIUM, WIDE = 50, 80, 120
"""Widths of a terminal from which the bar has the time left, the time elapsed, and a note."""
SECONDS_BETWEEN_LINES = 60.0
log = logging.getLogger(__name__)


@contextmanager
def stage_progress(
    stage: str, unit: str, record: Callable[[float, str], None] | None = None
) -> Iterator[Report]:
    """Yield a function that shows the progress of `stage`, counted in `unit` (a plural).

    `record` is called with each update as well, with percent and text: for the progress artifact of a run.
    """
    began = time.monotonic()
    with _bar(stage, unit) if sys.stderr.isatty() else nullcontext(_log_lines(stage)) as show:

        def report(done: int, total: int, note: str = "") -> None:
            text = format_progress(done, total, unit, note, time.monotonic() - began)
            show(done, total, note, text)
            if record is not None and total:
                record(100 * done / total, text)

        yield report


@contextmanager
def _bar(stage: str, unit: str) -> Iterator[Show]:
    console = Console(stderr=True, markup=False, emoji=False)
    columns = [column for least, column in _columns(stage, unit) if console.width >= least]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(stage, total=None, note="")

        def show(done: int, total: int, note: str, text: str) -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield show


def _columns(stage: str, unit: str) -> Iterator[tuple[int, ProgressColumn]]:
    """The parts of the line, with the width of a terminal from which each fits without cutting numbers."""
    yield 0, _text(f"{stage:<9}")
    yield WIDE, BarColumn(bar_width=30)
    yield 0, MofNCompleteColumn(table_column=Column(no_wrap=True))
    yield MEDIUM, _text(unit)
    yield MEDIUM, _text("elapsed")
    yield MEDIUM, TimeElapsedColumn(table_column=Column(no_wrap=True))
    yield NARROW, _text("left")
    yield NARROW, TimeRemainingColumn(table_column=Column(no_wrap=True))
    yield WIDE, _text("{task.fields[note]}", style="dim", overflow="ellipsis")


def _text(template: str, style: str = "none", overflow: OverflowMethod = "fold") -> TextColumn:
    column = Column(no_wrap=True, overflow=overflow)
    return TextColumn(template, style=style, markup=False, table_column=column)


def _log_lines(stage: str) -> Show:
    last = time.monotonic()

    def show(done: int, total: int, note: str, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            log.info("%s: %s", stage, text)

    return show


def format_progress(done: int, total: int, unit: str, note: str, elapsed_s: float) -> str:
    """For example `120 of 583 snippets, 5.2 a second, 2 min left, 14/68 videos`."""
    rate = done / elapsed_s if elapsed_s else 0.0
    left = f", {(total - done) / rate / 60:.0f} min left" if rate else ""
    return f"{done} of {total} {unit}, {rate:.1f} a second{left}{', ' + note if note else ''}"


def extraction_progress(report: Report) -> Callable[[ExtractProgress], None]:
    """A progress callback for the engine: counts snippets; the note names videos, failures and hours."""

    def show(progress: ExtractProgress) -> None:
        failed = f", {progress.failures} failed" if progress.failures else ""
        videos = f"{progress.videos_done}/{progress.videos_total} videos{failed}"
        note = f"{videos}, {progress.footage_s_done / 3600:.2f} h of footage"
        report(progress.snippets_done, max(progress.snippets_total, progress.snippets_done), note)

    return show
