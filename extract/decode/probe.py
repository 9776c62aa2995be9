"""Probing a video: its frame count and timestamps from a pass over its packets; the first frame is decoded.

Frames are numbered from 0 in presentation order, by rank of their presentation timestamps, with edit lists
applied. Frame numbers therefore do not shift after a damaged place, and the frame count is that of the
stream, not that of the header.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

from extract.decode.packets import (
    NO_PTS,
    UNINDEXED_FORMATS,
    PacketTable,
    Tick,
    VideoError,
    captured_ffmpeg_errors,
    decoded_frames,
    open_video,
    read_packets,
    short_reason,
)
from extract.errors import MissingFileError

INTRA_ONLY = {"mjpeg", "prores", "dnxhd", "png", "rawvideo"}
"""Codecs in which every packet is a key frame."""
# Codecs in which each packet is one displayed frame. In others (MPEG-4 with packed B-frames, VP8 with hidden
# frames) only decoding tells the number of frames.
_ONE_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "ffv1", *INTRA_ONLY}
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive


@dataclass(frozen=True)
class VideoInfo:
    """Result of a probe."""

    path: Path
    container: str
    codec: str
    width: int
    """Pixels of the upright picture."""
    height: int
    """Pixels of the upright picture."""
    eight_bit: bool
    fps: float
    """Average frames per second."""
    time_s: npt.NDArray[np.float64] = field(repr=False)
    """(n_frames,) seconds after the first frame, in presentation order."""
    packets: PacketTable = field(repr=False)
    full_decode_reason: str = ""
    """Reason why the packets do not identify the frames, so that every frame has to be decoded in order.

    Empty if timestamps and entry points are known, and frames can be decoded selectively.
    """
    damage: VideoError | None = None
    """Set if frames are missing: the file is cut short or can't be read to its end, or packets were lost."""

    @property
    def n_frames(self) -> int:
        return len(self.time_s)

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last, which counts as an average frame."""
        return float(self.time_s[-1]) + 1 / self.fps


def probe(path: Path, tick: Tick = lambda: None) -> VideoInfo:
    """Read the frame count, timestamps and format of a video, from its best video stream.

    Only the first frame is decoded, unless the packets do not identify the frames
    (`VideoInfo.full_decode_reason`): then all are decoded to count them.

    Args:
        path: The video file.
        tick: Called after every packet read and, if all frames are decoded, every frame.

    Returns:
        The frame count, the size of the upright picture in pixels, the average frames per second, and
        `time_s` (n_frames,), the seconds of each frame after the first. `damage` is set if frames are
        missing; those before the damage can be read.

    Raises:
        FileNotFoundError: The file does not exist.
        VideoError: The file has no video stream, or no frame of it can be decoded (a ValueError).

    Examples:
        >>> from pathlib import Path
        >>> from extract import probe
        >>> info = probe(Path("video.mp4"))
        >>> info.n_frames, info.fps, info.width, info.height
        (40, 30.0, 128, 96)
    """
    if not path.is_file():
        raise MissingFileError(f"no video at {path}")
    with captured_ffmpeg_errors() as first_error, open_video(path) as (container, stream):
        average_rate = float(stream.average_rate or stream.guessed_rate or 0)
        declared_frames = stream.frames
        table, packet_damage = read_packets(container, stream, tick)
        packet_damage = packet_damage or first_error(container.format.name)
        full_decode_reason = _full_decode_reason(container, stream, table)
    with open_video(path) as (container, stream):
        frames = decoded_frames(container, stream, table)
        first = _first_frame(frames)
        if full_decode_reason:
            pts, decode_error = _timestamps_of_all(first, frames, tick)
        else:
            pts, decode_error = np.sort(table.pts[table.shown]), None
        fps, time_s = _frame_times(pts, float(stream.time_base or 1), average_rate)
        rotated = first.rotation % 180 != 0
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            width=first.height if rotated else first.width,
            height=first.width if rotated else first.height,
            eight_bit=max(component.bits for component in first.format.components) == 8,
            fps=fps,
            time_s=time_s,
            packets=table,
            full_decode_reason=full_decode_reason,
            damage=decode_error
            or _find_damage(container.format.name, packet_damage, declared_frames, len(table.pts), time_s),
        )


def _full_decode_reason(container: InputContainer, stream: VideoStream, table: PacketTable) -> str:
    """The value of `VideoInfo.full_decode_reason`; stored in feature files as `decoder_reason`."""
    codec = stream.codec_context.codec.canonical_name
    pts = table.pts[table.shown]
    if codec not in _ONE_FRAME_PER_PACKET:
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


def _first_frame(frames: Iterator[av.VideoFrame]) -> av.VideoFrame:
    try:
        first = next(frames, None)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"decoding fails: {short_reason(error)}", 0) from error
    if first is None:
        raise VideoError("no frame can be decoded", 0)
    return first


def _timestamps_of_all(
    first: av.VideoFrame, others: Iterator[av.VideoFrame], tick: Tick
) -> tuple[npt.NDArray[np.int64], VideoError | None]:
    """Timestamps of the frames in the order decoded, and the error at which decoding stopped, if any."""
    pts = []
    decode_error = None
    try:
        for frame in chain([first], others):
            pts.append(NO_PTS if frame.pts is None else frame.pts)
            tick()
    except (av.FFmpegError, OSError) as error:
        decode_error = VideoError(f"decoding fails: {short_reason(error)}", len(pts))
    return np.array(pts), decode_error


def _frame_times(
    pts: npt.NDArray[np.int64], time_base: float, average_rate: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """Average frames per second, and the seconds of each frame after the first.

    Frames without usable timestamps are spaced evenly.
    """
    n = len(pts)
    if n > 1 and pts[0] != NO_PTS and (np.diff(pts) > 0).all():
        time_s = (pts - pts[0]) * time_base
        # The container's average rate is exact if it agrees with the timestamps to within their rounding.
        agrees = average_rate > 0 and abs((n - 1) / average_rate - time_s[-1]) <= 2 * time_base
        return average_rate if agrees else float((n - 1) / time_s[-1]), time_s
    fps = average_rate if 0 < average_rate <= 1000 else 25.0
    return fps, np.arange(n) / fps


def _find_damage(
    container: str,
    packet_damage: str,
    declared_frames: int,
    n_packets: int,
    time_s: npt.NDArray[np.float64],
) -> VideoError | None:
    """The error for frames that are missing from the stream, or None.

    The frames before the first gap in time are certain to be correct.
    """
    steps = np.diff(time_s)
    usual = np.median(steps) if len(steps) else 0.0
    gaps = np.flatnonzero(steps > 1.5 * usual)
    first_missing = int(gaps[0]) + 1 if len(gaps) else len(time_s)
    if container in UNINDEXED_FORMATS:
        # The demuxer reports no lost packets, but does report the joint of two recordings: gaps decide alone.
        steady = np.mean(steps < 1.5 * usual) > 0.9 if len(steps) else False
        packet_damage = "its timestamps jump" if steady and len(gaps) else ""
    if packet_damage:
        return VideoError(f"the file is damaged: {packet_damage}", first_missing)
    if declared_frames > n_packets:
        return VideoError(
            f"the header promises {declared_frames} frames, the file holds {n_packets}", n_packets
        )
    return None
