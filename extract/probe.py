"""Probe a video: a demux-only pass over its packets, without decoding more than the first frame.

Frames are numbered from 0 in the order in which they are shown: by rank of their presentation
timestamps, edit lists respected. Numbers therefore don't shift behind a damaged place, and the
frame count is the stream's own, whatever the header promises.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

from extract.bitstream import NAL_CODECS, EntryPoints

Tick = Callable[[], None]
"""Called now and then during long work: the caller sees that it goes on."""

# Containers of one file. Playlists (HLS, concat, DASH) are left out: they make ffmpeg open other files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,gif,apng,"
    "h264,hevc,m4v,mjpeg,obu,av1,dv,rm,wtv,dhav,swf,yuv4mpegpipe,mp3,wav,flac,aac"
)
# One packet is one shown frame in these. In others (MPEG-4's packed B-frames, VP8's hidden frames)
# frames can only be counted by decoding.
_ONE_FRAME_A_PACKET = {"h264", "hevc", "vp9", "av1", "mjpeg", "ffv1", "prores", "dnxhd", "rawvideo", "png"}
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive


class VideoError(ValueError):
    """A video can't be decoded; `frame` is the number of the first frame that is missing, if known."""

    def __init__(self, reason: str, frame: int | None = None) -> None:
        super().__init__(reason)
        self.frame = frame


@dataclass(frozen=True)
class PacketTable:
    """Per packet in decode order: its pts, whether its frame is shown, whether decoding may begin there."""

    pts: npt.NDArray[np.int64]
    shown: npt.NDArray[np.bool_]
    entry: npt.NDArray[np.bool_]
    has_open_entry: bool
    """Some entry point has leading pictures that need what comes before it (open GOP)."""


@dataclass(frozen=True)
class VideoInfo:
    """What a probe finds. Sizes are those of the upright picture; `fps` is an average."""

    path: Path
    container: str
    codec: str
    width: int
    height: int
    fps: float
    time_s: npt.NDArray[np.float64] = field(repr=False)
    """(n_frames,) seconds after the first frame, in order of presentation."""
    packets: PacketTable | None = field(repr=False)
    """None where frames can only be counted by decoding everything."""
    why_counted: str = ""
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
    with open_video(path) as (container, stream):
        table, damage = _read_packets(container, stream, tick)
        declared = stream.frames
        average_rate = float(stream.average_rate or stream.guessed_rate or 0)
        time_base = float(stream.time_base or 1)
        container_name = container.format.name
        codec = stream.codec_context.codec.canonical_name
        interlaced = stream.codec_context.field_order not in _PROGRESSIVE
    why_counted = _why_counted(codec, interlaced, table)
    with open_video(path) as (container, stream):
        size, ticks, broken_off = _decode_for_probe(container, stream, count=bool(why_counted), tick=tick)
    damage = damage or broken_off
    if not why_counted:
        ticks = np.sort(table.pts[table.shown])
    if damage is None and declared > len(table.pts) and container_name.startswith("mov"):
        damage = VideoError(
            f"the header promises {declared} frames, the file holds {len(table.pts)}", len(ticks)
        )
    fps, time_s = _times(ticks, time_base, average_rate)
    return VideoInfo(
        path,
        container_name,
        codec,
        *size,
        fps,
        time_s,
        None if why_counted else table,
        why_counted,
        damage,
    )


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream, one decoder thread; VideoError for whatever isn't a video."""
    try:
        options = {"format_whitelist": _FORMATS}
        container = av.open(str(path.absolute()), metadata_errors="ignore", options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"can't be opened as a video: {_short(error)}") from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise VideoError("holds no video stream")
        stream.codec_context.thread_count = 1
        yield container, stream


def _read_packets(
    container: InputContainer, stream: VideoStream, tick: Tick
) -> tuple[PacketTable, VideoError | None]:
    codec = stream.codec_context.codec.canonical_name
    entries = EntryPoints(codec, stream.codec_context.extradata) if codec in NAL_CODECS else None
    pts: list[int] = []
    shown, entry, opens = [], [], False
    damage = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            kind = "closed" if packet.is_keyframe else None
            if kind and entries:
                kind = entries.kind(memoryview(packet))
            opens |= kind == "open"
            entry.append(kind is not None)
            pts.append(_NO_PTS if packet.pts is None else packet.pts)
            shown.append(not packet.is_discard)
            tick()
    except (av.FFmpegError, OSError) as error:
        damage = VideoError(f"reading it fails after {len(pts)} packets: {_short(error)}", len(pts))
    if not any(shown):
        raise damage or VideoError("its video stream holds no frames")
    return PacketTable(np.array(pts), np.array(shown), np.array(entry), opens), damage


_NO_PTS = np.iinfo(np.int64).min


def _why_counted(codec: str, interlaced: bool, table: PacketTable) -> str:
    """The reason why the packets don't tell the frames, or an empty string."""
    pts = table.pts[table.shown]
    if codec not in _ONE_FRAME_A_PACKET:
        return f"{codec} packets are not frames"
    if interlaced:
        return "interlaced: a packet may be a field"
    if (table.pts == _NO_PTS).any() or len(np.unique(pts)) < len(pts):
        return "timestamps are missing or not unique"
    if not table.entry[0] or (pts.min() < table.pts[0] and table.shown[0]):
        return "the stream does not begin with an entry point"
    return ""


def _decode_for_probe(
    container: InputContainer, stream: VideoStream, *, count: bool, tick: Tick
) -> tuple[tuple[int, int], npt.NDArray[np.int64], VideoError | None]:
    """Size of the upright picture; pts of every frame if `count`, else of the first; where it broke off."""
    size, broken_off = None, None
    ticks: list[int] = []
    try:
        for frame in container.decode(stream):
            ticks.append(_NO_PTS if frame.pts is None else frame.pts)
            if size is None:
                turned = frame.rotation % 180 != 0
                size = (frame.height, frame.width) if turned else (frame.width, frame.height)
            if not count:
                break
            tick()
    except (av.FFmpegError, OSError) as error:
        if not ticks:
            raise VideoError(f"no frame can be decoded: {_short(error)}", 0) from error
        broken_off = VideoError(f"decoding fails: {_short(error)}", len(ticks))
    if size is None:
        raise VideoError("no frame can be decoded", 0)
    return size, np.array(ticks), broken_off


def _times(
    ticks: npt.NDArray[np.int64], time_base: float, average_rate: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """Frames a second and each frame's time. A stream without usable timestamps gets evenly spaced ones."""
    n = len(ticks)
    if n > 1 and ticks[0] != _NO_PTS and (np.diff(ticks) > 0).all():
        time_s = (ticks - ticks[0]) * time_base
        measured = float((n - 1) / time_s[-1])
        fps = average_rate if 0.99 < average_rate / measured < 1.01 else measured
        return fps, time_s
    fps = average_rate if 0 < average_rate <= 1000 else 25.0
    return fps, np.arange(n) / fps


def _short(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
