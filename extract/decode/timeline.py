"""The timeline of a video: the time of every frame, from all that the file states, checked against itself.

Timestamps, their order in the file, the durations of the packets, the rate that the stream declares and the
one that ffmpeg measured can each be wrong. The rules, in this order:

* A timestamp earlier than packets that were decoded before, or more than 13 hours later, is a single wrong
  one, or the joint of two recordings. Recordings follow each other without a pause.
* Timestamps are assigned to the frames in ascending order. Missing and repeated ones are interpolated.
* Without timestamps the frames are even, at the rate of the packets' durations, else a declared rate.
* Times count from the container's start, as in a player: a video that begins after the sound does not begin
  at 0. If the container states no start, or one more than an hour away, they count from the first frame.
* The frame rate is the usual one: pauses and dropped pictures do not change it.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from extract.display import format_time

NO_PTS = np.iinfo(np.int64).min
"""A missing timestamp."""
FALLBACK_FPS = 25.0
_HIGHEST_FPS = 240.0
"""Higher rates are artefacts of wrong timestamps."""
_FARTHEST_STEP_S = 13 * 3600.0
"""Half the period after which the clock of MPEG-TS starts again."""
_LONGEST_DELAY_S = 3600.0
_PAUSE_S = 1.0

Ticks = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StreamClock:
    """A file's statements about the time of its frames, besides their timestamps; rates are per second."""

    time_base: float
    """Seconds per tick of a timestamp."""
    rates: tuple[float, ...] = ()
    """Declared frame rates, the most reliable first; 0 if unknown."""
    packet_duration_s: float = 0.0
    """Usual duration of a packet; 0 if unknown."""
    start_s: float | None = None
    """Start of the container on the clock of the timestamps."""
    end_s: float | None = None
    """End of the stream on the same clock, where the container states it reliably."""


@dataclass(frozen=True)
class Timeline:
    """Times of n frames in presentation order, in seconds after the container's start."""

    start_s: Seconds = field(repr=False)
    """(n,) presentation time of each frame, strictly increasing."""
    end_s: Seconds = field(repr=False)
    """(n,) end of each frame: the start of the next one, or before a pause its usual duration later."""
    fps: float
    """Usual frames per second; for a variable rate the average."""
    notes: tuple[str, ...] = ()
    """Irregularities, in words."""


def join_recordings(
    pts: Ticks, dts: Ticks, key: npt.NDArray[np.bool_], time_base: float
) -> tuple[Ticks, list[int]]:
    """Find the packets at which another recording begins, and put the recordings one after the other.

    Args:
        pts: (P,) presentation timestamps in decode order; NO_PTS if missing.
        dts: (P,) decoding timestamps; NO_PTS if missing.
        key: (P,) True for key frames.
        time_base: Seconds per tick.

    Returns:
        The timestamps on one clock, NO_PTS in place of a single wrong one, and the first packets of the
        second and later recordings.
    """
    wrong, joints = _find_joints(pts, dts, key, int(_FARTHEST_STEP_S / time_base))
    pts = np.where(wrong, NO_PTS, pts)
    for start, end in pairwise([*joints, len(pts)]):
        earlier, own = (part[part != NO_PTS] for part in (pts[:start], pts[start:end]))
        shift = earlier.max() + usual_step(earlier) - own.min()
        pts[start:end] = np.where(pts[start:end] == NO_PTS, NO_PTS, pts[start:end] + shift)
    return pts, joints


@dataclass(frozen=True)
class _Latest:
    """The latest timestamps of a recording up to some packet."""

    decoded: int
    shown: int

    def contradicted_by(self, time: int, key: bool, farthest: int) -> bool:
        """True if the next packet of the same recording cannot have this presentation time."""
        return time < self.decoded or (key and time < self.shown) or time - self.shown > farthest


def _find_joints(
    pts: Ticks, dts: Ticks, key: npt.NDArray[np.bool_], farthest: int
) -> tuple[npt.NDArray[np.bool_], list[int]]:
    """Packets with a single wrong timestamp, and the packets at which another recording begins."""
    wrong = np.zeros(len(pts), bool)
    joints: list[int] = []
    positions = np.flatnonzero(pts != NO_PTS).tolist()
    packets = list(zip(pts[positions].tolist(), key[positions].tolist(), strict=True))
    decoded = dts[positions].tolist()
    latest: _Latest | None = None
    before: _Latest | None = None  # without the latest packet
    for i, (time, is_key) in enumerate(packets):
        if latest is not None and latest.contradicted_by(time, is_key, farthest):
            if before is not None and not before.contradicted_by(time, is_key, farthest):
                wrong[positions[i - 1]] = True  # without the packet before, everything fits
                latest = before
            elif i + 1 < len(packets) and _fits(latest, packets[i + 1], is_key, farthest):
                wrong[positions[i]] = True
                continue
            else:
                joints.append(positions[i])
                latest = None
        before = latest
        latest = _Latest(
            max(decoded[i], latest.decoded) if latest else decoded[i],
            max(time, latest.shown) if latest else time,
        )
    return wrong, joints


def _fits(latest: _Latest, packet: tuple[int, bool], after_key: bool, farthest: int) -> bool:
    """True if the packet continues the recording; after a key frame nothing is shown before earlier ones."""
    time, is_key = packet
    return not latest.contradicted_by(time, is_key or after_key, farthest)


def usual_step(pts: Ticks) -> int:
    """The median distance of neighbouring timestamps in ticks."""
    steps = np.diff(np.sort(pts))
    steps = steps[steps > 0]
    return int(np.median(steps)) if len(steps) else 1


def frame_timeline(stamps: Ticks, clock: StreamClock) -> Timeline:
    """The timeline of the frames with these timestamps.

    Args:
        stamps: (n,) timestamps of the frames in presentation order, n ≥ 1; NO_PTS if missing.
        clock: The file's other statements.
    """
    known = stamps != NO_PTS
    stamps = stamps.copy()
    stamps[known] = np.sort(stamps[known])
    distinct = np.unique(stamps[known])
    if len(distinct) < 2:
        return _even_timeline(len(stamps), distinct, clock)
    notes = []
    first_s = float(distinct[0]) * clock.time_base
    times = (stamps - distinct[0]) * clock.time_base
    if repaired := len(stamps) - len(distinct):
        times = _interpolated(np.where(known, times, np.nan))
        notes.append(f"{repaired} of {len(stamps)} timestamps missing or repeated")
    fps, regular = _usual_rate(times, clock)
    delay = _delay(first_s, clock)
    return _with_ends(times, delay, fps, regular, clock, first_s - delay, notes)


def _even_timeline(n: int, distinct: Ticks, clock: StreamClock) -> Timeline:
    """Even frames of a stream without usable timestamps, or of a single frame."""
    candidates = (1 / clock.packet_duration_s if clock.packet_duration_s > 0 else 0.0, *clock.rates)
    fps = next((rate for rate in candidates if 0 < rate <= _HIGHEST_FPS), 0.0)
    notes = []
    if n > 1:
        notes.append(
            f"no timestamps: times are those of {fps:g} frames a second"
            if fps
            else f"no timestamps and no frame rate: {FALLBACK_FPS:g} frames a second assumed"
        )
    fps = fps or FALLBACK_FPS
    if not len(distinct):
        return _with_ends(np.arange(n) / fps, 0.0, fps, True, clock, 0.0, notes)
    first_s = float(distinct[0]) * clock.time_base
    delay = _delay(first_s, clock)
    return _with_ends(np.arange(n) / fps, delay, fps, True, clock, first_s - delay, notes)


def _interpolated(times: Seconds) -> Seconds:
    """Ascending times in place of missing (NaN) and repeated ones, which share the time up to the next.

    Before the first and after the last known time the frames have the usual distance.
    """
    anchors = np.flatnonzero(~np.isnan(times))
    values, first = np.unique(times[anchors], return_index=True)
    anchors = anchors[first]
    positions = np.arange(len(times))
    filled: Seconds = np.interp(positions, anchors, values)
    usual = float(np.median(np.diff(filled[anchors[0] : anchors[-1] + 1])))
    filled += np.minimum(positions - anchors[0], 0) * usual
    filled += np.maximum(positions - anchors[-1], 0) * usual
    return filled


def _usual_rate(times: Seconds, clock: StreamClock) -> tuple[float, bool]:
    """The usual frame rate, and True if at least half of the steps have it; else the average."""
    steps = np.diff(times)
    usual = float(np.quantile(steps, 0.5, method="lower"))  # of two equally frequent ones not their mean
    near = np.abs(steps - usual) <= max(0.1 * usual, min(1.5 * clock.time_base, 0.4 * usual))
    regular = bool(near.mean() >= 0.5)
    used = steps[near] if regular else steps
    n, total = len(used), float(times[-1]) if len(used) == len(steps) else float(used.sum())
    # A declared rate is exact if it agrees with the timestamps to within their rounding.
    runs = 1 + int(np.count_nonzero(np.diff(np.flatnonzero(near)) > 1))
    for rate in clock.rates:
        if rate > 0 and abs(n / rate - total) <= 2 * clock.time_base * runs:
            return rate, regular
    return n / total, regular


def _delay(first_s: float, clock: StreamClock) -> float:
    """Seconds from the container's start to the first frame; 0 if the container states no usable start."""
    delay = first_s - clock.start_s if clock.start_s is not None else 0.0
    return delay if 1e-3 < delay <= _LONGEST_DELAY_S else 0.0


def _with_ends(
    times: Seconds,
    delay: float,
    fps: float,
    regular: bool,
    clock: StreamClock,
    zero_s: float,
    notes: list[str],
) -> Timeline:
    """The timeline of frames at `times` after the first; `zero_s` is its zero on the file's clock."""
    start = times + delay
    start -= min(start[0], 0.0)  # frames without a timestamp before the first one that has it
    usual = 1 / fps
    end = np.r_[start[1:], start[-1] + usual]
    pauses = np.flatnonzero(end - start > max(_PAUSE_S, 5 * usual))
    if clock.end_s is not None and clock.end_s - zero_s > end[-1] + usual / 2:
        end[-1] = clock.end_s - zero_s
    notes = [*_irregularities(start, usual, regular, pauses), *notes]
    if delay > usual / 2:
        notes.append(f"the first picture is at {format_time(delay)}")
    end[pauses] = start[pauses] + usual
    return Timeline(start, end, fps, tuple(notes))


def _irregularities(start: Seconds, usual: float, regular: bool, pauses: npt.NDArray[np.intp]) -> list[str]:
    steps = np.diff(start)
    notes = []
    if len(pauses):
        longest = pauses[int(steps[pauses].argmax())]
        notes.append(
            f"{_counted(len(pauses), 'pause')}, {'longest ' if len(pauses) > 1 else ''}"
            f"{steps[longest] - usual:.1f} s at {format_time(start[longest] + usual, 0)}"
        )
    others = np.delete(steps, pauses) / usual
    off = np.abs(others - np.round(others)) > 0.2
    if not regular or (len(others) and off.mean() > 0.1):
        slow, fast = np.quantile(others, [0.95, 0.05])
        notes.append(f"variable frame rate, {1 / slow / usual:.3g} to {1 / fast / usual:.3g} a second")
    elif dropped := int((np.round(others) - 1).clip(min=0).sum()):
        notes.append(_counted(dropped, "dropped picture"))
    return notes


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' if count != 1 else ''}"


def usual_duration(durations: Ticks, time_base: float) -> float:
    """The most frequent positive duration in seconds; 0 if there is none."""
    positive = durations[durations > 0]
    if not len(positive):
        return 0.0
    values, counts = np.unique(positive, return_counts=True)
    return float(values[counts.argmax()]) * time_base
