"""A video's packets: opening a file safely, one pass over its packets, decoding them in order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from extract.decode.bitstream import NAL_CODECS, EntryPoints

Tick = Callable[[], None]
"""Called now and then during long work: the caller sees that it goes on."""

# Containers of one file. Playlists (HLS, concat, DASH) are left out: they make ffmpeg open other files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,gif,apng,"
    "h264,hevc,m4v,mjpeg,obu,av1,dv,rm,wtv,dhav,swf,yuv4mpegpipe,mp3,wav,flac,aac"
)
_MAX_PIXELS = 1 << 26
"""Of one frame: 8192 × 8192. Larger ones are declared by damaged headers, not filmed."""
STREAMED = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc"}
"""Containers without an index: they may begin anywhere, and lose packets without a word."""
NO_PTS = np.iinfo(np.int64).min


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
        if stream.disposition & Disposition.attached_pic:
            raise VideoError("holds no video stream but a cover picture")
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


def read_packets(container: InputContainer, stream: VideoStream, tick: Tick) -> tuple[PacketTable, str]:
    """The table, and what was wrong with the packets, or an empty string."""
    codec = stream.codec_context.codec.canonical_name
    entries = EntryPoints(codec, stream.codec_context.extradata) if codec in NAL_CODECS else None
    pts: list[int] = []
    discard: list[bool] = []
    kinds: list[str | None] = []
    key: list[bool] = []
    complaint = ""
    bytes_left = 2 * container.size
    try:
        for packet in sized_packets(container, stream):
            bytes_left -= packet.size
            if bytes_left < 0:
                raise VideoError("the file is damaged: its packets lie one upon the other")
            kind = "closed" if packet.is_keyframe else None
            if packet.is_keyframe and entries:
                kind = entries.kind(memoryview(packet))
            key.append(packet.is_keyframe)
            kinds.append(kind)
            pts.append(NO_PTS if packet.pts is None else packet.pts)
            discard.append(packet.is_discard)
            if packet.is_corrupt:
                complaint = "a packet is incomplete"
            tick()
    except (av.FFmpegError, OSError) as error:
        complaint = f"reading it fails, {short_reason(error)}"
    if not pts:
        raise VideoError(complaint or "its video stream holds no frames")
    # A recording of a broadcast begins anywhere; elsewhere the first packet is a key frame, or damaged.
    first = key.index(True) if container.format.name in STREAMED and any(key) else 0
    return _packet_table(np.array(pts), np.array(discard), first, kinds, sum(key)), complaint


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


@contextmanager
def errors_in_log() -> Iterator[Callable[[str], str]]:
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


def short_reason(error: BaseException) -> str:
    """One line: FFmpeg's own words where it has some."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
