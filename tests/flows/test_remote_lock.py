"""The lock of a workspace in an object store: busy, waiting, taken over, lost."""

import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest

from extract.remote.store import Store
from flows.workspace import remote_lock as module
from flows.workspace.locks import BusyError, now
from flows.workspace.remote_lock import LOCK_KEY, HeldLock, LockLostError, LockObject, remote_lock

ADVICE = "wait for it"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of minutes."""
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(module, "STALE_S", 1.0)
    monkeypatch.setattr(module, "POLL_S", 0.1)


def other_lock(token: str = "other") -> LockObject:
    """The lock of a process of another machine, whose clock is wrong."""
    at = now() + timedelta(hours=5)
    return LockObject(pid=12, host="elsewhere", user="ann", since=at, heartbeat=at, token=token)


def write_lock(store: Store, lock: LockObject) -> None:
    store.write(LOCK_KEY, lock.model_dump_json().encode())


def held_content(store: Store) -> LockObject:
    return LockObject.model_validate_json(store.read(LOCK_KEY))


def test_a_held_lock_names_its_holder_and_is_removed_at_the_end(bucket: str) -> None:
    store = Store(bucket)
    with remote_lock(store, wait=False, advice=ADVICE):
        first = held_content(store)
        with (
            pytest.raises(BusyError) as refused,
            remote_lock(Store(bucket), wait=False, advice="wait for it, or give another --out"),
        ):
            raise AssertionError("locked twice")
        deadline = time.monotonic() + 10
        while held_content(store).heartbeat == first.heartbeat and time.monotonic() < deadline:
            time.sleep(0.05)
        assert held_content(store).heartbeat > first.heartbeat
    since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(0:00:0\d ago\)"
    pattern = rf"{bucket} is in use by process \d+ on \S+ since {since}; wait for it, or give another --out"
    assert re.fullmatch(pattern, str(refused.value))
    assert store.list() == {}


def test_of_two_that_wait_one_after_the_other_gets_the_lock(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []

    def hold(name: str) -> None:
        with remote_lock(Store(bucket), wait=True, advice=ADVICE):
            order.append(f"{name} begins")
            time.sleep(0.3)
            order.append(f"{name} ends")

    with caplog.at_level("INFO", logger="flows"):
        threads = [threading.Thread(target=hold, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    first, second = order[0][0], order[2][0]
    assert order == [f"{first} begins", f"{first} ends", f"{second} begins", f"{second} ends"]
    waits = [line for line in caplog.messages if line.startswith(f"waiting for {bucket}, in use by process")]
    assert len(waits) == 1  # once a minute, not once a try


def test_a_lock_that_is_not_renewed_is_taken_over_whatever_its_clock_says(
    bucket: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALE_S", 0.4)
    store = Store(bucket)
    write_lock(store, other_lock())
    time.sleep(0.5)  # a lock that was written just now is not watched
    with remote_lock(store, wait=False, advice=ADVICE):
        assert held_content(store).host != "elsewhere"
    (line,) = [line for line in caplog.messages if "is taken over" in line]
    assert line.startswith(f"the lock of {bucket} is taken over from process 12 on elsewhere since ")
    assert line.endswith("which has not renewed its lock for 0 s")


def test_a_lock_that_is_renewed_is_not_taken_over_whatever_our_clock_says(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = SimpleNamespace(time=lambda: time.time() + 3600, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(module, "time", ahead)
    monkeypatch.setattr(module, "STALE_S", 5.0)
    store = Store(bucket)
    write_lock(store, other_lock("0"))
    ended = threading.Event()

    def renew() -> None:
        count = 0
        while not ended.wait(0.2):
            count += 1
            write_lock(store, other_lock(str(count)))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(BusyError, match="in use by process 12 on elsewhere"):
            hold_once(bucket)
    finally:
        ended.set()
        thread.join()


def hold_once(place: str, earlier: tuple[str, ...] = (), *, wait: bool = False) -> None:
    with remote_lock(Store(place), wait=wait, advice=ADVICE, earlier=earlier):
        pass


def test_the_lock_of_a_process_that_has_surely_ended_is_taken_over_at_once(bucket: str) -> None:
    write_lock(Store(bucket), other_lock("mine"))
    began = time.monotonic()
    hold_once(bucket, ("mine",))
    assert time.monotonic() - began < 1.0


def test_an_object_that_is_no_lock_is_another_process(bucket: str) -> None:
    Store(bucket).write(LOCK_KEY, b"something")
    with pytest.raises(BusyError, match="in use by another process; wait for it"):
        hold_once(bucket)


@pytest.fixture
def held(bucket: str) -> Iterator[tuple[Store, HeldLock]]:
    store = Store(bucket)
    with remote_lock(store, wait=False, advice=ADVICE) as lock:
        yield store, lock


def lost_message(lock: HeldLock) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            lock.require()
        except LockLostError as error:
            return str(error)
        time.sleep(0.05)
    raise AssertionError("the lock is not lost")


def test_a_holder_whose_lock_was_taken_over_finds_it_and_leaves_it(bucket: str) -> None:
    store = Store(bucket)
    with remote_lock(store, wait=False, advice=ADVICE) as lock:
        lock.require()
        write_lock(store, other_lock())
        assert lost_message(lock).startswith(
            f"the lock of {bucket} was taken over by process 12 on elsewhere since"
        )
    assert held_content(store).host == "elsewhere"


def test_a_holder_whose_lock_was_deleted_does_not_write_it_again(held: tuple[Store, HeldLock]) -> None:
    store, lock = held
    store.delete(LOCK_KEY)
    assert "was deleted while this run held it" in lost_message(lock)
    assert store.list() == {}


def test_a_holder_that_was_suspended_renews_before_it_writes(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 1000.0)
    store = Store(bucket)
    with remote_lock(store, wait=False, advice=ADVICE) as lock:
        write_lock(store, other_lock())
        lock.require()  # confirmed just now
        time.sleep(0.6)  # more than half of the time after which others may take over
        with pytest.raises(LockLostError, match="was taken over"):
            lock.require()


def test_a_store_that_cannot_compare_needs_a_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    place = "memory://lock-of-a-dead-process"
    write_lock(Store(place), other_lock("mine"))
    expected = f"wait for it; if that process has ended, delete the object {place}/.lock"
    with pytest.raises(BusyError, match=re.escape(expected)):
        hold_once(place)
    hold_once(place, ("mine",))
    assert Store(place).list() == {}
