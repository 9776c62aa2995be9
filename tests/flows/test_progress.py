"""Progress of a stage without a terminal: one log line a minute."""

import logging

import pytest

from extract.progress import ExtractProgress
from flows.pipeline import progress


def test_extraction_logs_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock)
    caplog.set_level(logging.INFO, logger="flows.pipeline.progress")
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
