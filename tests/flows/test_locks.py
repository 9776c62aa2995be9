"""Locks: the message about the holder, waiting, release after a kill, one lock per card."""

import fcntl
import multiprocessing
import os
import re
import socket
import threading
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from flows.workspace import locks
from flows.workspace.locks import BusyError, Holder, file_lock, gpu_identity, gpu_lock


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that should not wait for a lock fails where it would wait: a negative pause is an error."""
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_TRIES", -1)


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


def test_a_holder_that_has_not_written_the_file_yet_is_another_process(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError) as refused, file_lock(tmp_path / "lock", "the folder"):
            raise AssertionError("locked twice")
    assert str(refused.value) == "the folder is in use by another process; wait for it"


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
    (message,) = caplog.messages  # once a minute, not once a try
    assert re.fullmatch(r"waiting for the folder, in use by process \d+ on .* ago\)", message)


def test_the_file_names_the_present_holder_only(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    lock.parent.mkdir()
    lock.write_text('{"pid": 1, "host": "an earlier holder"}')
    with file_lock(lock, "it"):
        holder = Holder.model_validate_json(lock.read_text())
    assert (holder.pid, holder.host) == (os.getpid(), socket.gethostname())


def test_a_second_user_of_a_gpu_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("DSANET_LOCKS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_TRIES", 0.01)
    monkeypatch.setattr(locks, "_uuid", lambda index: UUID)
    order: list[str] = []

    def second() -> None:
        with gpu_lock("cuda:0"):
            order.append("second")

    with caplog.at_level("INFO", logger="flows"):
        with gpu_lock("cuda:0"):
            assert (tmp_path / ".cache" / "dsanet" / "locks" / f"GPU-{UUID}.lock").is_file()
            waiting = threading.Thread(target=second)
            waiting.start()
            waiting.join(0.1)
            order.append("first")
        waiting.join(10)
    assert order == ["first", "second"]
    assert f"waiting for GPU 0 (GPU-{UUID}), in use by process {os.getpid()} on " in caplog.text


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


UUID = "8f9a1c2e-0000-1111-2222-333344445555"


def test_a_gpu_has_one_lock_for_all_that_use_it() -> None:
    """By number, by another number, by its UUID or a part of it, from any host or container."""
    users = [
        gpu_identity(0, "", UUID, "a"),
        gpu_identity(1, "", UUID, "a"),  # CUDA_DEVICE_ORDER numbers the cards otherwise
        gpu_identity(0, "3", UUID, "a"),
        gpu_identity(1, f"0,GPU-{UUID}", UUID.upper(), "container-1"),
        gpu_identity(0, "GPU-8f9a", f"GPU-{UUID}", "container-2"),
    ]
    assert set(users) == {f"GPU-{UUID}"}
    assert gpu_identity(0, "", UUID.replace("8", "9"), "a") != users[0]


def test_two_instances_of_a_card_have_two_locks() -> None:
    visible = "MIG-1a, MIG-GPU-8f9a/7/0"
    first, second = (gpu_identity(index, visible, UUID, "a") for index in (0, 1))
    assert (first, second) == ("MIG-1a", "MIG-GPU-8f9a_7_0")


def test_without_a_uuid_a_number_holds_for_one_host() -> None:
    assert gpu_identity(1, "6,7", None, "a") == gpu_identity(0, "7", None, "a") == "cuda-7-a"
    assert gpu_identity(1, "", None, "a") == gpu_identity(0, "1", None, "a") == "cuda-1-a"
    assert gpu_identity(1, "", None, "a") != gpu_identity(1, "", None, "b")
    assert gpu_identity(0, f"GPU-{UUID}", None, "a") == gpu_identity(3, "", UUID, "b")
    assert "/" not in gpu_identity(0, "../../x", None, "a/b")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_gpus_are_locked_and_a_cpu_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSANET_LOCKS", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    host = socket.gethostname()
    with gpu_lock("cpu"), gpu_lock("cpu"), gpu_lock("cuda"), gpu_lock("cuda:1"):
        files = {tmp_path / f"cuda-{number}-{host}.lock" for number in (0, 1)}
        assert set(tmp_path.iterdir()) == files
        with pytest.raises(BusyError), file_lock(tmp_path / f"cuda-1-{host}.lock", "GPU 1"):
            raise AssertionError("locked twice")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    with gpu_lock("cuda:1"):
        assert (tmp_path / f"cuda-7-{host}.lock").exists()


def test_the_uuid_is_that_of_the_card_if_pytorch_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Cards as PyTorch describes them; there may be none here, and an older PyTorch has no `uuid`.
    cards = [SimpleNamespace(name="old"), SimpleNamespace(name="new", uuid=uuid.UUID(UUID))]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)
    assert [locks._uuid(index) for index in range(3)] == [None, UUID, None]


@pytest.mark.gpu
def test_a_real_gpu_is_locked_by_its_uuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSANET_LOCKS", str(tmp_path))
    names = []
    for visible in ("", "0", f"GPU-{str(torch.cuda.get_device_properties(0).uuid).removeprefix('GPU-')}"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with gpu_lock("cuda:0"):
            names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 1
    assert names[0].startswith(("GPU-", "MIG-"))
