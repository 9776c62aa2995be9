"""Probing a video: its frame count and timestamps from a pass over its packets; the first frame is decoded.

Frames are numbered from 0 in presentation order, by rank of their presentation timestamps, with edit lists
applied. Frame numbers therefore do not shift after a damaged place, and the frame count is that of the
stream, not that of the header.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

from extract.decode.packets import (
    UNINDEXED_FORMATS,
    PacketDamage,
    PacketTable,
    Tick,
    VideoError,
    captured_ffmpeg_errors,
    decoded_frames,
    open_video,
    read_packets,
    short_reason,
)
from extract.decode.timeline import NO_PTS, StreamClock, Timeline, frame_timeline, usual_duration
from extract.errors import MissingFileError

INTRA_ONLY = {"mjpeg", "prores", "dnxhd", "png", "rawvideo"}
"""Codecs in which every packet is a key frame."""
# Codecs in which each packet is one displayed frame. In others (MPEG-4 with packed B-frames, VP8 with hidden
# frames) only decoding tells the number of frames.
_ONE_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "ffv1", *INTRA_ONLY}
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
_STATE_THEIR_END = {"avi", "mov,mp4,m4a,3gp,3g2,mj2"}
"""Containers whose stated duration includes the last frame's, and empty slots after it."""
_REORDERED_PICTURES = 16
"""Most pictures that H.264 and H.265 keep back for reordering."""


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
    mirrored: bool
    """True if the display matrix mirrors the picture, besides rotating it."""
    time_base: float
    """Seconds per tick of a timestamp."""
    timeline: Timeline = field(repr=False)
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
    def time_s(self) -> npt.NDArray[np.float64]:
        """(n_frames,) presentation times in seconds after the container's start, ascending."""
        return self.timeline.start_s

    @property
    def fps(self) -> float:
        """Usual frames per second; for a variable rate the average."""
        return self.timeline.fps

    @property
    def duration_s(self) -> float:
        """Seconds from the container's start to the end of the last frame."""
        return float(self.timeline.end_s[-1])

    @property
    def notes(self) -> tuple[str, ...]:
        """Irregularities of the recording that do not prevent its use, in words."""
        count = self.packets.undecodable
        begins = f"{count} pictures before a key frame can't be decoded" if count else ""
        joints = len(self.packets.joints)
        joined = f"{joints + 1} recordings, one after the other" if joints else ""
        undated = (
            f"no frame rate in the file: {self.fps:g} a second assumed" if self.container == "mjpeg" else ""
        )
        return tuple(note for note in (joined, begins, undated, *self.timeline.notes) if note)


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
        table, packet_damage = read_packets(container, stream, first_error, tick)
        clock = _stream_clock(container, stream, table)
        slots = _avi_slots(container, stream, table)
        expected_packets = _expected_packets(container, stream, path)
        full_decode_reason = _full_decode_reason(container, stream, table)
    with open_video(path) as (container, stream):
        frames = decoded_frames(container, stream, table)
        first = _first_frame(frames)
        if full_decode_reason:
            stamps, decode_error = _timestamps_of_all(first, frames, tick)
            if slots is not None and len(slots) == len(stamps):
                stamps = slots
        else:
            stamps, decode_error = table.pts[table.shown], None
        timeline = frame_timeline(stamps, clock)
        transposed, mirrored = orientation(first)
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            width=first.height if transposed else first.width,
            height=first.width if transposed else first.height,
            eight_bit=max(component.bits for component in first.format.components) == 8,
            mirrored=mirrored,
            time_base=clock.time_base,
            timeline=timeline,
            packets=table,
            full_decode_reason=full_decode_reason,
            damage=decode_error
            or _find_damage(container.format.name, table, packet_damage, expected_packets, timeline),
        )


def _stream_clock(container: InputContainer, stream: VideoStream, table: PacketTable) -> StreamClock:
    time_base = float(stream.time_base or 1)
    end = None
    if stream.duration and container.format.name in _STATE_THEIR_END:
        end = ((stream.start_time or 0) + stream.duration) * time_base
    return StreamClock(
        time_base=time_base,
        rates=tuple(float(rate or 0) for rate in (stream.average_rate, stream.guessed_rate)),
        packet_duration_s=usual_duration(table.duration, time_base),
        start_s=None if container.start_time is None else container.start_time / av.time_base,
        end_s=end,
    )


def _avi_slots(
    container: InputContainer, stream: VideoStream, table: PacketTable
) -> npt.NDArray[np.int64] | None:
    """The slots of an AVI file's pictures in presentation order; ffmpeg's timestamps are moved by B-frames.

    Empty slots at the start of a stream with B-frames are the encoder's delay: no picture is missing there.
    Others are pictures that the camera dropped.
    """
    entries = stream.index_entries if container.format.name == "avi" else ()
    if len(entries) != len(table.pts):
        return None
    slots = np.array([entry.timestamp for entry in entries])
    if not stream.codec_context.has_b_frames:
        return slots
    order = np.arange(len(slots))
    delay = int((slots - order)[order < _REORDERED_PICTURES].max())
    later: npt.NDArray[np.int64] = np.maximum(slots, order + delay)
    return later


def _expected_packets(container: InputContainer, stream: VideoStream, path: Path) -> int:
    """Packets that the container's index lists; 0 if it has none that is complete before reading.

    The index is compared, not the header's count: that one includes pictures which an edit list removes. In
    AVI the header counts slots, and cameras leave the slot of a dropped picture empty: it counts only if the
    file ends before its declared size.
    """
    if container.format.name == "avi":
        return stream.frames if _is_cut_riff(path) else 0
    return len(stream.index_entries) if stream.frames and "mov" in container.format.name else stream.frames


def _is_cut_riff(path: Path) -> bool:
    """True if an AVI file is smaller than the size in its header."""
    with path.open("rb") as file:
        head = file.read(8)
    return len(head) == 8 and struct.unpack("<I", head[4:])[0] + 8 > path.stat().st_size


def _full_decode_reason(container: InputContainer, stream: VideoStream, table: PacketTable) -> str:
    """The value of `VideoInfo.full_decode_reason`; stored in feature files as `decoder_reason`."""
    codec = stream.codec_context.codec.canonical_name
    pts = table.pts[table.shown]
    if codec not in _ONE_FRAME_PER_PACKET:
        return f"{codec} packets are not frames"
    order = getattr(stream.codec_context, "field_order", None)
    if order is None:
        return "this PyAV does not tell interlaced video: a packet may be a field"  # before 18
    if order not in _PROGRESSIVE:
        return "interlaced: a packet may be a field"
    if container.format.name == "avi" and codec not in INTRA_ONLY:
        return "AVI has no presentation timestamps"
    if (table.pts == NO_PTS).any() or len(np.unique(pts)) < len(pts):
        return "timestamps are missing or not unique"
    if stream.codec_context.has_b_frames and len(pts) > 2 and (np.diff(table.pts) > 0).all():
        return "timestamps follow the decoding order"
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


def _find_damage(
    container: str,
    table: PacketTable,
    reported: PacketDamage | None,
    expected_packets: int,
    timeline: Timeline,
) -> VideoError | None:
    """The error for frames that are missing from the stream, or None.

    Irregular times alone are no damage: cameras pause, drop pictures and change their rate.
    """
    if container in UNINDEXED_FORMATS:
        # The demuxer also reports the joint of two recordings: the packets alone decide.
        reported = _lost_packets(table)
    elif reported is None and table.corrupt.any():
        reported = PacketDamage("a packet is incomplete", int(table.corrupt.argmax()))
    if reported:
        return VideoError(
            f"the file is damaged: {reported.reason}", _first_missing(table, reported.position, timeline)
        )
    if expected_packets > len(table.pts):
        return VideoError(
            f"the header promises {expected_packets} frames, the file holds {len(table.pts)}", len(table.pts)
        )
    return None


def _lost_packets(table: PacketTable) -> PacketDamage | None:
    """The first place where the continuity counter says that data are missing within a recording.

    The counter also breaks where a recording ends and another begins, with a key frame or at a joint of the
    clocks; ffmpeg marks one of the two packets before that. If data are missing there, decoding fails.
    """
    begins = table.entry.copy()
    begins[list(table.joints)] = True
    for position in np.flatnonzero(table.corrupt).tolist():
        if not begins[position + 1 : position + 3].any():
            return PacketDamage("packets were lost", position)
    return None


def _first_missing(table: PacketTable, position: int, timeline: Timeline) -> int:
    """The first frame that may be missing if the damage lies before or in the packet `position`.

    The lost packets may hold pictures shown before the ones read last, as far as pictures are reordered.
    """
    intact = table.pts[:position][table.shown[:position]]
    steps = np.diff(timeline.start_s)
    if not len(steps) or (table.pts == NO_PTS).any():
        return min(len(intact), len(timeline.start_s))
    after = max(0, len(intact) - _REORDERED_PICTURES)
    gaps = np.flatnonzero(steps[after:] > 1.5 / timeline.fps)
    return after + int(gaps[0]) + 1 if len(gaps) else len(intact)


def orientation(frame: av.VideoFrame) -> tuple[bool, bool]:
    """True if the upright picture has width and height exchanged; True if it is mirrored."""
    (a, b), (c, d) = display_matrix(frame)
    return bool(a == 0), bool(a * d - b * c < 0)


def display_matrix(frame: av.VideoFrame) -> npt.NDArray[np.int64]:
    """(2, 2) display matrix [[a, b], [c, d]] with entries -1, 0 and 1: the pixel (x, y), y down, is shown at
    (a·x + c·y, b·x + d·y). Other angles become the nearest quarter turn.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")  # a buffer
    if data is None:
        return np.eye(2, dtype=np.int64)
    matrix = np.frombuffer(data, "<i4").reshape(3, 3)[:2, :2].astype(np.float64)
    straight = np.abs(matrix).trace() >= np.abs(matrix[::-1]).trace()
    if not matrix.any():
        return np.eye(2, dtype=np.int64)
    return np.where(np.eye(2, dtype=bool) == straight, np.sign(matrix), 0).astype(np.int64)
