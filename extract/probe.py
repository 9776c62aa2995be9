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
INTRA_ONLY = {"mjpeg", "prores", "dnxhd", "png", "rawvideo"}
_ONE_FRAME_A_PACKET = {"h264", "hevc", "vp9", "av1", "ffv1", *INTRA_ONLY}
_MAX_PIXELS = 1 << 26
"""Of one frame: 8192 × 8192. Larger ones are declared by damaged headers, not filmed."""
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
_STREAMED = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc"}
_NO_PTS = np.iinfo(np.int64).min


class VideoError(ValueError):
    """A video can't be decoded; `frame` is the number of the first frame that is missing, if known."""

    def __init__(self, reason: str, frame: int | None = None) -> None:
        super().__init__(reason)
        self.frame = frame


@dataclass(frozen=True)
class PacketTable:
    """Per packet in decode order."""

    pts: npt.NDArray[np.int64]
    decodable: npt.NDArray[np.bool_]
    """False before the stream's first key frame, as in a recording that begins mid-GOP."""
    shown: npt.NDArray[np.bool_]
    """Decodable, and not cut away by an edit list."""
    entry: npt.NDArray[np.bool_]
    """Decoding may begin here."""
    closed_gops: bool
    """Every packet flagged as a key frame is an entry point without leading pictures that need the past."""


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
    with _errors_in_log() as errors, open_video(path) as (container, stream):
        average_rate = float(stream.average_rate or stream.guessed_rate or 0)
        declared = stream.frames
        table, complaint = _read_packets(container, stream, tick)
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


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream, one decoder thread; VideoError for whatever isn't a video."""
    try:
        options = {"format_whitelist": _FORMATS}
        container = av.open(str(path.absolute()), metadata_errors="ignore", options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"can't be opened as a video: {short_reason(error)}") from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise VideoError("holds no video stream")
        if stream.codec_context is None:
            raise VideoError("its codec is unknown")
        stream.codec_context.thread_count = 1
        # Damage is to be an error, not a picture patched up from its neighbours.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(_MAX_PIXELS)}
        yield container, stream


def sized_packets(container: InputContainer, stream: VideoStream) -> "Iterator[av.Packet[VideoStream]]":
    """The stream's packets, without empty ones: they mean a repeated picture, and to a decoder the end."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except IndexError as error:  # PyAV's, where a damaged file seems to begin another stream
        raise VideoError("the file is damaged: a stream begins in the middle") from error


def decoded_frames(
    container: InputContainer, stream: VideoStream, packets: PacketTable
) -> Iterator[av.VideoFrame]:
    """Every frame in order of presentation. What can't be decoded before the first one is passed over."""
    begun = False
    for decodable, packet in zip(packets.decodable, sized_packets(container, stream), strict=False):
        if not decodable:
            continue
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.InvalidDataError:
            if begun:
                raise
            continue
        begun |= bool(frames)
        yield from frames
    yield from stream.codec_context.decode(None)


def _read_packets(container: InputContainer, stream: VideoStream, tick: Tick) -> tuple[PacketTable, str]:
    """The table, and what was wrong with the packets, or an empty string."""
    codec = stream.codec_context.codec.canonical_name
    entries = EntryPoints(codec, stream.codec_context.extradata) if codec in NAL_CODECS else None
    pts: list[int] = []
    discard: list[bool] = []
    kinds: list[str | None] = []
    key: list[bool] = []
    complaint = ""
    try:
        for packet in sized_packets(container, stream):
            kind = "closed" if packet.is_keyframe else None
            if packet.is_keyframe and entries:
                kind = entries.kind(memoryview(packet))
            key.append(packet.is_keyframe)
            kinds.append(kind)
            pts.append(_NO_PTS if packet.pts is None else packet.pts)
            discard.append(packet.is_discard)
            if packet.is_corrupt:
                complaint = "a packet is incomplete"
            tick()
    except (av.FFmpegError, OSError) as error:
        complaint = f"reading it fails, {short_reason(error)}"
    if not pts:
        raise VideoError(complaint or "its video stream holds no frames")
    # A recording of a broadcast begins anywhere; elsewhere the first packet is a key frame, or damaged.
    first = key.index(True) if container.format.name in _STREAMED and any(key) else 0
    return _packet_table(np.array(pts), np.array(discard), first, kinds, sum(key)), complaint


@contextmanager
def _errors_in_log() -> Iterator[Callable[[str], str]]:
    """Demuxers step over damage and say so in ffmpeg's log alone: gives the first error they logged."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # "repeated" would be told of the file before
    try:
        with av.logging.Capture() as messages:
            yield lambda demuxer: next((text.strip() for _, name, text in messages if name == demuxer), "")
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)


def _packet_table(
    pts: npt.NDArray[np.int64],
    discard: npt.NDArray[np.bool_],
    first: int,
    kinds: list[str | None],
    key_frames: int,
) -> PacketTable:
    decodable = np.arange(len(pts)) >= first
    if kinds[first] == "open":
        decodable &= pts >= pts[first]
    return PacketTable(
        pts=pts,
        decodable=decodable,
        shown=decodable & ~discard,
        entry=np.array([kind is not None for kind in kinds]),
        closed_gops=kinds.count("closed") == key_frames,
    )


def _damage(
    container: str, complaint: str, declared: int, packets: int, time_s: npt.NDArray[np.float64]
) -> VideoError | None:
    """What is missing. Where something was lost on the way, frames before the first gap in time are certain."""
    steps = np.diff(time_s)
    usual = np.median(steps) if len(steps) else 0.0
    gaps = np.flatnonzero(steps > 1.5 * usual)
    first_lost = int(gaps[0]) + 1 if len(gaps) else len(time_s)
    if container in _STREAMED:
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
    if (table.pts == _NO_PTS).any() or len(np.unique(pts)) < len(pts):
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
            ticks.append(_NO_PTS if frame.pts is None else frame.pts)
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
    if n > 1 and ticks[0] != _NO_PTS and (np.diff(ticks) > 0).all():
        time_s = (ticks - ticks[0]) * time_base
        # The container's average is exact where it fits the timestamps to within their rounding.
        fits = average_rate > 0 and abs((n - 1) / average_rate - time_s[-1]) <= 2 * time_base
        return average_rate if fits else float((n - 1) / time_s[-1]), time_s
    fps = average_rate if 0 < average_rate <= 1000 else 25.0
    return fps, np.arange(n) / fps


def short_reason(error: BaseException) -> str:
    """One line: FFmpeg's own words where it has some."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
