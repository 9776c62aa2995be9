"""The failure list: written row by row during a run, sorted at its end, whatever the names are."""

import errno
import os
from datetime import timedelta
from pathlib import Path

import av
import pytest

from extract import remembered
from extract.config import ExtractConfig, ExtractRuntime
from extract.decode import worker
from extract.decode.packets import VideoError
from extract.engine import ExtractResult, extract_videos
from extract.failures import Failure, append_failure, failures_path, read_failures, write_failures
from extract.progress import ExtractProgress
from tests.extract.run_extraction import NumberEncoder, records_of


def bad_videos(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"bad{number:03d}.mp4" for number in range(count)]
    for path in paths:
        path.write_bytes(b"no video")
    return paths


def test_the_list_is_replaced_twice_and_appended_to_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list rewritten for each failure costs the square of their number."""
    replaced = []

    def counted(features_dir: Path, failures: list[Failure]) -> None:
        replaced.append(len(failures))
        write_failures(features_dir, failures)

    monkeypatch.setattr(remembered, "write_failures", counted)
    out, records = tmp_path / "out", records_of(*bad_videos(tmp_path / "videos", 20))
    result = extract_videos(records, out, ExtractConfig(), ExtractRuntime(workers=2), encoder=NumberEncoder())
    assert replaced == [1, 20]
    assert read_failures(out) == sorted(result.failures, key=lambda failure: failure.name)


def test_a_run_that_dies_has_listed_every_failure_so_far(tmp_path: Path) -> None:
    """The callback's exception stands for the process's death: nothing after it is written."""
    out, records = tmp_path / "out", records_of(*bad_videos(tmp_path / "videos", 30))
    out.mkdir()
    old, other = (Failure(name, Path(name), "of an earlier run") for name in ("bad000", "z"))
    write_failures(out, [old, other])
    reported = []

    def die(progress: ExtractProgress) -> None:
        reported.append(progress.failures)
        if progress.failures:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_videos(records, out, ExtractConfig(), ExtractRuntime(workers=2), die, encoder=NumberEncoder())
    listed = read_failures(out)
    assert len([failure for failure in listed if failure.name != "z"]) >= reported[-1] > 0
    assert other in listed
    assert old not in listed


def test_rows_are_appended_to_a_list_that_stays_readable(tmp_path: Path) -> None:
    failures = [Failure(f"v{n}", Path(f'a "{n}", b.mp4'), "two\nlines, one reason", n) for n in range(3)]
    for count, failure in enumerate(failures, start=1):
        append_failure(tmp_path, failure)
        assert read_failures(tmp_path) == failures[:count]
    appended = failures_path(tmp_path).read_bytes()
    write_failures(tmp_path, failures)
    assert failures_path(tmp_path).read_bytes() == appended
    write_failures(tmp_path, [])
    assert not failures_path(tmp_path).exists()


def test_a_name_that_is_not_utf_8_is_listed_with_escapes(tmp_path: Path) -> None:
    failure = Failure("caf\udce9", Path("d\udcff/caf\udce9.mp4"), "no video: caf\udce9")
    write_failures(tmp_path, [failure])
    append_failure(tmp_path, failure)
    escaped = Failure(r"caf\xe9", Path(r"d\xff/caf\xe9.mp4"), r"no video: caf\xe9")
    assert read_failures(tmp_path) == [escaped, escaped]


# --- failures are remembered ------------------------------------------------------------------------------


def extract_all(folder: Path, out: Path, *, retry: bool = False, **runtime: object) -> ExtractResult:
    """Extract the videos of a folder and `gone`, a video that is missing."""
    records = records_of(*sorted(folder.iterdir()), folder / "gone.mp4")
    settings = ExtractRuntime.model_validate({"workers": 1, **runtime})
    return extract_videos(records, out, ExtractConfig(), settings, encoder=NumberEncoder(), retry=retry)


def tries(out: Path) -> dict[str, int]:
    return {failure.name: failure.attempts for failure in read_failures(out)}


def pass_time(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    later = remembered.now() + timedelta(hours=hours)
    monkeypatch.setattr(remembered, "now", lambda: later)


def test_a_bad_file_waits_and_a_missing_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_videos(tmp_path / "videos", 2)
    out = tmp_path / "out"
    first = extract_all(tmp_path / "videos", out)
    assert tries(out) == {"bad000": 1, "bad001": 1, "gone": 1}
    again = extract_all(tmp_path / "videos", out)
    assert tries(out) == {"bad000": 1, "bad001": 1, "gone": 2}
    assert sorted(f.name for f in again.failures) == sorted(f.name for f in first.failures)
    pass_time(monkeypatch, 1)
    extract_all(tmp_path / "videos", out)
    assert tries(out) == {"bad000": 2, "bad001": 2, "gone": 3}
    pass_time(monkeypatch, 1.9)
    extract_all(tmp_path / "videos", out)
    assert tries(out) == {"bad000": 2, "bad001": 2, "gone": 4}
    extract_all(tmp_path / "videos", out, retry=True)
    assert tries(out) == {"bad000": 3, "bad001": 3, "gone": 5}
    by_name = {failure.name: failure for failure in read_failures(out)}
    bad, gone = by_name["bad000"], by_name["gone"]
    assert bad.next_at is not None
    assert bad.tried_at is not None
    assert bad.next_at - bad.tried_at == timedelta(hours=4)
    assert (gone.size, gone.next_at) == (None, gone.tried_at)


def test_a_changed_file_or_setting_is_a_new_first_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, _ = bad_videos(tmp_path / "videos", 2)
    out = tmp_path / "out"
    extract_all(tmp_path / "videos", out, retry=True)
    extract_all(tmp_path / "videos", out, retry=True)
    assert tries(out)["bad000"] == 2
    before = bad.stat()
    bad.write_bytes(b"NO VIDEO"[: before.st_size])  # a second copy of the file, with its old time
    os.utime(bad, ns=(before.st_atime_ns, before.st_mtime_ns))
    extract_all(tmp_path / "videos", out)
    assert (tries(out)["bad000"], tries(out)["bad001"]) == (1, 2)
    for settings in ({"partial": True}, {"decoder": "pyav"}, {"timeout_s": 60.0}):
        extract_all(tmp_path / "videos", out, **settings)
        assert tries(out)["bad001"] == 1
        extract_all(tmp_path / "videos", out, retry=True, **settings)
        assert tries(out)["bad001"] == 2
    extract_all(tmp_path / "videos", out, timeout_s=60.0, workers=2)
    assert tries(out)["bad001"] == 2
    monkeypatch.setattr(remembered, "_decoders", lambda: ["av 99"])
    extract_all(tmp_path / "videos", out, timeout_s=60.0)
    assert tries(out)["bad001"] == 1


def test_a_list_of_an_earlier_version_is_read_and_its_videos_are_tried_again(tmp_path: Path) -> None:
    (bad,) = bad_videos(tmp_path / "videos", 1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "failures.csv").write_bytes(f"name,path,reason,frame\r\nbad000,{bad},no video,7\r\n".encode())
    assert read_failures(out) == [Failure("bad000", bad, "no video", 7)]
    extract_all(tmp_path / "videos", out)
    assert tries(out)["bad000"] == 1


def test_a_try_in_the_future_does_not_hold_a_video_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The computer's clock was ahead when the video failed."""
    bad_videos(tmp_path / "videos", 1)
    with monkeypatch.context() as patch:
        pass_time(patch, 24 * 365)
        extract_all(tmp_path / "videos", tmp_path / "out")
    extract_all(tmp_path / "videos", tmp_path / "out")
    assert tries(tmp_path / "out")["bad000"] == 2


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (VideoError("a frame is damaged"), 3600),
        (KeyError("a bug of a decoder"), 3600),
        (OSError(errno.EIO, "the disk did not answer"), 0),
        (FileNotFoundError(errno.ENOENT, "no such file"), 0),
        (MemoryError(), 60),
        (av.error.PermissionError(errno.EPERM, "FFmpeg's word for a strange file"), 60),
    ],
)
def test_reasons_outside_the_video_wait_less(error: Exception, wait_s: float) -> None:
    assert worker._first_wait_s(error) == wait_s


def test_an_io_error_that_ffmpeg_reports_waits_a_minute() -> None:
    """FFmpeg calls damaged files so, too."""
    error = VideoError("decoding fails")
    error.__cause__ = av.error.OSError(errno.EIO, "Input/output error")
    assert worker._first_wait_s(error) == 60
