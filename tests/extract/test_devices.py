"""Several devices: two CPU processes share one list of videos and write the bytes of one."""

import logging
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from extract.config import ExtractConfig, ExtractRuntime
from extract.devices import selected_devices
from extract.engine import extract_videos
from extract.errors import InputError
from extract.progress import ExtractProgress
from tests.child_processes import children_running
from tests.extract.numbered_clips import make_clip, records_of

CONFIG = ExtractConfig(weights="random", precision="fp32")
ONE = ExtractRuntime(device="cpu", workers=2)
TWO = ExtractRuntime(devices=("cpu", "cpu"), workers=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    clips = [make_clip(folder / f"{name}.mp4", 32 + 16 * i) for i, name in enumerate("abc")]
    (folder / "e.mp4").write_bytes(b"not a video")
    return [*clips, folder / "e.mp4"]


@pytest.fixture(scope="module")
def expected(videos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("one")
    extract_videos(records_of(*videos), folder, CONFIG, ONE)
    return feature_files(folder)


def feature_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def device_processes() -> list[psutil.Process]:
    return children_running("extract.device_process")


@pytest.mark.slow  # the test of a killed process compares bytes too
def test_two_processes_write_the_bytes_of_one(
    videos: list[Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    seen: list[ExtractProgress] = []
    result = extract_videos(records_of(*videos), tmp_path, CONFIG, TWO, seen.append)
    assert feature_files(tmp_path) == expected
    assert result.extracted == ["a", "b", "c"]
    assert [failure.name for failure in result.failures] == ["e"]
    assert (seen[-1].videos_done, seen[-1].videos_total, seen[-1].failures) == (4, 4, 1)
    assert seen[-1].snippets_done == seen[-1].snippets_total == 2 + 3 + 4
    assert not device_processes()


def test_the_videos_of_a_killed_process_are_taken_by_the_other(
    videos: list[Path], expected: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed: list[int] = []

    def kill_one(progress: ExtractProgress) -> None:
        if progress.snippets_done and not killed:
            killed.append(device_processes()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with caplog.at_level(logging.WARNING):
        result = extract_videos(records_of(*videos), tmp_path, CONFIG, TWO, kill_one)
    assert "killed by SIGKILL" in caplog.text
    assert feature_files(tmp_path) == expected
    assert result.extracted == ["a", "b", "c"]


@pytest.mark.slow
def test_the_lock_is_held_until_the_last_process_has_ended(videos: list[Path], tmp_path: Path) -> None:
    """A second extraction, begun while the processes of the first still run, is refused."""
    refused: list[str] = []

    def begin_another(progress: ExtractProgress) -> None:
        if progress.snippets_done and not refused:
            for process in device_processes():
                process.suspend()
            try:
                extract_videos(records_of(*videos), tmp_path, CONFIG, ONE)
            except InputError as error:
                refused.append(str(error))
            for process in device_processes():
                process.resume()

    extract_videos(records_of(*videos[:2]), tmp_path, CONFIG, TWO, begin_another)
    assert "another extraction is running" in refused[0]


@pytest.mark.slow
def test_all_processes_killed_is_an_error_and_the_next_run_continues(
    videos: list[Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    def kill_all(progress: ExtractProgress) -> None:
        if progress.snippets_done:
            for process in device_processes():
                process.kill()

    with pytest.raises(InputError, match=r"the processes of all devices ended, \d videos are left.*SIGKILL"):
        extract_videos(records_of(*videos), tmp_path, CONFIG, TWO, kill_all)
    extract_videos(records_of(*videos), tmp_path, CONFIG, ONE)
    assert feature_files(tmp_path) == expected


def test_wrong_weights_are_the_error_of_one_device(videos: list[Path], tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"not weights")
    with pytest.raises(InputError, match="weights"):
        extract_videos(records_of(*videos), tmp_path, ExtractConfig(weights=str(weights)), TWO)
    assert not device_processes()


@pytest.mark.slow
def test_no_process_outlives_an_interrupted_run(videos: list[Path], tmp_path: Path) -> None:
    def interrupt(progress: ExtractProgress) -> None:
        if progress.snippets_done:
            raise KeyboardInterrupt

    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        extract_videos(records_of(*videos), tmp_path, CONFIG, TWO, interrupt)
    assert not device_processes()
    assert time.monotonic() - before < 60


def test_the_selected_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert selected_devices(ExtractRuntime()) == []
    assert selected_devices(ExtractRuntime(devices=("cuda:1", "cuda:0"))) == ["cuda:1", "cuda:0"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert selected_devices(ExtractRuntime(devices="all")) == ["cuda:0", "cuda:1", "cuda:2"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA card"):
        selected_devices(ExtractRuntime(devices="all"))
