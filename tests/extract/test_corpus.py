"""Unusual and broken videos in one run: each gives correct snippets or a failure with a reason."""

import os
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import ExtractResult, extract_videos
from extract.failures import Failure
from extract.store import read_features
from tests.extract.numbered_clips import (
    NumberEncoder,
    feature_numbers,
    make_clip,
    numbered_picture,
    records_of,
)

SHARED = Path(__file__).parents[3] / "shared" / "data"
SQUARE = (96, 96)


def middles(frames: int) -> list[int]:
    """The middle frame of each snippet of a clip."""
    return [(start + min(start + 16, frames)) // 2 for start in range(0, frames, 16)]


def clip(path: Path, frames: int = 100, **options) -> bytes:
    return make_clip(path, frames, **{"size": SQUARE, "options": {"g": "24"}, **options}).read_bytes()


def cut(part: float, **options) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = clip(path, **options)
        path.write_bytes(image[: int(len(image) * part)])

    return write


def garbage(at: float, length: int, **options) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = bytearray(clip(path, **options))
        start = int(len(image) * at)
        image[start : start + length] = np.random.default_rng(0).bytes(length)
        path.write_bytes(image)

    return write


FASTSTART = {"container_options": {"movflags": "faststart"}}

# file name: (function that writes it, pattern of the failure's reason)
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.mp4": (lambda path: path.touch(), "can't be opened"),
    "garbage.mp4": (lambda path: path.write_bytes(np.random.default_rng(1).bytes(20_000)), "can't be opened"),
    "text.mp4": (lambda path: path.write_text("not a video\n" * 100), "can't be opened"),
    "playlist.mp4": (lambda path: path.write_text("#EXTM3U\n#EXTINF:3,\nplain.mp4\n"), "can't be opened"),
    "folder.mp4": (lambda path: path.mkdir(), "Is a directory|not a regular file"),
    "pipe.mp4": (os.mkfifo, "not a regular file"),
    "cut_in_head.mp4": (lambda path: path.write_bytes(clip(path)[:20]), "can't be opened"),
    "cut_before_index.mp4": (cut(0.9), "can't be opened"),
    "cut_in_data.mp4": (cut(0.6, **FASTSTART), "damaged|promises|fails"),
    "cut.mkv": (cut(0.6), "damaged"),
    "cut.avi": (cut(0.6, codec="mpeg4"), "promises|damaged|fails"),
    "cut.flv": (cut(0.6), "damaged|promises|fails"),
    "garbage_in_key_frame.mp4": (garbage(0.05, 60), "does not come out of the decoder"),
    "garbage_in_middle.mp4": (garbage(0.5, 400), "decoding fails|damaged|does not come out"),
    "garbage_in_middle.mkv": (garbage(0.5, 400), "decoding fails|damaged|does not come out"),
    "garbage_in_index.mp4": (garbage(0.97, 100), "."),
    "audio.wav": (lambda path: write_audio(path), "no video stream"),
    "audio.mp4": (lambda path: write_audio(path, "aac"), "no video stream"),
    "no_frames.mp4": (lambda path: write_nothing(path), "."),
    "huge_declared.mp4": (lambda path: declare_size(path, 60_000), "."),
}

# file name: (function that writes it, number of frames)
UNUSUAL: dict[str, tuple[Callable[[Path], object], int]] = {
    "plain.mp4": (clip, 100),
    "one_frame.mp4": (lambda path: clip(path, 1), 1),
    "seventeen.mp4": (lambda path: clip(path, 17), 17),
    "wrong_extension.txt": (lambda path: clip(path, container="matroska"), 100),
    "no_extension": (lambda path: clip(path, container="mp4"), 100),
    "tiny.mp4": (lambda path: clip(path, size=(16, 16), pix_fmt="yuv444p"), 100),
    "odd.mp4": (lambda path: clip(path, size=(97, 97), pix_fmt="yuv444p"), 100),
    "large.mp4": (lambda path: clip(path, 20, size=(2160, 2160), options={"preset": "ultrafast"}), 20),
    "ten_bit.mkv": (lambda path: clip(path, pix_fmt="yuv420p10le"), 100),
    "alpha.mov": (lambda path: clip(path, 40, codec="png", pix_fmt="rgba", options={}), 40),
    "grey.mp4": (lambda path: clip(path, pix_fmt="gray"), 100),
    "open_gop.mp4": (
        lambda path: clip(
            path, options={"x264-params": "keyint=24:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
        ),
        100,
    ),
    "interlaced.ts": (lambda path: clip(path, options={"x264-params": "tff=1:keyint=24"}), 100),
    "uneven.mp4": (
        lambda path: clip(path, ticks=[i * i for i in range(100)], time_base=Fraction(1, 1000)),
        100,
    ),
    "rotated.mov": (
        lambda path: clip(path, rotation=90, picture=lambda *a: np.rot90(numbered_picture(*a), -1)),
        100,
    ),
    "garbage_behind.mp4": (lambda path: path.write_bytes(clip(path) + os.urandom(5000)), 100),
    "changing_size.ts": (lambda path: two_sizes(path), 48),
    "two_streams.mkv": (lambda path: two_streams(path), 60),
    "name with ünïcode and spaces.mp4": (clip, 100),
}


def write_audio(path: Path, codec: str = "pcm_s16le") -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=8000, layout="mono")
        form = "fltp" if codec == "aac" else "s16"
        silence = np.zeros((1, 1024), np.float32 if form == "fltp" else np.int16)
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(silence, format=form, layout="mono")
            frame.sample_rate, frame.pts = 8000, number * 1024
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def write_nothing(path: Path) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        output.start_encoding()


def declare_size(path: Path, size: int) -> None:
    """A PNG stream whose headers declare pictures `size` pixels wide and high."""
    image = bytearray(clip(path, 5, codec="png", pix_fmt="rgb24", options={}))
    at = 0
    while (at := image.find(b"IHDR", at + 1)) >= 0:
        image[at + 4 : at + 12] = struct.pack(">II", size, size)
    path.write_bytes(image)


def two_sizes(path: Path) -> None:
    """48 numbered frames, from frame 24 on in a larger size."""
    options = {"x264-params": "keyint=12:bframes=0"}
    parts = []
    for start, size in ((0, 96), (24, 192)):
        part = path.with_name(f"part{start}.ts")
        make_clip(
            part,
            24,
            size=(size, size),
            options=options,
            ticks=list(range(start, start + 24)),
            time_base=Fraction(1, 30),
            picture=lambda n, w, h, start=start: numbered_picture(n + start, w, h),
        )
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


def two_streams(path: Path) -> None:
    """A thumbnail stream first, then the main video, marked as the default stream."""
    with av.open(str(path), "w") as output:
        small = output.add_stream("libx264", rate=30)
        small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
        large = output.add_stream("libx264", rate=30)
        large.width, large.height, large.pix_fmt = 96, 96, "yuv420p"
        small.disposition, large.disposition = Disposition(0), Disposition.default
        for number in range(60):
            for stream, shown, size in ((small, 7, 32), (large, number, 96)):
                frame = av.VideoFrame.from_ndarray(numbered_picture(shown, size, size), format="rgb24")
                frame.pts = number
                output.mux(stream.encode(frame))
        for stream in (small, large):
            output.mux(stream.encode(None))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExtractResult, Path]:
    """One run over all files. Videos are named by file name, because stems repeat."""
    folder = tmp_path_factory.mktemp("corpus")
    out = tmp_path_factory.mktemp("features")
    for name, (make, _) in (BROKEN | UNUSUAL).items():
        make(folder / name)
    result = extract(sorted(folder.iterdir()), out)
    return result, out


def extract(paths: list[Path], out: Path) -> ExtractResult:
    records = [
        type(record)(record.path.name, record.path, record.labels, record.split)
        for record in records_of(*paths)
    ]
    return extract_videos(
        records, out, ExtractConfig(), ExtractRuntime(workers=2, timeout_s=20), encoder=NumberEncoder()
    )


def test_every_file_is_accounted_for(corpus: tuple[ExtractResult, Path]) -> None:
    result, _ = corpus
    assert set(result.extracted) == UNUSUAL.keys()
    assert {failure.name for failure in result.failures} == BROKEN.keys()


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_video_gives_the_right_snippets(name: str, corpus: tuple[ExtractResult, Path]) -> None:
    _, out = corpus
    assert feature_numbers(out / f"{name}.h5") == middles(UNUSUAL[name][1])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_video_fails_with_its_reason(name: str, corpus: tuple[ExtractResult, Path]) -> None:
    result, out = corpus
    failure = next(failure for failure in result.failures if failure.name == name)
    assert re.search(BROKEN[name][1], failure.reason), failure.reason
    assert "hung" not in failure.reason
    assert "\n" not in failure.reason
    assert not (out / f"{name}.h5").exists()


# file name: (number of frames, or None for a failure; its reason)
ZOO: dict[str, tuple[int | None, str]] = {
    "av1_video.mkv": (125, ""),
    "corrupted.mp4": (None, "decoding fails"),
    "flipping_a_pancake.mkv": (310, ""),
    "h265_10bits.mp4": (30, ""),
    "sine_mono_s16.wav": (None, "no video stream"),
    "v_GGSY1Qvo990.mp4": (355, ""),
    "var_fps_video.mp4": (300, ""),
    "video_270.mov": (3, ""),
    "video_90.mov": (3, ""),
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared with the video zoo")
def test_the_video_zoo(tmp_path: Path) -> None:
    result = extract(sorted((SHARED / "video-zoo").iterdir()), tmp_path)
    failures: dict[str, Failure] = {failure.name: failure for failure in result.failures}
    assert len(failures) + len(result.extracted) == len(ZOO)
    for name, (frames, reason) in ZOO.items():
        if frames is None:
            assert reason in failures[name].reason
        else:
            features = read_features(tmp_path / f"{name}.h5")
            assert features.meta.source.n_frames == frames
            assert features.frame_index.tolist() == middles(frames)
    assert failures["corrupted.mp4"].frame == 28


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared with the footage")
def test_the_footage_has_the_frame_counts_of_the_data_set(tmp_path: Path) -> None:
    lines = (SHARED / "ucf-crime" / "test-frame-counts.tsv").read_text().splitlines()
    counts = {line.split("\t")[0]: int(line.split("\t")[-1]) for line in lines}
    result = extract(sorted((SHARED / "footage").iterdir()), tmp_path)
    assert (len(result.extracted), result.failures) == (9, [])
    for name in result.extracted:
        features = read_features(tmp_path / f"{name}.h5")
        assert features.meta.source.n_frames == counts[name]
        assert features.meta.decoder == "pyav-sparse"
        assert features.time_s[-1] == pytest.approx(features.frame_index[-1] / 30)
