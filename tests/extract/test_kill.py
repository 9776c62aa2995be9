"""Killed processes: finished files survive, and no partial file gets a final name."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import psutil
import pytest

from extract.config import ExtractConfig, ExtractRuntime
from extract.decode.pool import ByteQueue, QueueStopped
from extract.decode.process import DecoderProcess, Pictures
from extract.decode.shared_pictures import PictureSender, SharedMemory, SharedPictures, new_memory
from extract.decode.worker import Failed, Job, Opened, serve
from extract.engine import ExtractResult, extract_videos
from extract.store import read_features
from tests.extract.numbered_clips import NumberEncoder, make_clip, records_of

PROGRAM = Path(__file__).parent / "run_extraction.py"
NAMES = list("abcdef")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for index, name in enumerate(NAMES):
        make_clip(folder / f"{name}.mp4", 150 + 40 * index, size=(96, 96))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    subprocess.run([sys.executable, PROGRAM, videos, out], check=True)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def start(videos: Path, out: Path, delay_s: float = 0.15) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, PROGRAM, videos, out, str(delay_s)], stderr=subprocess.PIPE, text=True
    )


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def decoder_processes(parent: int) -> list[int]:
    """Process ids of the decoder processes started by process `parent`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            status = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if b"extract.decode.worker" in command and int(status[1]) == parent:
            found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("finished", [0, 2])
def test_a_killed_and_repeated_run_gives_the_bytes_of_an_uninterrupted_run(
    finished: int, videos: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    with start(videos, tmp_path) as process:
        wait_for(lambda: decoder_processes(process.pid))
        decoders = decoder_processes(process.pid)
        wait_for(lambda: len(contents(tmp_path)) >= finished)
        process.kill()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.h5")}
    assert len(kept) < len(NAMES)
    assert all(contents(tmp_path)[name] == uninterrupted[name] for name in kept)
    wait_for(lambda: not any(alive(pid) for pid in decoders), 5)

    subprocess.run([sys.executable, PROGRAM, videos, tmp_path], check=True)
    assert contents(tmp_path) == uninterrupted
    assert all((tmp_path / name).stat().st_mtime_ns == time_ns for name, time_ns in kept.items())
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_within_seconds(
    number: int, videos: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    with start(videos, tmp_path) as process:
        wait_for(lambda: decoder_processes(process.pid))
        decoders = decoder_processes(process.pid)
        wait_for(lambda: contents(tmp_path))
        process.send_signal(number)
        assert process.wait(timeout=10) in (128 + number, -number)
    assert not any(alive(pid) for pid in decoders)
    assert not list(tmp_path.glob(".*.part"))
    for path in tmp_path.glob("*.h5"):
        assert path.read_bytes() == uninterrupted[path.name]
    assert len(contents(tmp_path)) < len(NAMES)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGSTOP, "the decoder hung"),
        (signal.SIGSEGV, "killed by SIGSEGV"),
        (signal.SIGKILL, "killed by SIGKILL, perhaps out of memory"),
    ],
)
def test_a_decoder_that_hangs_or_crashes_fails_one_video(
    number: int, reason: str, videos: Path, tmp_path: Path
) -> None:
    result: list[ExtractResult] = []
    records = records_of(*sorted(videos.iterdir()))
    runtime = ExtractRuntime(workers=1, timeout_s=3)

    def run() -> None:
        result.append(extract_videos(records, tmp_path, ExtractConfig(), runtime, encoder=NumberEncoder()))

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: decoder_processes(os.getpid()))
    os.kill(decoder_processes(os.getpid())[0], number)
    thread.join(timeout=60)
    assert len(result[0].failures) == 1
    assert reason in result[0].failures[0].reason
    assert len(result[0].extracted) == len(NAMES) - 1
    assert not decoder_processes(os.getpid())


def test_a_decoder_that_stops_between_two_pictures_is_killed(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4", 60, size=(1920, 1080), options={"preset": "ultrafast"})
    process = DecoderProcess(timeout_s=2)
    messages = process.decode(Job(video, ExtractConfig(snippet_length=1).sampling, "auto", partial=False))
    assert isinstance(next(messages), Opened)
    assert isinstance(next(messages), Pictures)
    psutil.Process(process._process.pid).suspend()
    *pictures, last = messages
    assert all(isinstance(message, Pictures) for message in pictures)
    assert len(pictures) <= 2, "the memory has room for two, the one above was answered"
    assert last == Failed("the decoder hung: no data for 2 s", first_wait_s=60)
    assert not process.alive


def test_a_file_size_limit_fails_only_the_video_that_exceeds_it(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    make_clip(videos / "long.mp4", 2400, size=(16, 16), options={"preset": "ultrafast"})
    make_clip(videos / "short.mp4", 20, size=(16, 16))
    limited = subprocess.run(  # the limit has room for the pictures that the two processes share
        [sys.executable, PROGRAM, videos, out, "0", "60000"], check=True, capture_output=True, text=True
    )
    assert limited.stdout.startswith("long the features can't be written")
    assert sorted(path.name for path in out.glob("[!.]*")) == ["failures.csv", "short.h5"]
    assert not list(out.glob(".*.part"))
    read_features(out / "short.h5")
    subprocess.run([sys.executable, PROGRAM, videos, out], check=True)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["long.h5", "short.h5"]


def test_a_second_run_in_the_same_folder_is_refused(videos: Path, tmp_path: Path) -> None:
    with start(videos, tmp_path) as process:
        wait_for(lambda: decoder_processes(process.pid))
        with pytest.raises(ValueError, match="another extraction is running"):
            extract_videos([], tmp_path, ExtractConfig(), ExtractRuntime(), encoder=NumberEncoder())
        process.kill()
    extract_videos([], tmp_path, ExtractConfig(), ExtractRuntime(), encoder=NumberEncoder())


@pytest.mark.parametrize(
    ("change", "reason"),
    [(lambda video: os.utime(video, ns=(1, 1)), "changed"), (Path.unlink, "removed")],
)
def test_a_video_that_is_changed_or_removed_while_it_is_read_is_refused(
    change: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    video = make_clip(tmp_path / "a.mp4", 100)
    ours, theirs = Pipe()
    memory = SharedMemory(new_memory())
    job = Job(video, ExtractConfig(snippet_length=1).sampling, "auto", partial=False)
    thread = threading.Thread(target=serve, args=(job, theirs, PictureSender(theirs, memory)))
    thread.start()
    assert isinstance(ours.recv(), Opened)
    message = ours.recv()
    change(video)  # before the last picture is sent: the memory can't hold 100
    pictures = 0
    while isinstance(message, SharedPictures):
        pictures += len(message.picks)
        ours.send_bytes(b"")
        message = ours.recv()
    thread.join()
    memory.close()
    assert pictures == 100
    assert message == Failed(f"the file was {reason} while it was read", first_wait_s=0)


def test_the_queue_is_bounded_in_bytes() -> None:
    items: ByteQueue[int] = ByteQueue(limit=100)
    longest = 0

    def produce() -> None:
        for number in range(50):
            items.put(number, 40)
        items.put(-1, 1000)  # larger than the limit: admitted as soon as there is space

    thread = threading.Thread(target=produce)
    thread.start()
    received = []
    while not received or received[-1] != -1:
        time.sleep(0.001)
        longest = max(longest, items._items.qsize())
        received.append(items.get(5))
    thread.join()
    assert received == [*range(50), -1]
    assert longest <= 3  # two fit; a third is admitted while space is left


def test_stopping_a_queue_releases_its_producers() -> None:
    items: ByteQueue[int] = ByteQueue(limit=1)
    items.put(0, 1)
    threading.Timer(0.05, items.stop).start()
    with pytest.raises(QueueStopped):
        items.put(1, 1)
    assert items.get(0.01) == 0
    assert items.get(0.01) is None
