"""The working copy of a workspace in an object store: two machines, kills, conflicts, a store that fails."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from extract import feature_index
from extract.errors import InputError
from extract.feature_index import FeatureIndex
from extract.remote.store import ObjectState, Store, StoreError
from flows.workspace import remote_lock, uploads, working_copy
from flows.workspace.carried_files import in_order, is_carried
from flows.workspace.copy_record import Entry, LocalState
from flows.workspace.locks import BusyError
from flows.workspace.pull import compare
from flows.workspace.remote_lock import LOCK_KEY, LockLostError
from flows.workspace.working_copy import WorkingCopy
from tests.extract.test_store import some_features
from tests.flows.test_remote_lock import other_lock, write_lock
from tests.object_store import ACCESS, S3Server
from tests.store_proxy import proxied

ADVICE = "wait for it"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy looks into the store whenever it is asked to, and heartbeats take no minutes."""
    monkeypatch.setattr(working_copy, "FRESH_S", 0.0)
    monkeypatch.setattr(remote_lock, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(remote_lock, "STALE_S", 1.0)
    monkeypatch.setattr(remote_lock, "POLL_S", 0.1)


@pytest.fixture
def place(bucket: str) -> str:
    return f"{bucket}/ws"


@pytest.fixture
def first(place: str, tmp_path: Path) -> WorkingCopy:
    """The copy of a first machine."""
    return WorkingCopy(place, tmp_path / "first")


@pytest.fixture
def second(place: str, tmp_path: Path) -> WorkingCopy:
    """The copy of a second machine."""
    return WorkingCopy(place, tmp_path / "second")


def write(copy: WorkingCopy, key: str, content: str) -> None:
    path = copy.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def read(copy: WorkingCopy, key: str) -> str:
    return (copy.root / key).read_text()


def files(copy: WorkingCopy) -> set[str]:
    """The carried files."""
    found = (path.relative_to(copy.root).as_posix() for path in copy.root.rglob("*") if path.is_file())
    return {key for key in found if is_carried(key)}


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert happened()


def test_a_second_machine_gets_the_files_and_carries_its_changes_back(
    first: WorkingCopy, second: WorkingCopy, place: str
) -> None:
    with first.locked(advice=ADVICE):
        write(first, "scores/a.h5", "1")
        write(first, "scores/b.h5", "2")
        write(first, "workspace.json", "{}")
        write(first, "features/.index.sqlite", "of one machine")
        write(first, "scores/.c.h5.part", "unfinished")
    assert set(Store(place).list()) == {"scores/a.h5", "scores/b.h5", "workspace.json"}
    with second.locked(advice=ADVICE):
        assert files(second) == {"scores/a.h5", "scores/b.h5", "workspace.json"}
        write(second, "scores/a.h5", "changed")
        (second.root / "scores/b.h5").unlink()
        write(second, "scores/c.h5", "new")
    assert {key: Store(place).read(key) for key in Store(place).list()} == {
        "scores/a.h5": b"changed",
        "scores/c.h5": b"new",
        "workspace.json": b"{}",
    }
    first.refresh(feature_files=True)
    assert files(first) == files(second)
    assert read(first, "scores/a.h5") == "changed"
    assert first.root.stat().st_mode & 0o777 == 0o700


def test_only_what_has_changed_is_transferred(first: WorkingCopy, second: WorkingCopy, s3: S3Server) -> None:
    with first.locked(advice=ADVICE):
        for number in range(5):
            write(first, f"scores/{number}.h5", str(number))
    second.refresh(feature_files=True)
    with proxied(s3.port) as proxy:
        copy = WorkingCopy(second.store.address, second.root)
        copy.refresh(feature_files=True)
        assert [method for method, _ in proxy.requests] == ["GET"]  # one listing
        proxy.requests.clear()
        with copy.locked(advice=ADVICE):
            write(copy, "scores/3.h5", "changed")
        contents = [(m, p) for m, p in proxy.requests if "/scores/" in p and "list-type" not in p]
        assert [(method, path[-11:]) for method, path in contents] == [
            ("PUT", "scores/3.h5"),
            ("HEAD", "scores/3.h5"),
        ]


STATE, CHANGED = ObjectState(1, 0, "a"), ObjectState(1, 0, "b")
HERE, EDITED = LocalState(1, 1), LocalState(1, 2)


@pytest.mark.parametrize(
    ("there", "here", "recorded", "action"),
    [
        (STATE, HERE, True, ""),
        (STATE, None, False, "download"),
        (CHANGED, HERE, True, "download"),
        (None, HERE, True, "delete"),
        (None, HERE, False, "upload"),
        (STATE, EDITED, True, "upload"),
        (STATE, None, True, "download"),  # what is cleared from a cache comes back, and is not deleted
        (CHANGED, EDITED, True, "download conflicts"),
        (STATE, HERE, False, "download conflicts"),
        (None, EDITED, True, "delete conflicts"),
        (None, None, True, "delete"),  # of the record
    ],
)
def test_what_each_side_has_changed(
    there: ObjectState | None, here: LocalState | None, recorded: bool, action: str
) -> None:
    found = compare(
        {"k": there} if there else {},
        {"k": here} if here else {},
        {"k": Entry(STATE, HERE)} if recorded else {},
    )
    names = ("download", "delete", "upload", "conflicts")
    assert [name for name in names if "k" in getattr(found, name)] == action.split()


def test_the_store_wins_where_both_have_changed(
    first: WorkingCopy, second: WorkingCopy, caplog: pytest.LogCaptureFixture
) -> None:
    with first.locked(advice=ADVICE):
        write(first, "scores/a.h5", "1")
        write(first, "scores/b.h5", "1")
    with second.locked(advice=ADVICE):
        write(second, "scores/a.h5", "of the second")
        write(second, "scores/b.h5", "of both")
    write(first, "scores/a.h5", "of a run that was killed")
    write(first, "scores/b.h5", "of both")
    with first.locked(advice=ADVICE):
        assert read(first, "scores/a.h5") == "of the second"
    (line,) = [line for line in caplog.messages if "had changed" in line]
    assert line.startswith("1 files had changed in s3://")
    assert line.endswith("the store's are used: scores/a.h5")


def test_a_lost_record_costs_no_transfer_and_no_data(
    first: WorkingCopy, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with first.locked(advice=ADVICE):
        write(first, "scores/a.h5", "1")
    before = (first.root / "scores/a.h5").stat()
    (first.root / ".store.sqlite").write_bytes(b"damaged" * 1000)
    again = WorkingCopy(place, first.root)
    write(again, "scores/new.h5", "2")
    with again.locked(advice=ADVICE):
        pass
    assert (first.root / "scores/a.h5").stat().st_mtime_ns == before.st_mtime_ns
    assert set(Store(place).list()) == {"scores/a.h5", "scores/new.h5"}
    assert not [line for line in caplog.messages if "had changed" in line]


KILLED = """
import sys, time
from pathlib import Path
from flows.workspace.working_copy import WorkingCopy
copy = WorkingCopy(sys.argv[1], Path(sys.argv[2]))
with copy.locked(advice="wait for it"):
    (copy.root / "scores").mkdir()
    (copy.root / "scores" / "a.h5").write_text("finished")
    print("written", flush=True)
    time.sleep(100)
"""


@contextmanager
def other_process(copy: WorkingCopy) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the workspace and has written `scores/a.h5`, without uploading it."""
    command = [sys.executable, "-c", KILLED, copy.store.address, str(copy.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_is_killed_before_it_uploads_loses_nothing(
    first: WorkingCopy,
    second: WorkingCopy,
    place: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_lock, "STALE_S", 60.0)  # as in the other process
    with other_process(first) as process:
        with pytest.raises(BusyError, match=rf"{place} is in use by process {process.pid} on"):
            second.locked(advice=ADVICE).__enter__()
        with pytest.raises(BusyError, match=rf"{place} is in use by process {process.pid} on"):
            first.locked(advice=ADVICE).__enter__()
        first.refresh(feature_files=True)  # the other process keeps the copy equal
        assert read(first, "scores/a.h5") == "finished"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "scores/a.h5" not in Store(place).list()
    began = time.monotonic()
    with first.locked(advice=ADVICE):
        assert time.monotonic() - began < 5  # this machine knows that the process has ended
        assert Store(place).read("scores/a.h5") == b"finished"
    (line,) = [line for line in caplog.messages if "is taken over" in line]
    assert line.endswith("which has ended")


def test_a_process_that_is_asked_to_end_uploads_and_releases_the_lock(first: WorkingCopy, place: str) -> None:
    with other_process(first) as process:
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert set(Store(place).list()) == {"scores/a.h5"}


def test_a_feature_file_is_uploaded_while_the_run_goes_on(first: WorkingCopy, place: str) -> None:
    store = Store(place)
    with first.locked(advice=ADVICE):
        index = FeatureIndex(first.root / "features")
        (first.root / "features").mkdir()
        index.write(some_features("video"))
        first.file_written(first.root / "features" / "video.h5")
        wait_for(lambda: "features/video.h5" in store.list())
    assert store.read("features/video.h5") == (first.root / "features" / "video.h5").read_bytes()


def test_a_downloaded_feature_file_is_verified_once_and_known(
    first: WorkingCopy, second: WorkingCopy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with first.locked(advice=ADVICE):
        (first.root / "features").mkdir()
        for name in ("good", "bad"):
            FeatureIndex(first.root / "features").write(some_features(name))
        damaged = first.root / "features" / "bad.h5"
        damaged.write_bytes(damaged.read_bytes()[:-7])
    second.refresh(feature_files=False)
    assert files(second) == set()
    second.refresh(feature_files=True)
    assert files(second) == {"features/good.h5"}
    assert any(
        line.endswith("are damaged; they are extracted again: features/bad.h5") for line in caplog.messages
    )
    monkeypatch.setattr(feature_index, "parse_features", None)  # a reading would fail
    index = FeatureIndex(second.root / "features")
    assert index.is_known("good")
    assert index.read_meta("good") == some_features("good").meta


def test_results_appear_after_their_parts_and_disappear_before_them(
    first: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[str] = []
    upload, delete = Store.upload, Store.delete
    monkeypatch.setattr(
        Store, "upload", lambda self, path, key: (upload(self, path, key), changes.append(f"+{key}"))[0]
    )
    monkeypatch.setattr(Store, "delete", lambda self, key: (changes.append(f"-{key}"), delete(self, key))[1])
    keys = ("model/model.safetensors", "model/curves.csv", "model/model.json", ".cache/train-v1-1")
    with first.locked(advice=ADVICE):
        for content in ("old", "the new one"):
            for key in reversed(keys):
                write(first, key, content)
            first.synchronise()
        changes[:] = [change for change in changes if not change.endswith("/.lock")]
    parts = {"+model/model.safetensors", "+model/curves.csv"}
    assert set(changes[:2]) == parts
    assert changes[2:4] == ["+model/model.json", "+.cache/train-v1-1"]
    assert changes[4] == "-model/model.json"
    assert set(changes[5:7]) == parts
    assert changes[7:9] == ["+model/model.json", "+.cache/train-v1-1"]


def test_the_order_of_uploads() -> None:
    keys = [".cache/a", "mlflow.db", "models/name", "model/model.json", "workspace.json", "scores/a.h5"]
    assert list(in_order(keys)) == [
        ["scores/a.h5"],
        ["mlflow.db"],
        ["model/model.json", "models/name", "workspace.json"],
        [".cache/a"],
    ]


def test_the_state_of_a_training_is_uploaded_at_intervals(
    first: WorkingCopy, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "INTERVAL_S", 0.1)
    store = Store(place)
    with first.locked(advice=ADVICE):
        write(first, "model/model.safetensors", "finished")
        write(first, "model/model.json", "{}")
        first.synchronise()
        write(first, "model/model.safetensors", "half of the next result")
        write(first, "model/.draft/resume.safetensors", "step 100")
        write(first, "features/failures.csv", "name,path,reason")
        wait_for(lambda: {"model/.draft/resume.safetensors", "features/failures.csv"} <= set(store.list()))
        assert store.read("model/model.safetensors") == b"finished"
    assert store.read("model/model.safetensors") == b"half of the next result"


def test_a_database_is_uploaded_between_two_transactions(first: WorkingCopy, second: WorkingCopy) -> None:
    with first.locked(advice=ADVICE), closing(sqlite3.connect(first.root / "library.db")) as database:
        database.execute("CREATE TABLE t (x)")
        database.commit()
        database.execute("INSERT INTO t VALUES (1)")
        database.commit()
        database.execute("INSERT INTO t VALUES (2)")  # not committed
        first.synchronise()
        database.rollback()
        second.refresh(feature_files=True)
    with closing(sqlite3.connect(second.root / "library.db")) as copied:
        assert copied.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_what_a_run_has_finished_before_it_fails_is_uploaded(first: WorkingCopy, place: str) -> None:
    def fail() -> None:
        with first.locked(advice=ADVICE):
            write(first, "scores/a.h5", "1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert set(Store(place).list()) == {"scores/a.h5"}


def test_a_holder_that_lost_its_lock_uploads_nothing_more(
    first: WorkingCopy, second: WorkingCopy, place: str
) -> None:
    store = Store(place)

    def work() -> None:
        with first.locked(advice=ADVICE):
            write(first, "scores/a.h5", "1")
            first.synchronise()
            write_lock(store, other_lock())
            store.write("scores/a.h5", b"of the other process")
            write(first, "scores/a.h5", "2")
            time.sleep(0.6)
            first.synchronise()

    with pytest.raises(LockLostError, match="was taken over by process 12 on elsewhere"):
        work()
    assert store.read("scores/a.h5") == b"of the other process"
    assert LOCK_KEY in store.list()


def test_a_store_that_is_away_for_a_moment_is_waited_for(
    first: WorkingCopy, place: str, s3: S3Server
) -> None:
    with first.locked(advice=ADVICE):
        write(first, "scores/a.h5", "1")
        s3.stop()
        timer = threading.Timer(1.5, s3.start)
        timer.start()
        try:
            first.synchronise()
        finally:
            timer.join()
    assert set(Store(place).list()) == {"scores/a.h5"}


def test_a_store_that_stays_away_ends_the_run_and_the_next_one_uploads(
    first: WorkingCopy, place: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lock, "RELEASE_PATIENCE_S", 0.1)
    first.store = Store(place, patience_s=0.3)

    def work() -> None:
        with first.locked(advice=ADVICE):
            write(first, "scores/a.h5", "1")
            s3.stop()

    try:
        with pytest.raises(StoreError, match=rf"{place} has not answered for 0 s"):
            work()
    finally:
        s3.start()
    with first.locked(advice=ADVICE):
        pass
    assert set(Store(place).list()) == {"scores/a.h5"}


def test_throttling_lost_answers_and_cut_uploads_leave_no_half_object(
    tmp_path: Path, place: str, s3: S3Server
) -> None:
    content = os.urandom(300_000)
    with proxied(s3.port) as proxy:
        copy = WorkingCopy(place, tmp_path / "copy")
        with copy.locked(advice=ADVICE):
            proxy.faults += [("PUT", "slow down"), ("PUT", "cut"), ("PUT", "lose"), ("HEAD", "slow down")]
            seen: list[int] = []
            (copy.root / "model").mkdir()
            for number in range(4):
                (copy.root / "model" / f"{number}.bin").write_bytes(content)
            copy.synchronise()
            seen += [state.size for key, state in Store(place).list().items() if key.startswith("model/")]
            assert not proxy.faults
    assert seen == [len(content)] * 4
    assert all(Store(place).read(f"model/{number}.bin") == content for number in range(4))


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "a//b", "./c", "d/", ".lock", "x\0y"])
def test_keys_that_are_no_files_of_a_workspace_are_not_carried(key: str) -> None:
    assert not is_carried(key)


def test_objects_of_strange_names_are_left_alone(first: WorkingCopy, place: str) -> None:
    Store(place).write("a/../../../outside", b"1")
    Store(place).write("fine", b"2")
    before = set(Store(place).list())
    with first.locked(advice=ADVICE):
        assert files(first) == {"fine"}
    assert set(Store(place).list()) == before


def test_the_secret_is_written_nowhere(
    first: WorkingCopy, place: str, s3: S3Server, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, logger="flows")
    with first.locked(advice=ADVICE):
        write(first, "scores/a.h5", "1")
        lock = Store(place).read(LOCK_KEY)
    secret = ACCESS["AWS_SECRET_ACCESS_KEY"]
    contents = [path.read_bytes() for path in first.root.rglob("*") if path.is_file()]
    assert all(secret.encode() not in content for content in (*contents, lock))
    assert secret not in caplog.text


def test_another_store_of_fsspec(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    place = f"memory://{tmp_path.name}/ws"
    one, two = WorkingCopy(place, tmp_path / "one"), WorkingCopy(place, tmp_path / "two")
    with one.locked(advice=ADVICE):
        write(one, "scores/a.h5", "1")
        with pytest.raises(BusyError, match="delete the object memory://"):
            two.locked(advice=ADVICE).__enter__()
    with two.locked(advice=ADVICE):
        assert read(two, "scores/a.h5") == "1"
        (two.root / "scores/a.h5").unlink()
    one.refresh(feature_files=True)
    assert files(one) == set()


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Invalid bucket name"):
        WorkingCopy("s3://Bad_Bucket!", tmp_path / "copy").refresh(feature_files=False)
