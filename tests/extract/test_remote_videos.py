"""Videos in an object store: the features of local ones, few requests, a bounded cache, and failures."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import h5py
import pytest

from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import ExtractResult, extract_videos
from extract.errors import InputError, MissingFileError
from extract.failures import failures_path
from extract.fetched_videos import FetchedVideos
from extract.manifest import VideoRecord, read_manifest
from extract.remote.cache import COPIES, FetchError, cache_folder, local_copy
from extract.remote.listings import one_listing
from extract.remote.path import RemotePath, as_path
from extract.remote.store import Store, StoreError
from extract.store import read_features, read_meta
from tests.extract.numbered_clips import NumberEncoder, feature_numbers, make_clip
from tests.object_store import ACCESS, S3Server
from tests.store_proxy import proxied

NAMES = {
    "a": "videos/a.mp4",
    "b": "videos/Gebäude 7/b #1 50%?.mp4",
    "c": "videos//c.mp4",
    "d": "d.mp4",
}
"""Keys of the clips by name."""
SECRET = ACCESS["AWS_SECRET_ACCESS_KEY"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    for name, frames in zip(NAMES, (100, 33, 16, 40), strict=True):
        make_clip(folder / f"{name}.mp4", frames, size=(96, 96))
    return {name: (folder / f"{name}.mp4").read_bytes() for name in NAMES}


@pytest.fixture
def stored(bucket: str, clips: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with the clips; the cache is a folder of the test."""
    monkeypatch.setenv("DSANET_CACHE", str(tmp_path / "cache"))
    store = Store(bucket)
    for name, key in NAMES.items():
        store.write(key, clips[name])
    return bucket


def records(bucket: str, *names: str) -> list[VideoRecord]:
    return [
        VideoRecord(name, RemotePath(f"{bucket}/{NAMES[name]}"), ("normal",), "test")
        for name in names or NAMES
    ]


def run(videos: list[VideoRecord], out: Path, **runtime: object) -> ExtractResult:
    return extract_videos(
        videos,
        out,
        ExtractConfig(),
        ExtractRuntime(**{"workers": 2, "timeout_s": 20, **runtime}),
        encoder=NumberEncoder(),
    )


def cached_files() -> list[Path]:
    return [path for path in (cache_folder() / "videos").rglob("*") if path.is_file() and path.name[0] != "."]


def test_features_are_those_of_local_videos(stored: str, clips: dict[str, bytes], tmp_path: Path) -> None:
    local = []
    for name, key in NAMES.items():
        path = tmp_path / "local" / name / Path(key).name
        path.parent.mkdir(parents=True)
        path.write_bytes(clips[name])
        state = Store(stored).state(key)
        assert state is not None
        seconds = state.mtime_ns // 10**9
        os.utime(path, (seconds, seconds))
        local.append(VideoRecord(name, path, ("normal",), "test"))
    assert run(local, tmp_path / "local-out").failures == []
    result = run(records(stored), tmp_path / "out")
    assert (sorted(result.extracted), result.failures) == (sorted(NAMES), [])
    for name in NAMES:
        assert (tmp_path / f"out/{name}.h5").read_bytes() == (tmp_path / f"local-out/{name}.h5").read_bytes()
    assert cached_files() == []


def test_a_run_lists_each_folder_once_and_a_rerun_downloads_nothing(
    stored: str, store_requests: Counter[str], tmp_path: Path
) -> None:
    for number in range(6):
        Store(stored).write(f"many/{number}.mp4", Store(stored).read("d.mp4"))
    videos = [
        VideoRecord(str(n), RemotePath(f"{stored}/many/{n}.mp4"), ("normal",), "test") for n in range(6)
    ]
    store_requests.clear()
    assert len(run(videos, tmp_path / "out").extracted) == 6
    # A download is one request and the question whether the object is still the same.
    assert store_requests == {"ListObjectsV2": 1, "GetObject": 6, "HeadObject": 6}
    store_requests.clear()
    assert len(run(videos, tmp_path / "out").reused) == 6
    assert store_requests == {"ListObjectsV2": 1}
    store_requests.clear()
    (tmp_path / "out/3.h5").unlink()
    assert run(videos, tmp_path / "out").extracted == ["3"]
    assert store_requests == {"ListObjectsV2": 1, "GetObject": 1, "HeadObject": 1}


def test_a_new_content_of_the_same_size_is_extracted_again(stored: str, tmp_path: Path) -> None:
    store = Store(stored)
    run(records(stored, "d"), tmp_path / "out")
    content = bytearray(store.read("d.mp4"))
    content[-1] ^= 1  # in a box at the end that decoders skip
    time.sleep(1.1)  # times of a store are whole seconds
    store.write("d.mp4", bytes(content))
    assert run(records(stored, "d"), tmp_path / "out").extracted == ["d"]
    store.write("d.mp4", bytes(content))
    assert run(records(stored, "d"), tmp_path / "out").reused == ["d"]


def test_the_cache_keeps_its_bound(stored: str, clips: dict[str, bytes], tmp_path: Path) -> None:
    largest = max(map(len, clips.values()))
    limit = largest + min(map(len, clips.values()))
    sizes, stop = [], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            sizes.append(sum(size_of(path) for path in (cache_folder() / "videos").glob("*/*/*")))

    def size_of(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = run(records(stored), tmp_path / "out", cache_gb=limit / 1e9, workers=4)
    finally:
        stop.set()
        watcher.join()
    assert result.failures == []
    assert largest <= max(sizes) <= limit
    # A video larger than the cache is fetched when nothing else is in it.
    assert run(records(stored), tmp_path / "out2", cache_gb=1e-9, workers=4).failures == []
    assert cached_files() == []


def test_videos_are_fetched_ahead_of_those_who_use_them(stored: str, tmp_path: Path) -> None:
    local = VideoRecord("local", tmp_path / "local.mp4", ("normal",), "test")
    with one_listing(), FetchedVideos([local, *records(stored), local], 20, ahead=2) as fetched:
        assert next(fetched) == (local, tmp_path / "local.mp4")
        assert cached_files() == []
        first = next(fetched)
        deadline = time.monotonic() + 20
        while len(cached_files()) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        assert len(cached_files()) == 3  # the one in use, and two ahead
        fetched.release(first.record.name)
        assert not Path(str(first.file)).exists()
        others = sorted(one.record.name for one in fetched)  # in the order in which they were ready
        assert sorted([first.record.name, *others]) == ["a", "b", "c", "d", "local"]
        assert len(cached_files()) == 3
    assert cached_files() == []


def test_a_video_for_which_the_disk_has_no_room_is_a_failure(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=100))
    failures = run(records(stored, "a"), tmp_path / "out").failures
    assert "can't be fetched: it has 0.00 GB, and the disk of" in failures[0].reason
    monkeypatch.undo()
    os.environ["DSANET_CACHE"] = str(tmp_path / "cache")
    try:
        assert run(records(stored, "a"), tmp_path / "out").extracted == ["a"]  # tried again at once
    finally:
        del os.environ["DSANET_CACHE"]


def test_missing_and_changed_objects_are_failures_that_are_tried_again(
    stored: str, clips: dict[str, bytes], tmp_path: Path
) -> None:
    videos = records(stored)
    store = Store(stored)
    with one_listing():
        assert all(video.path.is_file() for video in videos)
        store.delete(NAMES["a"])
        store.write(NAMES["d"], clips["c"])
        result = run(videos, tmp_path / "out")
    reasons = {failure.name: failure.reason for failure in result.failures}
    assert reasons == {
        "a": f"no object {stored}/{NAMES['a']}",
        "d": "it can't be fetched: it was changed after the run had listed it",
    }
    assert sorted(result.extracted) == ["b", "c"]
    assert cached_files() == []
    store.write(NAMES["a"], clips["a"])
    again = run(videos, tmp_path / "out")
    assert (sorted(again.extracted), again.failures) == (["a", "d"], [])
    assert read_meta(tmp_path / "out/d.h5").source.size == len(clips["c"])
    assert not failures_path(tmp_path / "out").exists()


def test_a_damaged_video_is_listed_and_not_fetched_again(
    stored: str, store_requests: Counter[str], tmp_path: Path
) -> None:
    Store(stored).write("bad.mp4", b"no video" * 100)
    bad = [VideoRecord("bad", RemotePath(f"{stored}/bad.mp4"), ("normal",), "test")]
    first = run(bad, tmp_path / "out").failures
    assert first[0].path == RemotePath(f"{stored}/bad.mp4")
    assert str(cache_folder()) not in first[0].reason
    store_requests.clear()
    assert run(bad, tmp_path / "out").failures == first
    assert store_requests == {"ListObjectsV2": 1}


def test_a_refused_object_fails_and_broken_downloads_are_repeated(
    stored: str, s3: S3Server, tmp_path: Path
) -> None:
    videos = records(stored)
    with proxied(s3.port) as proxy, one_listing():
        assert all(video.path.is_file() for video in videos)
        proxy.faults += [("GET", kind) for kind in ("refuse", "slow down", "half", "lose")]
        result = run(videos, tmp_path / "out", workers=1)
        assert proxy.faults == []
    assert [failure.name for failure in result.failures] == ["a"]  # the largest comes first
    assert "it can't be fetched: s3://" in result.failures[0].reason
    assert "access is refused (Access Denied)" in result.failures[0].reason
    assert sorted(result.extracted) == ["b", "c", "d"]
    assert feature_numbers(tmp_path / "out/d.h5") == [8, 24, 36]
    assert run(videos, tmp_path / "out").extracted == ["a"]


def test_a_store_that_is_away_for_seconds_is_waited_for(stored: str, s3: S3Server, tmp_path: Path) -> None:
    with one_listing():
        videos = records(stored)
        assert all(video.path.is_file() for video in videos)
        s3.stop()
        timer = threading.Timer(2, s3.start)
        timer.start()
        try:
            result = run(videos, tmp_path / "out")
        finally:
            timer.join()
    assert (len(result.extracted), result.failures) == (len(NAMES), [])


def test_a_store_that_stays_away_ends_the_run_with_one_line_and_keeps_what_is_done(
    stored: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "patience_s", 1.0)
    videos = records(stored)

    class Stopping(NumberEncoder):
        """Stops the store when the first pictures arrive."""

        def embed(self, images):
            if not stopped.is_set():
                stopped.set()
                s3.stop()
            return super().embed(images)

    stopped = threading.Event()
    try:
        with pytest.raises(StoreError, match="has not answered for 1 s") as error:
            extract_videos(
                videos,
                tmp_path / "out",
                ExtractConfig(),
                ExtractRuntime(workers=1, timeout_s=20, cache_gb=1e-9),
                encoder=Stopping(),
            )
    finally:
        s3.start()
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    done = len(list((tmp_path / "out").glob("*.h5")))
    assert 1 <= done < len(NAMES)
    monkeypatch.undo()
    monkeypatch.setenv("DSANET_CACHE", str(tmp_path / "cache"))
    again = run(videos, tmp_path / "out")
    assert (len(again.reused), len(again.extracted)) == (done, len(NAMES) - done)


KILLED = """
import sys, time
from extract.remote.cache import local_copy
from extract.remote.path import RemotePath
with local_copy(RemotePath(sys.argv[1])) as path:
    print(path, flush=True)
    time.sleep(60)
"""


def test_the_rest_of_a_killed_run_is_removed_and_that_of_a_running_one_is_not(stored: str) -> None:
    address = f"{stored}/{NAMES['b']}"
    killed, running = (
        subprocess.Popen([sys.executable, "-c", KILLED, address], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    try:
        left, held = (Path(process.stdout.readline().strip()) for process in (killed, running))
        assert left.is_file()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with local_copy(RemotePath(f"{stored}/d.mp4")) as copy:
            assert copy.is_file()
            assert not left.exists()
            assert held.is_file()
        assert not copy.exists()
        running.send_signal(signal.SIGINT)
        running.wait()
        assert not held.exists()
    finally:
        for process in (killed, running):
            process.kill()
            process.communicate()


INTERRUPTED = """
import sys
from pathlib import Path
from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
from extract.manifest import VideoRecord
from extract.remote.listings import one_listing
from extract.remote.path import RemotePath
from tests.extract.numbered_clips import NumberEncoder
paths = [RemotePath(address) for address in sys.argv[2:]]
with one_listing():
    assert all(path.is_file() for path in paths)
    print("listed", flush=True)
    sys.stdin.readline()
    videos = [VideoRecord(str(n), path, ("normal",), "test") for n, path in enumerate(paths)]
    extract_videos(videos, Path(sys.argv[1]), ExtractConfig(), ExtractRuntime(), encoder=NumberEncoder())
"""


@pytest.mark.slow
def test_ctrl_c_ends_downloads_that_wait_for_the_store(stored: str, s3: S3Server, tmp_path: Path) -> None:
    addresses = [f"{stored}/{key}" for key in NAMES.values()]
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "out"), *addresses]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout.readline() == b"listed\n"
        s3.stop()
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        process.wait(10)
    finally:
        process.kill()
        process.communicate()
        s3.start()
    assert cached_files() == []


@pytest.mark.slow
def test_several_devices_fetch_their_own_videos(stored: str, tmp_path: Path) -> None:
    config = ExtractConfig(weights="random")
    for folder, runtime in (("one", {"device": "cpu"}), ("two", {"devices": ("cpu", "cpu")})):
        result = extract_videos(
            records(stored), tmp_path / folder, config, ExtractRuntime(workers=2, **runtime)
        )
        assert (len(result.extracted), result.failures) == (len(NAMES), [])
    for path in (tmp_path / "one").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert [folder for folder in (cache_folder() / "videos").iterdir() if cached_files()] == []


def test_one_copy_serves_all_that_need_it_at_the_same_time(stored: str, store_requests: Counter[str]) -> None:
    video = RemotePath(f"{stored}/a.mp4".replace("a.mp4", NAMES["a"]))
    with one_listing(), local_copy(video) as first:
        with local_copy(video) as second:
            assert first == second
        assert first.is_file()
        assert store_requests["GetObject"] == 1
    assert not first.exists()


def test_missing_objects_of_a_copy(stored: str) -> None:
    with pytest.raises(MissingFileError, match="no object s3://"), local_copy(RemotePath(f"{stored}/x.mp4")):
        pass
    with one_listing():
        video = RemotePath(f"{stored}/d.mp4")
        assert video.is_file()
        Store(stored).write("d.mp4", b"other")
        with pytest.raises(FetchError, match="was changed"), local_copy(video):
            pass
    assert COPIES._copies == {}


def test_a_manifest_in_a_store_names_its_videos_relative_to_itself(
    stored: str, store_requests: Counter[str], tmp_path: Path
) -> None:
    rows = [f"{NAMES['a']},normal,train", f"./{NAMES['b']},fire,test", "videos//c.mp4,normal,train"]
    rows += [f"{stored}/d.mp4,normal,test", f"{tmp_path}/local.mp4,normal,test"]
    (tmp_path / "local.mp4").touch()
    Store(stored).write("lists/m.csv", b"")
    Store(stored).write("m.csv", "\n".join(["path,labels,split", *rows]).encode())
    store_requests.clear()
    found = read_manifest(RemotePath(f"{stored}/m.csv"))
    assert [str(record.path) for record in found] == [
        *(f"{stored}/{NAMES[name]}" for name in "abcd"),
        f"{tmp_path}/local.mp4",
    ]
    assert [record.name for record in found] == ["a", "b #1 50%?", "c", "d", "local"]
    assert (
        store_requests["ListObjectsV2"] == 4
    )  # its own folder, `videos/Gebäude 7/`, `videos//` and `videos/`
    (tmp_path / "m.csv").write_text("\n".join(["path,labels,split", rows[3]]))
    assert read_manifest(tmp_path / "m.csv")[0].path == RemotePath(f"{stored}/d.mp4")


def test_rows_without_an_object_are_refused_by_line(stored: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        f"path,labels,split\n{stored}/d.mp4,normal,test\n{stored}/e.mp4,fire,test\n"
    )
    with pytest.raises(InputError, match=rf"m.csv, line 3: no file at {stored}/e.mp4; correct the path"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("path,labels,split\nhttps://host/e.mp4,fire,test\n")
    with pytest.raises(InputError, match=r"line 2: https://host/e.mp4 is no address of an object store"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text(f"path,labels,split\ns3://me:{SECRET}@b/e.mp4,fire,test\n")
    with pytest.raises(InputError, match=r"line 2: an address of s3:// holds credentials") as error:
        read_manifest(tmp_path / "m.csv")
    assert SECRET not in str(error.value)


def test_paths_of_addresses() -> None:
    path = as_path("s3://bucket/a/b.c.mp4")
    assert isinstance(path, RemotePath)
    assert (path.name, path.stem, path.suffix) == ("b.c.mp4", "b.c", ".mp4")
    assert (str(path.parent), str(path.parent.parent.parent)) == ("s3://bucket/a", "s3://bucket")
    assert as_path(Path("s3://bucket/a/b.c.mp4")) == path
    assert as_path(path) is path
    assert as_path("videos/a.mp4") == Path("videos/a.mp4")
    assert str(RemotePath("s3://bucket/a") / "../b//c.mp4") == "s3://bucket/b//c.mp4"
    with pytest.raises(InputError, match="leads out of the bucket"):
        RemotePath("s3://bucket/a") / "../../b"
    assert {path: 1}[RemotePath("s3://bucket/a/b.c.mp4")] == 1


def test_a_pickled_path_takes_its_state_along(stored: str, store_requests: Counter[str]) -> None:
    path = RemotePath(f"{stored}/d.mp4")
    with one_listing():
        size = path.stat().st_size
        sent = pickle.dumps(path)
    store_requests.clear()
    received = pickle.loads(sent)
    assert (received, received.stat().st_size, received.exists()) == (path, size, True)
    assert not store_requests


def test_without_the_packages_of_stores_the_message_names_them(
    stored: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "dsanet\[s3\]"'):
        run(records(stored, "d"), tmp_path / "out")


def test_credentials_are_written_nowhere(
    stored: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    Store(stored).write("bad.mp4", b"no video")
    bad = VideoRecord("bad", RemotePath(f"{stored}/bad.mp4"), ("normal",), "test")
    run([*records(stored, "d"), bad], tmp_path / "out")
    assert failures_path(tmp_path / "out").is_file()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    ours = [r.getMessage() for r in caplog.records if r.name.partition(".")[0] in ("extract", "flows")]
    assert not any(SECRET in line for line in ours)


def test_features_of_the_pictures_of_the_copy(stored: str, tmp_path: Path) -> None:
    run(records(stored, "a"), tmp_path / "out")
    assert feature_numbers(tmp_path / "out/a.h5") == [8, 24, 40, 56, 72, 88, 98]
    source = read_features(tmp_path / "out/a.h5").meta.source
    assert source.file_name == "a.mp4"
    with h5py.File(tmp_path / "out/a.h5") as file:
        assert str(tmp_path) not in str(dict(file.attrs))
