"""Locks: the message about the holder, waiting, release after a kill, one lock per GPU."""

import multiprocessing
import re
import threading
from pathlib import Path

import pytest

from flows.workspace import locks
from flows.workspace.locks import BusyError, file_lock, gpu_lock


def test_a_held_lock_names_its_holder_and_age(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        file_lock(lock, "the folder"),
        pytest.raises(BusyError) as refused,
        file_lock(lock, "the folder", advice="try later"),
    ):
        raise AssertionError("locked twice")
    since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(0:00:0\d ago\)"
    pattern = rf"the folder is in use by process \d+ on \S+ since {since}; try later"
    assert re.fullmatch(pattern, str(refused.value))


def test_a_waiting_process_logs_the_holder_and_gets_the_lock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_TRIES", 0.01)
    order: list[str] = []

    def second() -> None:
        with file_lock(tmp_path / "lock", "the folder", wait=True):
            order.append("second")

    with caplog.at_level("INFO", logger="flows"):
        with file_lock(tmp_path / "lock", "the folder"):
            waiting = threading.Thread(target=second)
            waiting.start()
            waiting.join(0.2)
            order.append("first")
        waiting.join(10)
    assert order == ["first", "second"]
    assert [message for message in caplog.messages if "waiting for the folder" in message]


def _hold(path: Path, taken: "multiprocessing.synchronize.Event") -> None:
    with file_lock(path, "it"):
        taken.set()
        multiprocessing.Event().wait()


def test_a_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken = context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "lock", taken))
    other.start()
    try:
        assert taken.wait(60)
        with pytest.raises(BusyError, match=f"process {other.pid} "), file_lock(tmp_path / "lock", "it"):
            raise AssertionError("locked twice")
    finally:
        other.kill()
        other.join()
    with file_lock(tmp_path / "lock", "it"):
        pass


def test_a_gpu_is_locked_by_its_own_number_and_a_cpu_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSANET_LOCKS", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with gpu_lock("cpu"), gpu_lock("cpu"), gpu_lock("cuda"), gpu_lock("cuda:1"):
        assert {path.name for path in tmp_path.iterdir()} == {"cuda-0.lock", "cuda-1.lock"}
        with pytest.raises(BusyError), file_lock(tmp_path / "cuda-1.lock", "GPU 1"):
            raise AssertionError("locked twice")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    with gpu_lock("cuda:1"):
        assert (tmp_path / "cuda-7.lock").exists()
