"""How far a stage has come: a bar with counts and time left on a terminal, else one log line a minute."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from extract.engine import ExtractProgress

Report = Callable[[int, int, str], None]
"""(done, total, note), called as often as the stage likes."""

SECONDS_BETWEEN_LINES = 60.0
log = logging.getLogger(__name__)


@contextmanager
def stage_progress(stage: str, unit: str) -> Iterator[Report]:
    """Yield a function that shows the progress of `stage`, counted in `unit`s."""
    if not sys.stderr.isatty():
        yield _lines(stage, unit)
        return
    columns = (
        TextColumn(f"{stage:<9}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn(f"{unit}  elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(stage, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield report


def _lines(stage: str, unit: str) -> Report:
    began = last = time.monotonic()

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        left = (now - began) * (total - done) / done if done else None
        remaining = f", {left / 60:.0f} min left" if left is not None else ""
        log.info("%s: %d of %d %s%s%s", stage, done, total, unit, remaining, f", {note}" if note else "")

    return report


def show_extraction(report: Report) -> Callable[[ExtractProgress], None]:
    """Turn the engine's progress into snippets and a note: videos, hours of footage, rate, failures."""

    def show(progress: ExtractProgress) -> None:
        rate = progress.snippets_done / max(progress.elapsed_s, 1e-9)
        failed = f", {progress.failures} failed" if progress.failures else ""
        videos = f"{progress.videos_done}/{progress.videos_total} videos{failed}"
        note = f"{videos}, {progress.footage_s_done / 3600:.2f} h of footage, {rate:.1f}/s"
        report(progress.snippets_done, max(progress.snippets_total, progress.snippets_done), note)

    return show
