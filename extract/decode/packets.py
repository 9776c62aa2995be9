"""The packets of a video: opening a file safely, one pass over its packets, decoding them in order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from extract.decode.bitstream import NAL_CODECS, EntryKind, EntryPointParser
from extract.decode.timeline import NO_PTS, join_recordings
from extract.errors import InputError

Tick = Callable[[], None]
"""Callback of long operations, called after each small step: a sign of life."""

# Formats that consist of one file. Playlists (HLS, concat, DASH) are excluded: ffmpeg would open other files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,gif,apng,"
    "h264,hevc,m4v,mjpeg,obu,av1,dv,rm,wtv,dhav,swf,yuv4mpegpipe,mp3,wav,flac,aac"
)
# Tags of a file may be in any encoding. PyAV 19 reads all, and has no such argument.
_ANY_METADATA: Any = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
_MAX_PIXELS = 1 << 26
"""Limit per frame, 8192 × 8192. Damaged headers declare more, cameras do not record more."""
UNINDEXED_FORMATS = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc"}
"""Containers without an index: a file may begin at any packet, and lost packets are not reported."""


class VideoError(InputError):
    """A video can't be decoded; `frame` is the number of the first missing frame, if known."""

    def __init__(self, reason: str, frame: int | None = None) -> None:
        super().__init__(reason)
        self.frame = frame


@dataclass(frozen=True)
class PacketTable:
    """Properties of the P packets of a stream, (P,) each, in decode order."""

    pts: npt.NDArray[np.int64]
    """Presentation timestamps, on one clock for joined recordings; `NO_PTS` if missing."""
    duration: npt.NDArray[np.int64]
    """Durations in ticks; 0 if unknown."""
    corrupt: npt.NDArray[np.bool_]
    """True if the demuxer found that data before the end of the packet is missing."""
    decodable: npt.NDArray[np.bool_]
    """False before the first key frame of a recording, which may begin between two of them."""
    shown: npt.NDArray[np.bool_]
    """True if decodable and not removed by an edit list."""
    entry: npt.NDArray[np.bool_]
    """True if decoding can begin at the packet."""
    closed_gops: bool
    """True if every key frame is an entry point without leading pictures that need earlier packets."""
    joints: tuple[int, ...] = ()
    """First packets of the second and later of several joined recordings."""

    @property
    def undecodable(self) -> int:
        """Packets that cannot be decoded because their recording begins between two key frames."""
        return int(np.count_nonzero(~self.decodable))


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the container and its best video stream, with one decoder thread.

    Raises VideoError if the file has no video stream that can be decoded.
    """
    try:
        options = {"format_whitelist": _FORMATS}
        container = av.open(str(path.absolute()), options=options, **_ANY_METADATA)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"can't be opened as a video: {short_reason(error)}") from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise VideoError("holds no video stream")
        if stream.disposition & Disposition.attached_pic:
            raise VideoError("holds no video stream, only a cover picture")
        if stream.codec_context is None:
            raise VideoError("its codec is unknown")
        stream.codec_context.thread_count = 1
        # Report damage as an error; by default the decoder conceals it with content of neighbouring frames.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(_MAX_PIXELS)}
        yield container, stream


def nonempty_packets(container: InputContainer, stream: VideoStream) -> "Iterator[av.Packet[VideoStream]]":
    """The stream's packets without empty ones, which mean a repeated frame but end a decoder's input."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except IndexError as error:  # raised by PyAV if a damaged file appears to start another stream
        raise VideoError("the file is damaged: a stream begins in the middle") from error


def numbered_packets(
    container: InputContainer, stream: VideoStream, table: PacketTable
) -> "Iterator[tuple[int, av.Packet[VideoStream]]]":
    """The packets to decode with their positions; their timestamps are those of the table."""
    for position, packet in enumerate(nonempty_packets(container, stream)):
        if position >= len(table.pts):
            return
        if table.decodable[position]:
            pts = int(table.pts[position])
            packet.pts = None if pts == NO_PTS else pts
            yield position, packet


def decoded_frames(
    container: InputContainer, stream: VideoStream, table: PacketTable, first: int = 0
) -> Iterator[av.VideoFrame]:
    """Every frame in presentation order, decoded from the packet `first` on.

    At a joint the decoder starts anew. Errors before the first frame are ignored, later ones are raised.
    """
    context = stream.codec_context
    joints = set(table.joints)
    any_decoded = False
    for position, packet in numbered_packets(container, stream, table):
        if position < first:
            continue
        if joints and position >= min(joints):
            joints = {joint for joint in joints if joint > position}
            yield from context.decode(None)
            context.flush_buffers()
        try:
            frames = context.decode(packet)
        except av.error.InvalidDataError:
            if any_decoded:
                raise
            continue
        any_decoded |= bool(frames)
        yield from frames
    yield from context.decode(None)


@dataclass
class _PacketColumns:
    """Per-packet values collected by `read_packets`."""

    pts: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    duration: list[int] = field(default_factory=list)
    discard: list[bool] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    key: list[bool] = field(default_factory=list)
    entry_kinds: list[EntryKind | None] = field(default_factory=list)

    def add(self, packet: "av.Packet[VideoStream]", parser: EntryPointParser | None) -> None:
        kind: EntryKind | None = "closed" if packet.is_keyframe else None
        if packet.is_keyframe and parser:
            kind = parser.kind(memoryview(packet))
        self.pts.append(NO_PTS if packet.pts is None else packet.pts)
        self.dts.append(NO_PTS if packet.dts is None else packet.dts)
        self.duration.append(packet.duration or 0)
        self.discard.append(packet.is_discard)
        self.corrupt.append(packet.is_corrupt)
        self.key.append(packet.is_keyframe)
        self.entry_kinds.append(kind)

    def table(self, time_base: float) -> PacketTable:
        key = np.array(self.key)
        pts, joints = join_recordings(np.array(self.pts), np.array(self.dts), key, time_base)
        decodable = np.ones(len(pts), bool)
        for start, end in zip([0, *joints], [*joints, len(pts)], strict=True):
            recording = slice(start, end)
            if key[recording].any():  # else damage or an unusual codec: the decoder decides
                first = start + int(key[recording].argmax())
                decodable[start:first] = False
                if self.entry_kinds[first] == "open":
                    decodable[recording] &= pts[recording] >= pts[first]
        return PacketTable(
            pts=pts,
            duration=np.array(self.duration),
            corrupt=np.array(self.corrupt),
            decodable=decodable,
            shown=decodable & ~np.array(self.discard),
            entry=np.array([kind is not None for kind in self.entry_kinds]),
            closed_gops=self.entry_kinds.count("closed") == sum(self.key),
            joints=tuple(joints),
        )


def read_packets(
    container: InputContainer, stream: VideoStream, first_error: Callable[[str], str], tick: Tick
) -> tuple[PacketTable, "PacketDamage | None"]:
    """The packet table, and the damage found on the way.

    `first_error` is the function of `captured_ffmpeg_errors`. Raises VideoError if the stream has no packets,
    or more bytes of packets than the file could hold.
    """
    codec = stream.codec_context.codec.canonical_name
    parser = EntryPointParser(codec, stream.codec_context.extradata) if codec in NAL_CODECS else None
    columns = _PacketColumns()
    damage: PacketDamage | None = None
    bytes_left = 2 * container.size
    try:
        for packet in nonempty_packets(container, stream):
            if damage is None and (reason := first_error(container.format.name)):
                damage = PacketDamage(reason, len(columns.pts))
            bytes_left -= packet.size
            if bytes_left < 0:
                raise VideoError("the file is damaged: its packets overlap")
            columns.add(packet, parser)
            tick()
    except (av.FFmpegError, OSError) as error:
        damage = damage or PacketDamage(f"reading it fails, {short_reason(error)}", len(columns.pts))
    if damage is None and (reason := first_error(container.format.name)):
        damage = PacketDamage(reason, len(columns.pts))
    if not columns.pts:
        raise VideoError(damage.reason if damage else "its video stream holds no frames")
    index = stream.index_entries
    if len(index) == len(columns.pts) and index[0].is_keyframe:
        columns.key[0] = True  # otherwise a damaged key frame would pass for a recording that begins later
    return columns.table(float(stream.time_base or 1)), damage


@dataclass(frozen=True)
class PacketDamage:
    """Damage of the container, found before the packet `position`."""

    reason: str
    position: int


@contextmanager
def captured_ffmpeg_log() -> Iterator[list[tuple[int, str, str]]]:
    """Capture the errors that ffmpeg logs, as (level, name of the component, text)."""
    level, skip_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # an error equal to one of the previous file must not be skipped
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip_repeated)


@contextmanager
def captured_ffmpeg_errors() -> Iterator[Callable[[str], str]]:
    """Capture ffmpeg's log, the only place where demuxers report the damage they skip.

    Yields a function that returns the first error logged by the demuxer of that name, or an empty string.
    """
    with captured_ffmpeg_log() as messages:

        def first_error(demuxer: str) -> str:
            # Messages of others are removed: this is called after every packet.
            messages[:] = [message for message in messages if message[1] == demuxer][:1]
            return messages[0][2].strip() if messages else ""

        yield first_error


def short_reason(error: BaseException) -> str:
    """First line of an error's message, or its type; of an FFmpeg error, FFmpeg's message alone."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
