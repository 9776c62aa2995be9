"""Every decoder returns exactly the requested frames, checked by the frame numbers in the pictures."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from extract.decode.decoder_choice import choose_decoder
from extract.decode.decoders import decode_all, decode_sparse, decode_with_decord
from extract.decode.packets import VideoError
from extract.decode.probe import probe
from extract.decode.reader import FrameReader, read_frames
from tests.extract.numbered_clips import make_clip, numbered_picture, numbers_in, read_number, remux

FRAMES = 120
VFR_TICKS = np.cumsum(np.random.default_rng(0).integers(1, 9, FRAMES)).tolist()
X265 = "log-level=none:keyint=24:bframes=3:b-adapt=0"

# name: (file name, arguments of make_clip, the decoder that `auto` must choose)
CLIPS: dict[str, tuple[str, dict, str]] = {
    "h264 with B-frames": ("a.mp4", {"options": {"g": "48"}}, "pyav-sparse"),
    "h264 without B-frames": ("a.mp4", {"options": {"g": "24", "bf": "0"}}, "pyav-sparse"),
    "h264 B-pyramid": (
        "a.mp4",
        {"options": {"x264-params": "keyint=60:bframes=8:b-pyramid=normal:b-adapt=0:scenecut=0"}},
        "pyav-sparse",
    ),
    "h264 open GOP": (
        "a.mp4",
        {"options": {"x264-params": "keyint=24:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
        "pyav-sparse",
    ),
    "h264 intra refresh": (
        "a.mp4",
        {"options": {"x264-params": "intra-refresh=1:keyint=24:bframes=0"}},
        "pyav-sparse",
    ),
    "h264 interlaced": ("a.mp4", {"options": {"x264-params": "tff=1:keyint=24"}}, "pyav-full"),
    "h264 all intra": ("a.mp4", {"options": {"g": "1"}}, "pyav-sparse"),
    "h264 in Matroska": ("a.mkv", {"options": {"g": "24"}}, "pyav-sparse"),
    "h264 in AVI": ("a.avi", {"options": {"g": "24"}}, "pyav-full"),
    "h264 in FLV": ("a.flv", {"options": {"g": "24"}}, "pyav-sparse"),
    "h264 in MPEG-TS": ("a.ts", {"options": {"g": "24"}}, "pyav-sparse"),
    "h264 without a container": ("a.h264", {"options": {"g": "24"}}, "pyav-full"),
    "h264 4:4:4 of odd size": ("a.mp4", {"size": (131, 77), "pix_fmt": "yuv444p"}, "pyav-sparse"),
    "h264 timestamps above 2^31": (
        "a.mp4",
        {
            "ticks": [i * 25_000_000 for i in range(FRAMES)],
            "time_base": Fraction(1, 100_000_000),
            "options": {"g": "24"},
        },
        "pyav-sparse",
    ),
    "h264 of variable frame rate": (
        "a.mp4",
        {"ticks": VFR_TICKS, "time_base": Fraction(1, 90), "options": {"g": "24"}},
        "pyav-sparse",
    ),
    "h265 closed GOP": (
        "a.mp4",
        {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=0"}},
        "pyav-sparse",
    ),
    "h265 open GOP": (
        "a.mp4",
        {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1"}},
        "pyav-sparse",
    ),
    "h265 of 10 bits, temporal layers": (
        "a.mkv",
        {
            "codec": "libx265",
            "pix_fmt": "yuv420p10le",
            "options": {"x265-params": f"{X265}:temporal-layers=2"},
        },
        "pyav-sparse",
    ),
    "vp9 with hidden frames": (
        "a.webm",
        {"codec": "libvpx-vp9", "options": {"g": "48", "cpu-used": "5", "auto-alt-ref": "1"}},
        "decord",
    ),
    "av1": ("a.mp4", {"codec": "libsvtav1", "options": {"g": "24", "preset": "12"}}, "pyav-full"),
    "mjpeg": ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "pyav-sparse"),
    "prores with alpha": ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}, "pyav-sparse"),
    "png with alpha": ("a.mov", {"codec": "png", "pix_fmt": "rgba"}, "pyav-sparse"),
    "ffv1": ("a.mkv", {"codec": "ffv1"}, "pyav-full"),
    "mpeg4 in AVI, packed B-frames": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}, "pyav-full"),
    "mpeg4 in MP4": ("a.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}, "pyav-full"),
    "mpeg2 program stream": ("a.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}, "pyav-full"),
    "mpeg2 transport stream": ("a.ts", {"codec": "mpeg2video", "options": {"bf": "2"}}, "pyav-full"),
    "wmv2": ("a.wmv", {"codec": "wmv2"}, "pyav-full"),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8", "rate": 25}, "pyav-full"),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Encoders print on the standard error of the process itself."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@pytest.fixture
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file_name, options, _ = CLIPS[request.param]
    with quiet():
        return make_clip(tmp_path / file_name, FRAMES, **options)


@pytest.mark.parametrize("clip", CLIPS, indirect=True)
def test_every_decoder_returns_the_requested_frames(clip: Path, request: pytest.FixtureRequest) -> None:
    info = probe(clip)
    assert (info.n_frames, info.damage) == (FRAMES, None)
    wanted = [0, 1, 7, 23, 24, 25, 26, 47, 72, 73, 100, FRAMES - 2, FRAMES - 1]

    expected_decoder = CLIPS[request.node.callspec.params["clip"]][2]
    reader = FrameReader(info)
    pictures = list(reader.frames(wanted))
    assert [number for number, _ in pictures] == wanted
    assert numbers_in(pictures) == wanted
    assert reader.decoder == expected_decoder
    assert reader.reason

    everything = dict(decode_all(info, wanted))
    if expected_decoder == "pyav-sparse":
        assert all((everything[number] == picture).all() for number, picture in pictures)
    if _decord_is_allowed(info):
        with_decord = FrameReader(info, "decord")
        assert numbers_in(with_decord.frames(wanted)) == wanted
        assert with_decord.decoder == "decord"


def _decord_is_allowed(info) -> bool:
    try:
        return choose_decoder(info, "decord")[0] == "decord"
    except VideoError:
        return False


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("h264 open GOP", "open GOP"),
        ("h264 intra refresh", "intra refresh"),
        ("h264 in MPEG-TS", "mpegts"),
        ("mpeg4 in MP4", "not frames"),
        ("h265 of 10 bits, temporal layers", "8 bits"),
    ],
)
def test_decord_is_refused_where_it_returns_wrong_frames(name: str, reason: str, tmp_path: Path) -> None:
    file_name, options, _ = CLIPS[name]
    with quiet():
        info = probe(make_clip(tmp_path / file_name, FRAMES, **options))
    with pytest.raises(VideoError, match=reason):
        choose_decoder(info, "decord")


def test_without_decord_every_video_is_read_with_pyav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_name, options, decoder = CLIPS["vp9 with hidden frames"]
    info = probe(make_clip(tmp_path / file_name, FRAMES, **options))
    assert choose_decoder(info, "auto")[0] == decoder == "decord"
    monkeypatch.setattr("extract.decode.decoder_choice.find_spec", lambda name: None)
    assert choose_decoder(info, "auto") == ("pyav-full", "decord is not installed")
    with pytest.raises(VideoError, match="decord was requested, but decord is not installed; use decoder"):
        choose_decoder(info, "decord")


def test_the_reason_after_a_failure_of_decord_is_the_same_at_any_time(tmp_path: Path) -> None:
    """decord puts the time of day before its messages; the reason is stored in the feature file."""
    info = probe(make_clip(tmp_path / "tiny.mp4", 40, size=(16, 16), pix_fmt="yuv444p"))
    reader = FrameReader(info, "decord")
    assert numbers_in(reader.frames([8, 24])) == [8, 24]
    assert reader.decoder == "pyav-full"
    assert reader.reason.startswith("decord: decord fails: /")


@pytest.mark.parametrize("indices", [[-1], [40], [3, 40]])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_frames_that_do_not_exist_are_refused(indices: list[int], name: str, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"has no frame .*, only 0 to 39"):
        list(read_frames(make_clip(tmp_path / name, 40), indices))


def test_decord_returns_wrong_frames_of_an_open_gop(tmp_path: Path) -> None:
    """The reason why decord is not used here. Fails once a newer decord is correct."""
    file_name, options, _ = CLIPS["h264 open GOP"]
    info = probe(make_clip(tmp_path / file_name, FRAMES, **options))
    wanted = list(range(3, FRAMES, 7))
    assert numbers_in(decode_with_decord(info, wanted)) != wanted
    assert numbers_in(decode_sparse(info, wanted)) == wanted


def test_sparse_decoding_returns_any_selection_of_frames(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", FRAMES, **CLIPS["h264 open GOP"][1]))
    random = np.random.default_rng(1)
    for _ in range(20):
        wanted = sorted(random.choice(FRAMES, random.integers(1, 12), replace=False).tolist())
        assert numbers_in(decode_sparse(info, wanted)) == wanted


def test_times_come_from_the_stream(tmp_path: Path) -> None:
    info = probe(
        make_clip(tmp_path / "a.mp4", FRAMES, ticks=VFR_TICKS, time_base=Fraction(1, 90), options={"g": "24"})
    )
    np.testing.assert_allclose(info.time_s, (np.array(VFR_TICKS) - VFR_TICKS[0]) / 90, atol=1e-9)
    assert info.fps == pytest.approx((FRAMES - 1) / info.time_s[-1])


def test_an_even_frame_rate_is_exact(tmp_path: Path) -> None:
    assert probe(make_clip(tmp_path / "a.mkv", 50, rate=30)).fps == 30


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_pictures_are_upright(rotation: int, tmp_path: Path) -> None:
    def lying(number: int, width: int, height: int) -> np.ndarray:
        turned = rotation % 180 != 0
        upright = numbered_picture(number, *((height, width) if turned else (width, height)))
        return np.rot90(upright, -rotation // 90)

    info = probe(make_clip(tmp_path / "a.mp4", 30, rotation=rotation, picture=lying))
    pictures = list(FrameReader(info).frames([3, 20]))
    assert numbers_in(pictures) == [3, 20]
    assert pictures[0][1].shape == (info.height, info.width, 3)
    assert ((info.width, info.height) == (96, 128)) == (rotation % 180 != 0)
    assert all(
        (picture == other).all()
        for (_, picture), (_, other) in zip(pictures, decode_with_decord(info, [3, 20]), strict=True)
    )


def test_a_trimmed_clip_has_only_the_frames_that_are_shown(tmp_path: Path) -> None:
    """A stream copy cut between key frames hides its first frames with an edit list."""
    whole = make_clip(tmp_path / "whole.mp4", FRAMES, options={"g": "24", "bf": "2"})
    start = 33  # between the key frames 24 and 48
    tick = _ticks_a_frame(whole)
    trimmed = remux(
        whole, tmp_path / "trimmed.mp4", shift=-start * tick, keep=lambda _, packet: packet.dts >= 22 * tick
    )
    info = probe(trimmed)
    assert (info.n_frames, info.damage) == (FRAMES - start, None)
    assert info.time_s[0] == 0
    assert numbers_in(FrameReader(info).frames([0, 1, 40])) == [start, start + 1, start + 40]
    with pytest.raises(VideoError, match="edit lists"):
        choose_decoder(info, "decord")


def test_a_recording_that_begins_between_key_frames_starts_at_its_first_decodable_frame(
    tmp_path: Path,
) -> None:
    whole = make_clip(tmp_path / "whole.ts", FRAMES, options={"g": "24", "bf": "0"})
    cut = remux(whole, tmp_path / "cut.ts", keep=lambda position, _: position >= 10)
    info = probe(cut)
    assert info.damage is None
    assert numbers_in(FrameReader(info).frames([0, 1, 50])) == [24, 25, 74]
    assert numbers_in(decode_all(info, [0, 1, 50])) == [24, 25, 74]


def test_read_frames_probes_and_reads(tmp_path: Path) -> None:
    pictures = list(read_frames(make_clip(tmp_path / "a.mp4", 40), [33, 5]))
    assert [number for number, _ in pictures] == [5, 33]
    assert [read_number(picture) for _, picture in pictures] == [5, 33]


def _ticks_a_frame(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return round(1 / (stream.time_base * stream.average_rate))
