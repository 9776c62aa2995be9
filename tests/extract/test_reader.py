"""Every decoder returns exactly the requested frames, checked by the frame numbers in the pictures."""

import contextlib
from dataclasses import replace
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest

from extract.decode.decoder_choice import choose_decoder
from extract.decode.decoders import decode_all, decode_sparse, decode_with_decord
from extract.decode.packets import VideoError
from extract.decode.probe import probe
from extract.decode.reader import FrameReader, read_frames
from tests.extract.clip_kinds import CLIPS, VFR_TICKS, make_kind
from tests.extract.numbered_clips import make_clip, numbered_picture, numbers_in, read_number, remux

if tuple(int(part) for part in av.__version__.split(".")[:2]) < (18, 0):
    pytest.skip("PyAV before 18 does not tell interlaced video", allow_module_level=True)


def _decord_06_is_installed() -> bool:
    """decord2, of the same import name, fails on H.265 and turned pictures."""
    with contextlib.suppress(PackageNotFoundError):
        return version("decord").startswith("0.6") and find_spec("decord") is not None
    return False


DECORD = _decord_06_is_installed()
needs_decord = pytest.mark.skipif(not DECORD, reason="decord 0.6 is not installed")
FRAMES = 120
TICKS = VFR_TICKS[:FRAMES]


@pytest.fixture
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_kind(request.param, tmp_path, FRAMES)


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
    if DECORD and _decord_is_allowed(info):
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
@needs_decord
def test_decord_is_refused_where_it_returns_wrong_frames(name: str, reason: str, tmp_path: Path) -> None:
    info = probe(make_kind(name, tmp_path, FRAMES))
    with pytest.raises(VideoError, match=reason):
        choose_decoder(info, "decord")


def test_decord_is_refused_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(make_kind("vp9 with hidden frames", tmp_path, FRAMES))
    monkeypatch.setattr("extract.decode.decoder_choice.find_spec", lambda name: None)
    with pytest.raises(VideoError, match="decord was requested, but decord is not installed; use decoder"):
        choose_decoder(info, "decord")


@needs_decord
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


@needs_decord
def test_decord_returns_wrong_frames_of_an_open_gop(tmp_path: Path) -> None:
    """The reason why decord is not used here. Fails once a newer decord is correct."""
    info = probe(make_kind("h264 open GOP", tmp_path, FRAMES))
    wanted = list(range(3, FRAMES, 7))
    assert numbers_in(decode_with_decord(info, wanted)) != wanted
    assert numbers_in(decode_sparse(info, wanted)) == wanted


@pytest.mark.parametrize("name", ["h264 open GOP", "vp9 with hidden frames", "av1", "ffv1"])
def test_sparse_decoding_returns_any_selection_of_frames(name: str, tmp_path: Path) -> None:
    info = probe(make_kind(name, tmp_path, FRAMES))
    everything = dict(decode_all(info, range(FRAMES)))
    random = np.random.default_rng(1)
    for _ in range(20):
        wanted = sorted(random.choice(FRAMES, random.integers(1, 12), replace=False).tolist())
        pictures = dict(decode_sparse(info, wanted))
        assert list(pictures) == wanted
        assert all((everything[number] == picture).all() for number, picture in pictures.items())


@pytest.mark.parametrize("name", ["vp9 with hidden frames", "av1"])
def test_sparse_decoding_does_not_begin_where_references_are_missing(name: str, tmp_path: Path) -> None:
    """A wrong key flag of the container would be noticed, and the video decoded in full."""
    info = probe(make_kind(name, tmp_path, FRAMES))
    entry = info.packets.entry.copy()
    entry[30] = True
    wrong = replace(info, packets=replace(info.packets, entry=entry))
    reader = FrameReader(wrong)
    with contextlib.suppress(VideoError):
        assert numbers_in(reader.frames([2, 40])) == [2, 40]
    assert reader.decoder == "pyav-full"


def test_times_come_from_the_stream(tmp_path: Path) -> None:
    info = probe(
        make_clip(tmp_path / "a.mp4", FRAMES, ticks=TICKS, time_base=Fraction(1, 90), options={"g": "24"})
    )
    np.testing.assert_allclose(info.time_s, (np.array(TICKS) - TICKS[0]) / 90, atol=1e-9)
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
    if DECORD:
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
    if DECORD:
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
