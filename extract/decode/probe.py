"""Probe a video: a demux-only pass over its packets, without decoding more than the first frame.

Frames are numbered from 0 in the order in which they are shown: by rank of their presentation
timestamps, edit lists respected. Numbers therefore don't shift behind a damaged place, and the
frame count is the stream's own, whatever the header promises.
"""

from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

from extract.decode.packets import (
    NO_PTS,
    STREAMED,
    PacketTable,
    Tick,
    VideoError,
    decoded_frames,
    errors_in_log,
    open_video,
    read_packets,
    short_reason,
)

# One packet is one shown frame in these. In others (MPEG-4's packed B-frames, VP8's hidden frames)
# frames can only be counted by decoding.
INTRA_ONLY = {"mjpeg", "prores", "dnxhd", "png", "rawvideo"}
_ONE_FRAME_A_PACKET = {"h264", "hevc", "vp9", "av1", "ffv1", *INTRA_ONLY}
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive


@dataclass(frozen=True)
class VideoInfo:
    """What a probe finds. Sizes are those of the upright picture; `fps` is an average."""

    path: Path
    container: str
    codec: str
    width: int
    height: int
    eight_bit: bool
    fps: float
    time_s: npt.NDArray[np.float64] = field(repr=False)
    """(n_frames,) seconds after the first frame, in order of presentation."""
    packets: PacketTable = field(repr=False)
    why_counted: str = ""
    """Why the packets don't tell the frames, and those were counted by decoding everything; else empty."""
    damage: VideoError | None = None
    """Set where the file ends before what its header promises, or reading it fails on the way."""

    @property
    def n_frames(self) -> int:
        return len(self.time_s)

    @property
    def duration_s(self) -> float:
        return float(self.time_s[-1]) + 1 / self.fps


def probe(path: Path, tick: Tick = lambda: None) -> VideoInfo:
    """Probe the container's best video stream. Raises FileNotFoundError, or VideoError if none decodes."""
    if not path.is_file():
        raise FileNotFoundError(f"no video at {path}")
    with errors_in_log() as errors, open_video(path) as (container, stream):
        average_rate = float(stream.average_rate or stream.guessed_rate or 0)
        declared = stream.frames
        table, complaint = read_packets(container, stream, tick)
        complaint = complaint or errors(container.format.name)
        why_counted = _why_counted(container, stream, table)
    with open_video(path) as (container, stream):
        first, ticks, broken_off = _decode_for_probe(container, stream, table, bool(why_counted), tick)
        if not why_counted:
            ticks = np.sort(table.pts[table.shown])
        fps, time_s = _times(ticks, float(stream.time_base or 1), average_rate)
        damage = broken_off or _damage(container.format.name, complaint, declared, len(table.pts), time_s)
        turned = first.rotation % 180 != 0
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            eight_bit=max(component.bits for component in first.format.components) == 8,
            fps=fps,
            time_s=time_s,
            packets=table,
            why_counted=why_counted,
            damage=damage,
        )


def _damage(
    container: str, complaint: str, declared: int, packets: int, time_s: npt.NDArray[np.float64]
) -> VideoError | None:
    """What is missing from the stream, if anything.

    Where something was lost on the way, the frames before the first gap in time are certain.
    """
    steps = np.diff(time_s)
    usual = np.median(steps) if len(steps) else 0.0
    gaps = np.flatnonzero(steps > 1.5 * usual)
    first_lost = int(gaps[0]) + 1 if len(gaps) else len(time_s)
    if container in STREAMED:
        # Transport streams lose packets without a word, and complain at the joint of two recordings.
        steady = np.mean(steps < 1.5 * usual) > 0.9 if len(steps) else False
        complaint = "its timestamps jump" if steady and len(gaps) else ""
    if complaint:
        return VideoError(f"the file is damaged: {complaint}", first_lost)
    if declared > packets:
        return VideoError(f"the header promises {declared} frames, the file holds {packets}", packets)
    return None


def _why_counted(container: InputContainer, stream: VideoStream, table: PacketTable) -> str:
    """The reason why the packets don't tell the frames, or an empty string."""
    codec = stream.codec_context.codec.canonical_name
    pts = table.pts[table.shown]
    if codec not in _ONE_FRAME_A_PACKET:
        return f"{codec} packets are not frames"
    if stream.codec_context.field_order not in _PROGRESSIVE:
        return "interlaced: a packet may be a field"
    if container.format.name == "avi" and codec not in INTRA_ONLY:
        return "AVI has no presentation timestamps"
    if (table.pts == NO_PTS).any() or len(np.unique(pts)) < len(pts):
        return "timestamps are missing or not unique"
    if not table.entry.any():
        return "no entry point is known"
    return ""


def _decode_for_probe(
    container: InputContainer, stream: VideoStream, table: PacketTable, count: bool, tick: Tick
) -> tuple[av.VideoFrame, npt.NDArray[np.int64], VideoError | None]:
    """The first frame; the pts of every frame if `count`; where counting broke off."""
    first, broken_off = None, None
    ticks: list[int] = []
    try:
        for frame in decoded_frames(container, stream, table):
            first = first or frame
            if not count:
                break
            ticks.append(NO_PTS if frame.pts is None else frame.pts)
            tick()
    except (av.FFmpegError, OSError) as error:
        broken_off = VideoError(f"decoding fails: {short_reason(error)}", len(ticks))
    if first is None:
        raise broken_off or VideoError("no frame can be decoded", 0)
    return first, np.array(ticks), broken_off


def _times(
    ticks: npt.NDArray[np.int64], time_base: float, average_rate: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """Frames a second and each frame's time. A stream without usable timestamps gets evenly spaced ones."""
    n = len(ticks)
    if n > 1 and ticks[0] != NO_PTS and (np.diff(ticks) > 0).all():
        time_s = (ticks - ticks[0]) * time_base
        # The container's average is exact where it fits the timestamps to within their rounding.
        fits = average_rate > 0 and abs((n - 1) / average_rate - time_s[-1]) <= 2 * time_base
        return average_rate if fits else float((n - 1) / time_s[-1]), time_s
    fps = average_rate if 0 < average_rate <= 1000 else 25.0
    return fps, np.arange(n) / fps
