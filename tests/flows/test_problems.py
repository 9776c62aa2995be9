"""Videos that could not be read: a probe that failed for a passing reason is tried again."""

import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from extract.failures import Failure, read_failures, write_failures
from extract.retry_times import next_try
from flows.demo.footage import ClipPlan, write_clip
from flows.library import database, prober
from flows.library.database import database_url, open_database
from flows.library.inbox import scan
from flows.library.library import Library
from flows.library.problems import due, grouped_by_reason, recheck
from flows.library.records import Problem
from flows.library.tables import now
from flows.workspace.inputs import configure_workspace
from tests.flows.commands import Dsanet
from tests.flows.tiny import tiny_footage


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "camera.mp4"
    write_clip(path, ClipPlan("camera", "train", "normal", 8, None, 1))
    return path


@pytest.fixture
def inbox(clip: Path, tmp_path: Path) -> Path:
    """An inbox with a good clip."""
    (tmp_path / "inbox").mkdir()
    shutil.copy(clip, tmp_path / "inbox")
    return tmp_path / "inbox"


def scan_with_failing_probe(library: Library, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> Problem:
    """Scan while every probe takes longer than it may; returns what the library recorded."""
    with monkeypatch.context() as patch:
        patch.setattr(prober, "TIMEOUT_S", 0.001)
        assert scan(library, [inbox], 0).new == []
    (problem,) = library.problems()
    return problem


def test_a_probe_that_failed_once_is_tried_again_and_recovers(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(tmp_path / "ws") as library:
        problem = scan_with_failing_probe(library, inbox, monkeypatch)
        assert "did not finish probing" in problem.video.problem
        assert (problem.attempts, problem.next_at - problem.tried_at) == (1, timedelta(hours=1))
        assert scan(library, [inbox], 0).known == [inbox / "camera.mp4"]
        assert due(library.problems(), now()) == []
        assert due(library.problems(), now() + timedelta(hours=1)) == [problem.video]
        with monkeypatch.context() as patch:
            patch.setattr(prober, "TIMEOUT_S", 0.001)
            assert len(recheck(library, [problem.video]).unreadable) == 1
        (again,) = library.problems()
        assert (again.attempts, again.next_at - again.tried_at) == (2, timedelta(hours=2))
        result = recheck(library, [problem.video])
        assert [video.name for video in result.readable] == ["camera"]
        assert library.problems() == []
        assert library.videos()[0].problem == ""
        (inbox / "camera.mp4").unlink()
        assert recheck(library, [problem.video]).missing == [problem.video]


def test_the_time_between_tries_doubles_up_to_a_month() -> None:
    at = datetime(2026, 11, 27, tzinfo=timezone.utc)
    hours = [(next_try(at, attempts) - at) / timedelta(hours=1) for attempts in (1, 2, 3, 10, 11, 500)]
    assert hours == [1, 2, 4, 512, 720, 720]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -KILL $$", "killed by SIGKILL, probably for lack of memory"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("echo 'MemoryError: no' >&2; exit 1", "MemoryError: no"),
        ("exit 3", "exit code 3"),
    ],
)
def test_the_reason_names_the_end_of_the_decoder(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(prober.sys, "executable", str(program))
    assert prober.unusable_reason(tmp_path / "a.mp4") == f"the decoder crashes on the file ({reason})"


def test_a_library_of_the_first_version_opens_and_tries_old_failures_again(tmp_path: Path) -> None:
    engine = sa.create_engine(database_url(tmp_path))
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
        command.upgrade(config, "0001")
        connection.execute(
            sa.text("INSERT INTO videos VALUES (1, 'd', 'old', 'train', 'crashed', '2026-01-01 00:00:00')")
        )
        connection.execute(
            sa.text("INSERT INTO labels VALUES (1, 1, 'fire', 'ada', 'labels.csv', '2026-01-01 00:00:00')")
        )
    engine.dispose()
    open_database(database_url(tmp_path)).dispose()
    with Library.open(tmp_path) as library:
        (problem,) = library.problems()
        assert (problem.video.name, problem.video.labels, problem.attempts) == ("old", ("fire",), 1)
        assert due([problem], now()) == [problem.video]
        library.record_probe("d", "crashed again")
        assert library.problems()[0].attempts == 1


def test_files_that_cannot_even_be_opened_do_not_stop_the_scan(inbox: Path, tmp_path: Path) -> None:
    odd = inbox / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(inbox / "camera.mp4", odd)
    with Library.open(tmp_path / "ws") as library:
        result = scan(library, [inbox], 0)
    assert result.new == ["camera"]
    assert list(result.unreadable) == [odd]


def test_problems_lists_and_recheck_tries_again(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    root = tmp_path / "ws"
    configure_workspace(root, tiny_footage(tmp_path / "footage"), preset="small", weights="random")
    (inbox / "broken.mp4").write_bytes(b"no video" * 99)
    with Library.open(root) as library, monkeypatch.context() as patch:
        patch.setattr(prober, "TIMEOUT_S", 0.001)
        scan(library, [inbox], 0)
    code, out, _ = dsanet("library", "problems", "--out", root)
    assert code == 0
    assert out.endswith("2 videos could not be read\n")
    assert "did not finish probing" in out
    code, out, _ = dsanet("library", "recheck", "--out", root)
    assert out.splitlines()[-1] == "1 videos can be read, 1 cannot, 0 are missing"
    (root / "features").mkdir()
    write_failures(root / "features", [Failure("camera", inbox / "camera.mp4", "a frame is damaged")])
    code, out, _ = dsanet("library", "problems", "--out", root)
    assert out.endswith("2 videos could not be read\n")
    assert "a frame is damaged" in out
    assert "next run" in out
    waiting = Failure(
        *("camera", inbox / "camera.mp4", "a frame is damaged"),
        attempts=2,
        tried_at=now(),
        next_at=now() + timedelta(days=9),
    )
    write_failures(root / "features", [waiting])
    assert f"{waiting.next_at:%Y-%m-%d %H:%M}" in dsanet("library", "problems", "--out", root)[1]
    assert "1 more; --most prints more" in dsanet("library", "problems", "--most", 1, "--out", root)[1]
    code, out, _ = dsanet("library", "recheck", "camera", "--out", root)
    assert "1 videos whose extraction failed are tried by the next run" in out
    (due_now,) = read_failures(root / "features")
    assert (due_now.attempts, due_now.next_at) == (2, due_now.tried_at)
    assert dsanet("library", "recheck", "broken", "--out", root)[1].endswith("1 cannot, 0 are missing\n")
    code, _, err = dsanet("library", "recheck", "nowhere", "--out", root)
    assert (code, "no video 'nowhere' in the library" in err) == (2, True)
    with Library.open(root) as library:
        (problem,) = library.problems()
        assert (problem.video.name, problem.attempts) == ("broken", 3)


def test_hundreds_of_failures_are_a_few_groups() -> None:
    problems = [(f"a{n}", f"the header promises {n} frames, the file holds 3") for n in range(290)]
    problems += [(f"b{n}", "holds no video stream") for n in range(10)]
    many, few = grouped_by_reason(problems)
    assert (len(many.files), many.reason) == (290, "the header promises 0 frames, the file holds 3")
    assert many.shown == "a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 and 280 more"
    assert few.shown == ", ".join(few.files)
