"""Progress of a stage without a terminal: one log line a minute."""

import io
import logging
import re
import time

import pytest

from extract.progress import ExtractProgress
from flows import progress


def test_extraction_logs_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    caplog.set_level(logging.INFO, logger="flows.progress")
    with progress.stage_progress("extract", "snippets") as report:
        show = progress.extraction_progress(report)
        for clock in range(0, 130, 10):
            show(
                ExtractProgress(
                    videos_done=clock // 20,
                    videos_total=20,
                    snippets_done=clock * 5,
                    snippets_total=2400,
                    footage_s_done=clock * 36.0,
                    failures=1,
                    elapsed_s=float(clock),
                )
            )
    assert [record.getMessage() for record in caplog.records] == [
        "extract: 300 of 2400 snippets, 5.0 a second, 7 min left, 3/20 videos, 1 failed, 0.60 h of footage",
        "extract: 600 of 2400 snippets, 5.0 a second, 6 min left, 6/20 videos, 1 failed, 1.20 h of footage",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 100, 120, 160])
def test_the_bar_cuts_no_number_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with progress.stage_progress("extract", "snippets") as report:
        for done in (1234, 12345):
            report(done, 56789, "14/68 videos [b], 2 failed, 12.34 h of footage")
            time.sleep(0.15)  # the bar is drawn ten times a second
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()
    (last,) = [line for line in lines if "12345" in line][-1:]
    assert "12345/56789" in last
    assert "…" not in last
    assert len(last) <= width
    assert ("14/68 videos [b], 2 failed, 12.34 h" in last) == (width >= 120)
