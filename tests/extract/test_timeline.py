"""The time and the number of every frame of recordings whose statements about them contradict each other."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.config import ExtractConfig, ExtractRuntime
from extract.decode.decoders import decode_all
from extract.decode.probe import VideoInfo, probe
from extract.decode.reader import FrameReader
from extract.decode.timeline import NO_PTS, StreamClock, frame_timeline, join_recordings, usual_duration
from extract.engine import extract_videos
from extract.store import read_features
from tests.extract.numbered_clips import (
    NumberEncoder,
    feature_numbers,
    make_clip,
    numbered_picture,
    numbers_in,
    records_of,
    remux,
)

if tuple(int(part) for part in av.__version__.split(".")[:2]) < (18, 0):
    pytest.skip("PyAV before 18 does not tell interlaced video", allow_module_level=True)

FIELD = Path(__file__).parents[3] / "shared" / "data" / "field-cases"
PLAIN = {"g": "24", "bf": "0"}
TENTHS = StreamClock(time_base=0.1, rates=(10.0,))


def numbers(path: Path, wanted: list[int] | None = None) -> list[int]:
    """The numbers of the first pictures of the snippets, by the decoder that is chosen."""
    info = probe(path)
    return numbers_in(FrameReader(info).frames(wanted or list(range(0, info.n_frames, 16))))


def clip_at(path: Path, seconds: list[float], **options) -> Path:
    """A clip of pictures shown at these times, to the millisecond."""
    ticks = [round(1000 * s) for s in seconds]
    return make_clip(
        path, len(ticks), ticks=ticks, time_base=Fraction(1, 1000), rate=10, **({"options": PLAIN} | options)
    )


def tenths(*ranges: range) -> list[float]:
    return [tick / 10 for part in ranges for tick in part]


# --- timestamps alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0, 1, 2, 3], [0, 0.1, 0.2, 0.3]),
        ([0, 1, 1, 3], [0, 0.1, 0.2, 0.3]),  # repeated
        ([0, 1, NO_PTS, 3], [0, 0.1, 0.2, 0.3]),  # missing
        ([0, 1, 2, 2], [0, 0.1, 0.2, 0.3]),  # repeated at the end
        ([0, 2, 1, 3], [0, 0.1, 0.2, 0.3]),  # in the order of decoding
        ([NO_PTS] * 4, [0, 0.1, 0.2, 0.3]),
        ([5] * 4, [0, 0.1, 0.2, 0.3]),
    ],
)
def test_missing_and_wrong_timestamps_are_interpolated(stamps: list[int], times: list[float]) -> None:
    timeline = frame_timeline(np.array(stamps), TENTHS)
    np.testing.assert_allclose(timeline.start_s, times)
    np.testing.assert_allclose(timeline.end_s[-1], 0.4)
    assert timeline.fps == pytest.approx(10)


@given(st.lists(st.sampled_from([NO_PTS, *range(-5, 40)]), min_size=1, max_size=60))
def test_any_timestamps_give_ascending_times(stamps: list[int]) -> None:
    timeline = frame_timeline(np.array(stamps), TENTHS)
    assert timeline.start_s[0] >= 0
    assert (np.diff(timeline.start_s) > 0).all()
    assert (timeline.end_s > timeline.start_s).all()
    assert (timeline.end_s[:-1] <= timeline.start_s[1:] + 1e-9).all()
    assert timeline.fps > 0


def test_timestamps_in_whole_seconds_are_spread(tmp_path: Path) -> None:
    timeline = frame_timeline(np.arange(100) // 25 * 10, TENTHS)
    np.testing.assert_allclose(timeline.start_s, np.arange(100) / 25)
    assert timeline.fps == pytest.approx(25)


def test_a_rate_that_the_timestamps_contradict_is_not_believed() -> None:
    """The container's average is 1000 a second, as for a file with one repeated timestamp."""
    clock = StreamClock(time_base=0.001, rates=(1000.0, 10.0), packet_duration_s=0.1)
    assert frame_timeline(np.arange(200) * 100, clock).fps == 10
    assert frame_timeline(np.full(200, NO_PTS), clock).fps == 10


def test_a_stream_without_any_rate_says_what_was_assumed() -> None:
    timeline = frame_timeline(np.full(50, NO_PTS), StreamClock(time_base=0.001))
    assert (timeline.fps, timeline.end_s[-1]) == (25, 2)
    assert timeline.notes == ("no timestamps and no frame rate: 25 frames a second assumed",)


def test_a_single_wrong_timestamp_is_not_a_joint() -> None:
    """Neither a step back nor one far ahead that the next packets do not confirm."""
    dts = np.arange(8) * 100
    key = np.arange(8) == 0
    for wrong in (0, 1_000_000):
        pts = dts.copy()
        pts[4] = wrong
        own = np.where(np.arange(8) == 4, wrong, dts)
        joined, joints = join_recordings(pts, own, key, 0.001)
        assert (joints, joined.tolist()) == ([], [0, 100, 200, 300, NO_PTS, 500, 600, 700])


def test_a_clock_that_starts_again_continues_behind_the_recording() -> None:
    day = 26 * 3600 * 1000
    for offset in (-50_000, day):  # back to an earlier time, or around the wrap of the clock
        pts = np.r_[np.arange(5), np.arange(5)] * 100 + np.repeat([60_000, 60_000 + offset], 5)
        joined, joints = join_recordings(pts, pts, np.arange(10) % 5 == 0, 0.001)
        assert joints == [5]
        assert (joined - joined[0]).tolist() == [100 * i for i in range(10)]


def joined(pts: list[int], dts: list[int] | None = None, keys: tuple[int, ...] = (0,)) -> tuple[list, list]:
    """`join_recordings` of millisecond timestamps."""
    key = np.isin(np.arange(len(pts)), keys)
    stamps, joints = join_recordings(np.array(pts), np.array(dts or pts), key, 0.001)
    return stamps.tolist(), joints


@pytest.mark.parametrize(
    ("pts", "dts"),
    [
        ([0, 3, 1, 2, 6, 4, 5, 9, 7, 8], [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8]),  # B-frames
        ([0, 1, 1, 1, 4], None),  # repeated, also twice
        ([0, 100, 13 * 3600 * 1000 + 100], None),  # the longest pause
        ([0, NO_PTS, 200, NO_PTS, 400], None),
        ([7], None),
    ],
)
def test_timestamps_of_one_recording_stay(pts: list[int], dts: list[int] | None) -> None:
    assert joined(pts, dts) == (pts, [])
    assert joined(pts, dts, keys=tuple(range(len(pts))) if dts is None else (0,)) == (pts, [])


@pytest.mark.parametrize(
    ("pts", "stamps", "joints"),
    [
        ([100, 200, 300, 0, 100, 200], [100, 200, 300, 400, 500, 600], [3]),
        ([0, 100, 200] * 3, [100 * i for i in range(9)], [3, 6]),  # three recordings
        ([0, 100, 200, 0, NO_PTS, 100], [0, 100, 200, 300, NO_PTS, 400], [3]),
        ([5000, 0, 100, 200], [5000, 5001, 5101, 5201], [1]),  # the first packet alone
        ([0, 100, 100, 100, 0, 50], [0, 100, 100, 100, 200, 250], [4]),  # the usual step, repeats aside
        ([0, 100, 200, 50, 300, 0, 100], [0, 100, 200, NO_PTS, 300, 400, 500], [5]),  # one wrong, one joint
        ([0, 90_000, 200, 300], [0, NO_PTS, 200, 300], []),  # far ahead, as the second packet
        ([0, 100, 200, 50, 300], [0, 100, 200, NO_PTS, 300], []),  # back, as the last packet but one
        ([0, 100, 200, 50], [0, 100, 200, 300], [3]),  # nothing follows that says which is wrong
        ([0, 100, 13 * 3600 * 1000 + 101], [0, 100, 200], [2]),
        ([0, 1, 2, 0, 1], [0, 1, 2, 3, 4], [3]),  # a tick a frame
    ],
)
def test_joints_and_single_wrong_timestamps(pts: list[int], stamps: list[int], joints: list[int]) -> None:
    assert joined(pts) == (stamps, joints)


def test_a_key_frame_before_pictures_already_shown_begins_a_recording() -> None:
    """Also where the decoding timestamps are missing; other pictures are B-frames then."""
    missing = [NO_PTS] * 6
    assert joined([0, 300, 100, 200, 600, 400], missing) == ([0, 300, 100, 200, 600, 400], [])
    assert joined([0, 300, 100, 200, 220, 280], missing, keys=(0, 4))[1] == [4]
    assert joined([0, 300, 100, 200, 300, 400], missing, keys=(0, 4))[1] == []


def test_a_wrong_timestamp_does_not_hide_the_pictures_before_it() -> None:
    """After a timestamp far ahead, the recording is known up to the B-frames before."""
    pts = [0, 400, 100, 90_000, 200, 300, 800]
    assert joined(pts, [NO_PTS] * 7, keys=(0, 4))[1] == [4]


def test_a_decoding_clock_that_wavers_does_not_hide_a_step_back() -> None:
    assert joined([0, 10, 20, 30, 17, 18], [0, 10, 20, 15, 17, 18])[1] == [4]


def test_frames_before_the_first_timestamp_begin_at_zero() -> None:
    timeline = frame_timeline(np.array([NO_PTS, NO_PTS, 7, 8, 10, NO_PTS]), TENTHS)
    np.testing.assert_allclose(timeline.start_s, [0, 0.15, 0.3, 0.4, 0.6, 0.75])


def test_a_first_picture_within_the_first_frames_is_not_mentioned() -> None:
    for delay, notes in ((0.4, ()), (0.6, ("the first picture is at 0:00.60",))):
        clock = StreamClock(time_base=0.1, rates=(1.0,), start_s=5 - delay)
        assert frame_timeline(np.arange(50, 90, 10), clock).notes == notes


def test_a_delay_counts_and_the_stated_end_is_on_the_same_clock() -> None:
    clock = StreamClock(time_base=0.1, rates=(10.0,), start_s=2.0, end_s=6.0)
    for stamps in (np.arange(50, 55), np.arange(50, 51)):
        timeline = frame_timeline(stamps, clock)
        assert timeline.start_s[0] == pytest.approx(3)
        assert timeline.end_s[-1] == pytest.approx(4)
        assert timeline.notes == ("the first picture is at 0:03.00",)
    assert frame_timeline(np.array([50, 52]), clock).end_s.tolist() == pytest.approx([3.2, 4])
    short = StreamClock(time_base=0.1, rates=(10.0,), start_s=2.0, end_s=5.54)
    assert frame_timeline(np.arange(50, 55), short).end_s[-1] == pytest.approx(3.5)  # within half a frame
    longer = StreamClock(time_base=0.1, rates=(10.0,), start_s=2.0, end_s=5.57)
    assert frame_timeline(np.arange(50, 55), longer).end_s[-1] == pytest.approx(3.57)
    assert frame_timeline(np.arange(50, 55), longer).end_s[3] == pytest.approx(3.4)


@pytest.mark.parametrize(
    ("start", "first"),
    [(4.0, 1.0), (6.0, 0.0), (4.9995, 0.0), (4.998, 0.002), (5.0 - 3600, 3600), (5.0 - 3601, 0)],
)
def test_a_start_that_no_player_would_show_is_not_believed(start: float, first: float) -> None:
    timeline = frame_timeline(np.arange(5000, 5300, 100), StreamClock(time_base=0.001, start_s=start))
    assert timeline.start_s[0] == pytest.approx(first)
    assert bool(timeline.notes) == (first > 0.05)


@pytest.mark.parametrize(
    ("steps", "fps", "notes"),
    [
        ([100, 100, 200, 200], 10, ("2 dropped pictures",)),  # half of the steps are usual
        ([100, 110, 100, 109], 4000 / 419, ()),  # uneven by a tenth
        ([100, 140, 100, 61], 10, ("variable frame rate, 7.46 to 15 a second",)),
        ([100] * 8 + [500], 10, ("4 dropped pictures",)),
        ([100] * 8 + [1000], 10, ("9 dropped pictures",)),
        ([100] * 8 + [1100], 10, ("1 pause, 1.0 s at 0:01",)),
        ([1000] * 8 + [4000], 1, ("3 dropped pictures",)),
        ([1000] * 8 + [5500], 1, ("1 pause, 4.5 s at 0:09",)),
        ([100] * 19 + [130], 10, ()),
        ([100] * 20 + [40, 200], 10, ("1 dropped picture",)),  # one that came early drops none
        ([100, 10, 50, 70], 4000 / 230, ("variable frame rate, 10.5 to 62.5 a second",)),
    ],
)  # fmt: skip
def test_the_usual_rate_and_what_deviates(steps: list[int], fps: float, notes: tuple[str, ...]) -> None:
    timeline = frame_timeline(np.cumsum([0, *steps]), StreamClock(time_base=0.001))
    assert (timeline.fps, timeline.notes) == (pytest.approx(fps), notes)


@pytest.mark.parametrize(
    ("stamps", "rate", "exact"),
    [
        (np.round(np.arange(1000) * 1001 / 30).astype(int), 30_000 / 1001, True),  # rounded to milliseconds
        (np.delete(np.round(np.arange(1000) * 1001 / 30).astype(int), [300, 700]), 30_000 / 1001, True),
        (np.arange(1000) * 33, 30_000 / 1001, False),
        (np.arange(3) * 100, 0.5, False),
        (np.round(np.arange(100) * 1000 / 0.7).astype(int), 0.7, True),
        (
            np.arange(100) * 33 + np.arange(100) // 25 * 1000,
            1000 / 33.05,
            True,
        ),  # 4 runs: 8 ticks of rounding
        (np.arange(100) * 33 + np.arange(100) // 25 * 1000, 1000 / 33.12, False),
        (np.arange(100) * 33, 1000 / 33.025, False),  # 2.5 ticks in one run
    ],
)
def test_a_declared_rate_is_taken_if_it_agrees(stamps: np.ndarray, rate: float, exact: bool) -> None:
    fps = frame_timeline(stamps, StreamClock(time_base=0.001, rates=(0.0, rate))).fps
    assert (fps == rate) == exact


@pytest.mark.parametrize(
    ("clock", "fps"),
    [
        (StreamClock(0.001, rates=(240.0,)), 240),
        (StreamClock(0.001, rates=(241.0, 0.5)), 0.5),
        (StreamClock(0.001, rates=(30.0,), packet_duration_s=0.1), 10),
    ],
)
def test_the_rate_of_a_stream_without_timestamps(clock: StreamClock, fps: float) -> None:
    timeline = frame_timeline(np.full(3, NO_PTS), clock)
    assert timeline.fps == pytest.approx(fps)
    assert timeline.notes == (f"no timestamps: times are those of {fps:g} frames a second",)
    assert frame_timeline(np.full(2, NO_PTS), clock).notes == timeline.notes
    single = frame_timeline(np.full(1, NO_PTS), clock)
    assert (single.notes, single.end_s[0]) == ((), pytest.approx(1 / fps))


def test_the_usual_duration_is_the_most_frequent_one() -> None:
    assert usual_duration(np.array([0, 0, 0, 40, 40, 90]), 0.001) == pytest.approx(0.04)
    assert usual_duration(np.array([1, 1, 0]), 0.5) == pytest.approx(0.5)
    assert usual_duration(np.array([0, 0]), 0.001) == 0


def test_notes_name_what_is_irregular() -> None:
    pause = frame_timeline(np.r_[np.arange(100), np.arange(700, 800), np.arange(900, 950)], TENTHS)
    assert pause.notes == ("2 pauses, longest 60.0 s at 0:10",)
    assert pause.fps == pytest.approx(10)
    assert pause.end_s[99] == pytest.approx(10)  # the picture before a pause is not shown all through it
    assert frame_timeline(np.delete(np.arange(50), [20, 30, 31]), TENTHS).notes == ("3 dropped pictures",)
    halved = frame_timeline(np.r_[np.arange(0, 100, 4), np.arange(100, 300, 8)], StreamClock(0.01))
    assert halved.notes == ("24 dropped pictures",)
    random = np.cumsum(np.random.default_rng(0).integers(20, 90, 200))
    assert "variable frame rate" in frame_timeline(random, StreamClock(0.001)).notes[0]
    assert frame_timeline(np.arange(100), TENTHS).notes == ()


# --- whole files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4", "a.flv"])
def test_an_irregular_recording_is_read_in_every_container(name: str, tmp_path: Path) -> None:
    """A dropped picture, a pause, and a change to half of the frame rate."""
    times = tenths(range(20), range(21, 50), range(350, 400), range(400, 440, 2))
    info = probe(clip_at(tmp_path / name, times))
    assert (info.n_frames, info.damage) == (len(times), None)
    np.testing.assert_allclose(info.time_s, times, atol=2e-3)
    assert info.fps == pytest.approx(10, rel=0.01)
    assert "1 pause, 30.0 s at 0:05" in info.notes
    assert numbers(tmp_path / name) == list(range(0, len(times), 16))


def test_snippets_have_the_times_of_their_own_frames(tmp_path: Path) -> None:
    """The pause lies within a snippet: no time is interpolated across it."""
    times = tenths(range(20), range(620, 640))
    extract_videos(
        records_of(clip_at(tmp_path / "a.mp4", times)),
        tmp_path / "out",
        ExtractConfig(),
        ExtractRuntime(workers=1),
        encoder=NumberEncoder(),
    )
    features = read_features(tmp_path / "out" / "a.h5")
    np.testing.assert_allclose(features.start_s, [0, 1.6, 63.2], atol=1e-6)
    np.testing.assert_allclose(features.time_s, [0.8, 62.4, 63.6], atol=1e-6)
    np.testing.assert_allclose(features.end_s, [1.6, 63.2, 64.0], atol=1e-6)
    assert features.meta.source.timing == "1 pause, 60.0 s at 0:02"
    assert features.meta.source.duration_s == pytest.approx(64)


def test_two_recordings_with_overlapping_clocks_follow_each_other(tmp_path: Path) -> None:
    parts = [
        make_clip(
            tmp_path / f"{start}.ts", 60, rate=25, options={"g": "24"},
            picture=lambda n, w, h, start=start: numbered_picture(n + start, w, h),
        ).read_bytes()
        for start in (0, 60)
    ]  # fmt: skip
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    info = probe(joined)
    assert (info.n_frames, info.damage, info.duration_s) == (120, None, pytest.approx(4.8))
    assert info.notes == ("2 recordings, one after the other",)
    np.testing.assert_allclose(info.time_s, np.arange(120) / 25, atol=1e-6)
    wanted = [0, 16, 58, 59, 60, 61, 90, 119]
    assert numbers(joined, wanted) == wanted
    assert numbers_in(decode_all(info, wanted)) == wanted


def test_lost_packets_of_a_transport_stream_are_damage(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 90, (96, 128, 3), dtype=np.uint8)

    def noisy(number: int, width: int, height: int) -> np.ndarray:
        return numbered_picture(number, width, height) // 2 + np.roll(noise, 7 * number, 0)

    image = make_clip(tmp_path / "a.ts", 100, options=PLAIN, picture=noisy).read_bytes()
    middle = len(image) // 188 // 2 * 188
    cut = tmp_path / "cut.ts"
    cut.write_bytes(image[:middle] + image[middle + 20 * 188 :])
    result = extract_videos(
        records_of(cut), tmp_path / "out", ExtractConfig(), ExtractRuntime(), encoder=NumberEncoder()
    )
    reason = result.failures[0].reason
    assert reason.startswith("the file is damaged: packets were lost; --partial keeps the ")
    runtime = ExtractRuntime(partial=True)
    extract_videos(records_of(cut), tmp_path / "out", ExtractConfig(), runtime, encoder=NumberEncoder())
    kept = read_features(tmp_path / "out" / "cut.h5")
    assert 16 <= kept.meta.source.n_frames <= 64
    assert "packets were lost" in kept.meta.source.damage


def without_timestamps(source: Path, path: Path, tick: int) -> Path:
    """A copy whose timestamps follow the order of decoding."""
    with av.open(str(source)) as original, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(original.streams.video[0])
        for position, packet in enumerate(p for p in original.demux(video=0) if p.size):
            packet.pts = packet.dts = position * tick
            packet.stream = stream
            output.mux(packet)
    return path


@pytest.mark.parametrize("name", ["copy.mp4", "copy.mkv", "copy.asf"])
def test_pictures_are_numbered_as_shown_where_timestamps_follow_the_decoding(
    name: str, tmp_path: Path
) -> None:
    whole = make_clip(tmp_path / "whole.mp4", 100, rate=10, options={"g": "24", "bf": "2"})
    with av.open(str(whole)) as container:
        stream = container.streams.video[0]
        tick = round(1 / (stream.time_base * 10))
    copy = without_timestamps(whole, tmp_path / name, tick)
    info = probe(copy)
    assert (info.n_frames, info.fps, info.damage) == (100, pytest.approx(10, rel=0.01), None)
    assert info.full_decode_reason
    wanted = list(range(0, 100, 7))
    assert numbers(copy, wanted) == wanted


def test_asf_of_another_program_is_numbered_as_shown(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.asf", 100, rate=10, options={"g": "24", "bf": "2"})
    wanted = list(range(0, 100, 7))
    assert numbers(whole, wanted) == wanted
    assert probe(whole).duration_s == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("rate", [10, 50])
def test_a_raw_stream_has_its_own_rate(rate: int, tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.h264", 100, rate=rate, options={"g": "24"}))
    assert (info.n_frames, info.fps, info.duration_s) == (100, rate, pytest.approx(100 / rate))


def test_one_repeated_timestamp_leaves_the_others(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", 100, rate=10, options=PLAIN)
    copy = tmp_path / "repeated.mkv"
    with av.open(str(whole)) as original, av.open(str(copy), "w") as output:
        stream = output.add_stream_from_template(original.streams.video[0])
        for position, packet in enumerate(p for p in original.demux(video=0) if p.size):
            if position == 50:
                packet.pts = packet.dts = packet.pts - 100
            packet.stream = stream
            output.mux(packet)
    info = probe(copy)
    assert (info.n_frames, info.fps, info.duration_s) == (100, 10, pytest.approx(10))
    np.testing.assert_allclose(info.time_s, np.arange(100) / 10, atol=1e-6)
    assert info.notes == ("1 of 100 timestamps missing or repeated",)


def test_empty_slots_of_an_avi_file_are_dropped_pictures(tmp_path: Path) -> None:
    slots = [tick for tick in range(60) if tick % 3 != 1 or tick > 40]
    info = probe(
        make_clip(
            tmp_path / "a.avi", len(slots), ticks=slots, rate=10, codec="mjpeg", pix_fmt="yuvj420p"
        )
    )  # fmt: skip
    assert (info.n_frames, info.fps, info.damage) == (len(slots), 10, None)
    np.testing.assert_allclose(info.time_s, np.array(slots) / 10, atol=1e-6)
    assert info.duration_s == pytest.approx(6)


@pytest.mark.parametrize("name", ["cut.ts", "cut.mkv", "cut.mp4", "cut.flv", "fragmented.mp4"])
@pytest.mark.parametrize("partial", [False, True])
def test_a_recording_that_begins_between_key_frames(partial: bool, name: str, tmp_path: Path) -> None:
    whole = make_clip(tmp_path / f"whole{Path(name).suffix}", 100, options=PLAIN)
    fragmented = {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in name else {}
    cut = remux(whole, tmp_path / name, keep=lambda position, _: position >= 10, options=fragmented)
    result = extract_videos(
        records_of(cut), tmp_path / "out", ExtractConfig(), ExtractRuntime(partial=partial),
        encoder=NumberEncoder(),
    )  # fmt: skip
    assert result.failures == []
    assert "14 pictures before a key frame can't be decoded" in result.timing[cut.stem]
    features = read_features(tmp_path / "out" / f"{cut.stem}.h5")
    assert (features.meta.source.n_frames, features.meta.source.damage) == (76, "")
    assert feature_numbers(tmp_path / "out" / f"{cut.stem}.h5")[:2] == [24 + 8, 24 + 24]


def test_a_video_that_begins_later_than_the_sound_has_the_time_of_a_player(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        video = output.add_stream("libx264", rate=10, options=PLAIN)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for number in range(40):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            silence.sample_rate, silence.pts = 8000, number * 800
            output.mux(sound.encode(silence))
            if number >= 20:
                frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
                frame.pts = number
                output.mux(video.encode(frame))
        for stream in (video, sound):
            output.mux(stream.encode(None))
    info = probe(path)
    np.testing.assert_allclose(info.time_s, np.arange(20, 40) / 10, atol=2e-3)
    assert info.duration_s == pytest.approx(4, abs=0.01)
    assert "the first picture is at 0:02.00" in info.notes


# --- pictures -----------------------------------------------------------------------------------------------


def flip_filter(matrix: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    """ffmpeg's definition: (x, y) is shown at (a·x + c·y, b·x + d·y), for matrix (a, b, c, d)."""
    a, b, c, d = matrix

    def shown(picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        y, x = np.mgrid[:height, :width]
        across, down = a * x + c * y, b * x + d * y
        across, down = across - across.min(), down - down.min()
        result = np.empty((down.max() + 1, across.max() + 1, 3), picture.dtype)
        result[down, across] = picture
        return result

    return shown


MATRICES = {
    "as it is": [1, 0, 0, 1], "right to left": [-1, 0, 0, 1], "upside down": [1, 0, 0, -1],
    "half a turn": [-1, 0, 0, -1], "transposed": [0, 1, 1, 0], "the other diagonal": [0, -1, -1, 0],
    "quarter turn": [0, 1, -1, 0], "three quarters": [0, -1, 1, 0],
}  # fmt: skip


@pytest.mark.parametrize("name", MATRICES)
def test_pictures_are_turned_and_mirrored_as_the_display_matrix_says(name: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 20, options=PLAIN)
    plain = dict(FrameReader(probe(path)).frames([3, 12]))
    image = bytearray(path.read_bytes())
    at = image.find(b"tkhd") + 4 + 40  # version and flags, times, track, duration, layer, volume: 40 bytes
    a, b, c, d = MATRICES[name]
    fixed = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    image[at : at + 36] = np.array(fixed, ">i4").tobytes()
    path.write_bytes(image)
    info = probe(path)
    shown = flip_filter(MATRICES[name])
    for number, picture in FrameReader(info).frames([3, 12]):
        assert (picture == shown(plain[number])).all()
        assert picture.shape == (info.height, info.width, 3)


def test_open_gops_are_decoded_sparsely(tmp_path: Path) -> None:
    """With reference B-frames, whose release fails behind an entry point: no damage."""
    params = "keyint=25:open-gop=1:bframes=3:b-pyramid=normal:b-adapt=0:scenecut=0:ref=4"
    path = make_clip(tmp_path / "a.mkv", 150, rate=25, options={"x264-params": params})
    info = probe(path)
    wanted = list(range(8, 150, 16))
    reader = FrameReader(info)
    assert numbers_in(reader.frames(wanted)) == wanted
    assert reader.decoder == "pyav-sparse"


def test_full_decoding_begins_at_the_last_entry_point_and_reports_every_frame(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", 120, options={"g": "24", "bf": "2"}))
    ticks = []
    assert numbers_in(decode_all(info, [100, 110], lambda: ticks.append(None))) == [100, 110]
    assert 100 - 96 < len(ticks) <= 120 - 96


@pytest.mark.slow
def test_damage_at_the_end_of_a_long_large_video_is_no_timeout(tmp_path: Path) -> None:
    """Decoding all takes longer than the timeout; sparse decoding fails in the last pictures."""
    noise = np.random.default_rng(0).integers(0, 120, (1080, 1920, 3), dtype=np.uint8)

    def noisy(number: int, width: int, height: int) -> np.ndarray:
        return numbered_picture(number, width, height) // 2 + np.roll(noise, 31 * number, 0)

    part = make_clip(
        tmp_path / "part.mkv", 100, rate=25, size=(1920, 1080),
        options={"preset": "ultrafast", "g": "100", "bf": "0"}, picture=noisy,
    )  # fmt: skip
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        for repeat in range(5):
            with av.open(str(part)) as original:
                if repeat == 0:
                    stream = output.add_stream_from_template(original.streams.video[0])
                for packet in original.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = packet.pts + 4000 * repeat
                        packet.stream = stream
                        output.mux(packet)
    image = bytearray(path.read_bytes())
    start = int(len(image) * 0.93)
    image[start : start + 200] = np.random.default_rng(0).bytes(200)
    path.write_bytes(image)
    for partial in (False, True):
        result = extract_videos(
            records_of(path), tmp_path / "out", ExtractConfig(),
            ExtractRuntime(timeout_s=3, workers=1, partial=partial), encoder=NumberEncoder(),
        )  # fmt: skip
        assert all("hung" not in failure.reason for failure in result.failures)
    assert result.extracted == ["a"]
    assert read_features(tmp_path / "out" / "a.h5").meta.source.n_frames > 400


# --- the cases of public trackers ---------------------------------------------------------------------------


def read_bars(picture: np.ndarray) -> int:
    """Twelve vertical bars, the left one the lowest bit."""
    height, width = picture.shape[:2]
    middle = picture[height // 4 : 3 * height // 4].mean(axis=(0, 2))
    return sum(
        int(middle[int((bit + 0.3) * width / 12) : int((bit + 0.7) * width / 12)].mean() > 128) << bit
        for bit in range(12)
    )


def pictures(info: VideoInfo) -> list[int]:
    frames = FrameReader(info).frames(range(info.n_frames))
    return [read_bars(picture) for _, picture in frames]


CASES: dict[str, tuple[int, float, float, list[int] | None]] = {
    "raw_vui_10fps.264": (200, 10, 20, list(range(200))),
    "evendup.mkv": (200, 10, 20, list(range(200))),
    "cat_shift.ts": (200, 25, 8, None),
    "h264.asf": (100, 10, 10, list(range(100))),
    "avi_null.avi": (75, 10, 10, None),
    "camera_dropped_one_frame.ts": (199, 10, 20, None),
    "gap.ts": (200, 10, 80, list(range(200))),
    "cat_forward.ts": (200, 25, 104, None),
    "gap_fire2.mp4": (200, 10, 80, None),
    "cg_mkv_10.mp4": (52, 25, 2.16, None),
    "xvid.avi": (98, 25, 4, None),
    "nonkey_start.mkv": (75, 25, 3.6, list(range(25, 100))),
    "raw_copy.mp4": (98, 25, 3.92, None),
    "og.mkv": (150, 25, 6, list(range(150))),
}
"""Frames, rate, end in seconds, numbers of the pictures where they are known."""


@pytest.mark.skipif(not FIELD.is_dir(), reason="no ../shared with the field cases")
@pytest.mark.parametrize("name", CASES)
def test_a_field_case(name: str) -> None:
    frames, fps, end, shown = CASES[name]
    info = probe(FIELD / name)
    assert info.damage is None
    assert (info.n_frames, info.fps, info.duration_s) == (
        frames, pytest.approx(fps), pytest.approx(end, abs=1e-6)
    )  # fmt: skip
    assert (np.diff(info.time_s) > 0).all()
    if shown is not None:
        assert pictures(info) == shown


@pytest.mark.skipif(not FIELD.is_dir(), reason="no ../shared with the field cases")
def test_the_first_picture_after_empty_slots_has_their_time() -> None:
    assert probe(FIELD / "xvid.avi").time_s[0] == pytest.approx(0.08)
