"""Whole runs: correct features, resuming, reuse of finished files, and failures of single videos."""

import os
import shutil
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import ExtractResult, extract_videos
from extract.errors import InputError
from extract.failures import read_failures
from extract.manifest import VideoRecord
from extract.progress import ExtractProgress
from extract.store import read_features
from tests.extract.numbered_clips import NumberEncoder, feature_numbers, make_clip, records_of

LENGTHS = {"a": 100, "b": 33, "c": 16, "d": 7}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, frames in LENGTHS.items():
        make_clip(folder / f"{name}.mp4", frames, size=(96, 96))
    return folder


@pytest.fixture
def videos(clips: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clips, tmp_path / "videos"))


def run(videos: Path, out: Path, config: dict | None = None, **runtime) -> ExtractResult:
    return extract_videos(
        records_of(*sorted(videos.iterdir())),
        out,
        ExtractConfig(**(config or {})),
        ExtractRuntime(**{"workers": 2, "timeout_s": 20, **runtime}),
        encoder=NumberEncoder(),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def test_each_snippet_has_the_feature_of_its_frame(videos: Path, tmp_path: Path) -> None:
    result = run(videos, tmp_path / "out")
    assert (result.extracted, result.reused, result.failures) == (list("abcd"), [], [])
    assert feature_numbers(tmp_path / "out/a.h5") == [8, 24, 40, 56, 72, 88, 98]
    assert feature_numbers(tmp_path / "out/b.h5") == [8, 24, 32]
    assert feature_numbers(tmp_path / "out/c.h5") == [8]
    assert feature_numbers(tmp_path / "out/d.h5") == [3]
    features = read_features(tmp_path / "out/a.h5")
    assert features.frame_index.tolist() == [8, 24, 40, 56, 72, 88, 98]
    np.testing.assert_allclose(features.time_s, features.frame_index / 30)
    source = features.meta.source
    assert (source.file_name, source.codec, source.n_frames, source.fps) == ("a.mp4", "h264", 100, 30)
    assert (features.meta.decoder, features.meta.source.damage) == ("pyav-sparse", "")
    assert not list((tmp_path / "out").glob(".*.part"))


def test_the_mean_of_several_frames(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out", {"frame_pick": "mean", "mean_frames": 2})
    features = read_features(tmp_path / "out/b.h5").features[0, 0, :16].astype(float)
    bits = [[(number >> place) & 1 for place in range(16)] for number in (4, 12)]
    np.testing.assert_allclose(features, 0.1 + np.mean(bits, 0) * 0.75, atol=0.06)


@pytest.mark.parametrize("crops", [5, 10])
def test_crops_share_a_frame(videos: Path, tmp_path: Path, crops: int) -> None:
    run(videos, tmp_path / "out", {"crops": crops})
    features = read_features(tmp_path / "out/a.h5").features
    assert features.shape == (7, crops, 512)
    # every unmirrored crop of a square picture is the whole picture
    assert all((features[:, crop] == features[:, 0]).all() for crop in range(1, 5))
    assert feature_numbers(tmp_path / "out/a.h5")[:2] == [8, 24]


def test_other_frames_than_the_middle_one(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "last", {"frame_pick": "last"})
    assert feature_numbers(tmp_path / "last/b.h5") == [15, 31, 32]
    run(videos, tmp_path / "later", {"frame_offset": 16})
    assert feature_numbers(tmp_path / "later/b.h5") == [24, 32, 32]  # the last frame twice
    assert read_features(tmp_path / "later/b.h5").frame_index.tolist() == [24, 32, 32]


def test_features_of_length_one(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out", {"normalise": True, "crop": 5})
    features = read_features(tmp_path / "out/a.h5")
    assert np.allclose(np.linalg.norm(features.features.astype(float), axis=-1), 1, atol=1e-3)
    assert features.meta.config == ExtractConfig(normalise=True, crop=5)


def test_a_second_run_extracts_nothing(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.h5")}
    result = run(videos, tmp_path / "out")
    assert (result.extracted, result.reused) == ([], list("abcd"))
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.h5")}


def test_batches_workers_and_order_do_not_change_a_byte(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "one", workers=1)
    extract_videos(
        records_of(*sorted(videos.iterdir(), reverse=True)),
        tmp_path / "two",
        ExtractConfig(),
        ExtractRuntime(workers=3),
        encoder=NumberEncoder(),
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_only_missing_damaged_or_outdated_features_are_extracted_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(videos, out)
    whole = contents(out)
    (out / "a.h5").unlink()
    (out / "b.h5").write_bytes(whole["b.h5"][:-7])
    make_clip(videos / "c.mp4", 40, size=(96, 96))
    assert run(videos, out).extracted == ["a", "b", "c"]
    after = contents(out)
    assert (after["a.h5"], after["b.h5"]) == (whole["a.h5"], whole["b.h5"])
    assert feature_numbers(out / "c.h5") == [8, 24, 36]


def test_another_config_or_encoder_extracts_again(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    assert len(run(videos, tmp_path / "out", {"frame_pick": "first"}).extracted) == 4
    # the same weights from another path: the fingerprint is equal
    assert run(videos, tmp_path / "out", {"frame_pick": "first", "weights": "elsewhere.pt"}).extracted == []

    class Other(NumberEncoder):
        fingerprint = NumberEncoder.fingerprint.model_copy(update={"weights_digest": "1"})

    records = records_of(videos / "a.mp4")
    result = extract_videos(
        records, tmp_path / "out", ExtractConfig(frame_pick="first"), ExtractRuntime(), encoder=Other()
    )
    assert result.extracted == ["a"]


def test_a_video_with_a_new_mtime_is_recognised_by_its_digest(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    os.utime(videos / "a.mp4", ns=(1, 1))
    assert run(videos, tmp_path / "out").extracted == []


def test_verify_detects_a_change_with_equal_size_and_mtime(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    video = videos / "a.mp4"
    times, image = video.stat(), bytearray(video.read_bytes())
    image[-1] ^= 1  # in the metadata: the pictures stay the same
    video.write_bytes(image)
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(videos, tmp_path / "out").extracted == []
    assert run(videos, tmp_path / "out", verify=True).extracted == ["a"]


def test_a_bad_video_is_listed_and_the_others_are_extracted(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (videos / "bad.mp4").write_bytes(os.urandom(5000))
    records = records_of(*sorted(videos.iterdir()), videos / "vanished.mp4")
    runtime = ExtractRuntime(workers=2)
    result = extract_videos(records, out, ExtractConfig(), runtime, encoder=NumberEncoder())
    assert result.extracted == list("abcd")
    listed = {failure.name: failure for failure in read_failures(out)}
    assert listed == {failure.name: failure for failure in result.failures}
    assert listed.keys() == {"bad", "vanished"}
    assert "can't be opened as a video" in listed["bad"].reason
    assert "No such file" in listed["vanished"].reason

    # a second run retries only these, and removes successes from the list
    make_clip(videos / "bad.mp4", 20, size=(96, 96))
    retry = extract_videos(records, out, ExtractConfig(), runtime, encoder=NumberEncoder())
    assert retry.extracted == ["bad"]
    assert [failure.name for failure in read_failures(out)] == ["vanished"]


DAMAGED_LISTS = [b"name,path\na,b\n", b"name,path,reason,frame\na,b,c,first\n", b"\xff\xfe"]


@pytest.mark.parametrize("damaged", DAMAGED_LISTS)
def test_a_damaged_failure_list_is_refused(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "failures.csv").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"failures\.csv is not a failure list .* delete it"):
        read_failures(tmp_path)


def test_features_of_a_replaced_video_are_removed(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    (videos / "a.mp4").write_bytes(b"now something else")
    (videos / "b.mp4").rename(tmp_path / "elsewhere.mp4")
    records = records_of(videos / "a.mp4", videos / "b.mp4")
    extract_videos(records, tmp_path / "out", ExtractConfig(), ExtractRuntime(), encoder=NumberEncoder())
    # features of a missing video are kept: its disk may only be unmounted
    assert [path.name for path in sorted((tmp_path / "out").glob("*.h5"))] == ["b.h5", "c.h5", "d.h5"]


class LowPrecision(NumberEncoder):
    """The same encoder on another device."""

    fingerprint = NumberEncoder.fingerprint.model_copy(update={"precision": "bf16"})


def test_another_precision_extracts_nothing_again_unless_it_is_named(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(videos, out)
    before = contents(out)
    arguments = (records_of(*sorted(videos.iterdir())), out)
    runtime = ExtractRuntime(workers=2)
    result = extract_videos(*arguments, ExtractConfig(), runtime, encoder=LowPrecision())
    assert (result.extracted, len(result.reused)) == ([], len(before))
    assert contents(out) == before
    named = ExtractConfig(precision="bf16")
    assert len(extract_videos(*arguments, named, runtime, encoder=LowPrecision()).extracted) == len(before)


def test_failures_of_videos_outside_the_run_stay_listed(videos: Path, tmp_path: Path) -> None:
    (videos / "bad.mp4").write_bytes(b"nothing")
    run(videos, tmp_path / "out")
    (videos / "bad.mp4").unlink()
    run(videos, tmp_path / "out")
    assert [failure.name for failure in read_failures(tmp_path / "out")] == ["bad"]


def test_partial_keeps_the_snippets_before_the_damage(videos: Path, tmp_path: Path) -> None:
    image = bytearray(make_clip(videos / "cut.mkv", 120, size=(96, 96), options={"g": "12"}).read_bytes())
    (videos / "cut.mkv").write_bytes(image[: len(image) // 2])
    out = tmp_path / "out"
    failed = run(videos, out).failures
    assert [failure.name for failure in failed] == ["cut"]
    assert failed[0].frame is not None
    assert not (out / "cut.h5").exists()

    assert run(videos, out, partial=True).extracted == ["cut"]
    features = read_features(out / "cut.h5")
    snippets = len(features.frame_index)
    assert 0 < snippets <= failed[0].frame // 16
    assert feature_numbers(out / "cut.h5") == [16 * t + 8 for t in range(snippets)]
    assert features.meta.source.n_frames == 16 * snippets
    assert f"frame {failed[0].frame}" in features.meta.source.damage
    assert run(videos, out, partial=True).reused == ["a", "b", "c", "cut", "d"]
    assert [failure.name for failure in run(videos, out).failures] == ["cut"]


def test_a_video_shorter_than_a_snippet_fails_without_keep_last(videos: Path, tmp_path: Path) -> None:
    failures = run(videos, tmp_path / "out", {"keep_last": False}).failures
    assert [failure.name for failure in failures] == ["d"]
    assert "fewer than one snippet" in failures[0].reason


def test_progress_is_reported(videos: Path, tmp_path: Path) -> None:
    (videos / "bad.mp4").write_bytes(b"nothing")
    reports: list[ExtractProgress] = []
    records = records_of(*sorted(videos.iterdir()))
    extract_videos(
        records,
        tmp_path / "out",
        ExtractConfig(),
        ExtractRuntime(workers=1),
        reports.append,
        encoder=NumberEncoder(),
    )
    assert (reports[0].videos_done, reports[0].videos_total) == (0, 5)
    last = reports[-1]
    assert (last.videos_done, last.failures) == (5, 1)
    assert last.snippets_done == last.snippets_total == 7 + 3 + 1 + 1
    assert last.footage_s_done == pytest.approx(sum(LENGTHS.values()) / 30)


def test_memory_is_bounded_by_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that is faster than the encoder waits. The peak includes all memory that Python allocates."""
    video = make_clip(tmp_path / "a.mp4", 800, size=(96, 96), options={"preset": "ultrafast"})
    raw_bytes = 800 * 96 * 96 * 3
    monkeypatch.setattr("extract.extraction._QUEUE_BYTES", raw_bytes // 20)

    class Slow(NumberEncoder):
        def embed(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(0.005)
            return super().embed(images)

    config = ExtractConfig(snippet_length=1)
    tracemalloc.start()
    try:
        result = extract_videos(records_of(video), tmp_path / "out", config, ExtractRuntime(), encoder=Slow())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.extracted == ["a"]
    features_bytes = 800 * 512 * (4 + 3 * 2)  # sums in float32; float16, written and read back
    assert peak < features_bytes + raw_bytes // 4


@pytest.mark.gpu
def test_a_gpu_run_gives_the_features_of_a_cpu_run(clips: Path, tmp_path: Path) -> None:
    records = records_of(clips / "a.mp4", clips / "b.mp4")
    for device in ("cpu", "cuda"):
        config = ExtractConfig(weights="random", crops=5)
        extract_videos(records, tmp_path / device, config, ExtractRuntime(device=device))
    for name in ("a.h5", "b.h5"):
        cpu, gpu = (
            torch.from_numpy(read_features(tmp_path / device / name).features).float()
            for device in ("cpu", "cuda")
        )
        assert torch.cosine_similarity(cpu, gpu, dim=-1).min() > 0.999


def test_two_videos_of_one_name_are_refused(videos: Path, tmp_path: Path) -> None:
    records = [*records_of(videos / "a.mp4"), *records_of(videos / "a.mp4")]
    with pytest.raises(ValueError, match="2 videos are named 'a'"):
        extract_videos(records, tmp_path, ExtractConfig(), ExtractRuntime(), encoder=NumberEncoder())


@pytest.mark.parametrize(
    ("name", "shown"), [(os.fsdecode(b"caf\xe9"), r"caf\\xe9"), ("../a", r"\.\./a"), (".a", r"\.a")]
)
def test_a_name_that_no_feature_file_can_have_is_refused(
    name: str, shown: str, videos: Path, tmp_path: Path
) -> None:
    records = [VideoRecord(name, videos / "a.mp4", ("normal",), "test")]
    with pytest.raises(InputError, match=f"name '{shown}' can't be a file name"):
        extract_videos(records, tmp_path / "out", ExtractConfig(), encoder=NumberEncoder())
    assert not (tmp_path / "out").exists()


def test_a_video_in_a_folder_that_is_not_utf_8_is_extracted(videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    shutil.copy(videos / "d.mp4", folder / os.fsdecode(b"\xe9.mp4"))
    records = [VideoRecord("d", folder / os.fsdecode(b"\xe9.mp4"), ("normal",), "test")]
    for expected in (["d"], []):  # the second run finds its features up to date
        result = extract_videos(records, tmp_path / "out", ExtractConfig(), encoder=NumberEncoder())
        assert (result.extracted, result.failures) == (expected, [])
    assert read_features(tmp_path / "out" / "d.h5").name == "d"


def test_a_run_without_videos(tmp_path: Path) -> None:
    result = extract_videos([], tmp_path / "out", ExtractConfig(), ExtractRuntime(), encoder=NumberEncoder())
    assert result == ExtractResult([], [], [])


def test_a_folder_that_can_not_be_created_is_a_clear_error(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="features can't be written to"):
        run(videos, tmp_path / "file" / "out")


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_the_decoder_can_be_selected(videos: Path, tmp_path: Path, decoder: str) -> None:
    run(videos, tmp_path / "out", decoder=decoder)
    meta = read_features(tmp_path / "out/a.h5").meta
    assert meta.decoder == {"pyav": "pyav-sparse", "decord": "decord"}[decoder]
    assert feature_numbers(tmp_path / "out/a.h5")[:2] == [8, 24]
