"""Threads of the decoder pool that fail: an error of any kind fails one video, and the run goes on."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from extract.config import ExtractConfig, ExtractRuntime
from extract.decode import pool
from extract.decode.process import DecoderProcess, Message
from extract.decode.worker import Job
from extract.engine import ExtractResult, extract_videos
from extract.pictures import PictureReceiver
from tests.extract.numbered_clips import NumberEncoder, feature_numbers, make_clip, records_of

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for frames, name in zip((60, 40, 20), NAMES, strict=True):
        make_clip(folder / f"{name}.mp4", frames, size=(96, 96))
    return folder


def run(videos: Path, out: Path, workers: int = 1) -> ExtractResult:
    """The result of a run, which must end: with a lost thread it could wait forever."""
    results: list[ExtractResult] = []

    def extract() -> None:
        records, runtime = records_of(*sorted(videos.iterdir())), ExtractRuntime(workers=workers)
        results.append(extract_videos(records, out, ExtractConfig(), runtime, encoder=NumberEncoder()))

    thread = threading.Thread(target=extract, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the run waits for a thread that has ended"
    return results[0]


def only_while_decoding(name: str, fail: Callable[[], None]) -> Callable[..., Iterator[Message]]:
    """`DecoderProcess.decode` that fails after the second message about the video `name`."""
    decode = DecoderProcess.decode

    def failing(self: DecoderProcess, job: Job) -> Iterator[Message]:
        for number, message in enumerate(decode(self, job)):
            if number == 2 and job.path.stem == name:
                fail()
            yield message

    return failing


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "can't be received: MemoryError"),
        (IndexError("no such thing"), "IndexError no such thing"),
        (KeyError("x"), "KeyError 'x'"),
        (SystemExit(), "the thread that watches its decoder ended"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("name", ["a", "c"])
def test_an_error_in_a_thread_fails_its_video_only(
    error: BaseException,
    reason: str,
    name: str,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DecoderProcess, "decode", only_while_decoding(name, raising(error)))
    result = run(videos, tmp_path)
    assert [failure.name for failure in result.failures] == [name]
    assert reason in result.failures[0].reason
    assert result.extracted == [other for other in NAMES if other != name]
    monkeypatch.undo()
    assert run(videos, tmp_path).extracted == [name]
    assert feature_numbers(tmp_path / "a.h5") == [8, 24, 40, 54]


def test_pictures_that_do_not_fit_into_memory_fail_their_video_only(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes while the decoder waits for an answer: the next video needs another process."""
    copy, calls = PictureReceiver._copy, []

    def failing(self: PictureReceiver, frames: torch.Tensor) -> object:
        calls.append(frames)
        return copy(self, frames.expand(1 << 40, *frames.shape) if len(calls) == 1 else frames)

    monkeypatch.setattr(PictureReceiver, "_copy", failing)
    result = run(videos, tmp_path)
    assert [failure.name for failure in result.failures] == ["a"]
    assert "can't allocate memory" in result.failures[0].reason
    assert result.extracted == ["b", "c"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_that_a_thread_has_lost_is_a_failure(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_job = pool._Lane._next_job

    def losing(self: pool._Lane) -> object:
        job = next_job(self)
        if job is not None and job[0] == "b":
            self.key = None
            raise SystemExit
        return job

    monkeypatch.setattr(pool._Lane, "_next_job", losing)
    result = run(videos, tmp_path, workers=2)
    assert [failure.name for failure in result.failures] == ["b"]
    assert result.extracted == ["a", "c"]


def test_the_run_goes_on_with_the_threads_that_the_system_allows(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, lanes = threading.Thread.start, []

    def limited(self: threading.Thread) -> None:
        if isinstance(self, pool._Lane):
            lanes.append(self)
            if len(lanes) > 1:
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert run(videos, tmp_path, workers=3).extracted == NAMES
    assert len(lanes) == 3


COUNT = """
from extract import engine, extraction
class Counted(Exception): pass
def count(jobs, workers, *rest): raise Counted(workers)
extraction.DecoderPool = count
from pathlib import Path
from extract.config import ExtractConfig, ExtractRuntime
from tests.extract.numbered_clips import NumberEncoder, records_of
import sys
records = records_of(*(Path(f"{i}.mp4") for i in range(9)))
try:
    config, runtime = ExtractConfig(), ExtractRuntime()
    engine.extract_videos(records, Path(sys.argv[1]), config, runtime, encoder=NumberEncoder())
except Counted as counted:
    print(counted)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_there_are_as_many_decoders_as_processors_that_may_be_used(tmp_path: Path) -> None:
    one = min(os.sched_getaffinity(0))
    counted = subprocess.run(
        [sys.executable, "-c", COUNT, str(tmp_path)],
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert counted.stdout == "1\n"
