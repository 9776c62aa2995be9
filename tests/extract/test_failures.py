"""The failure list: written row by row during a run, sorted at its end, whatever the names are."""

from pathlib import Path

import pytest

from extract import engine
from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
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

    monkeypatch.setattr(engine, "write_failures", counted)
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
