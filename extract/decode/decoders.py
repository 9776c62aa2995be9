"""Three ways to decode wanted frames: sparsely with PyAV, everything with PyAV, and decord.

Each is a generator of (frame number, upright RGB picture), in rising order of the numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from extract.decode.packets import (
    PacketTable,
    VideoError,
    decoded_frames,
    open_video,
    short_reason,
    sized_packets,
)
from extract.decode.probe import VideoInfo

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""
Frames = Iterator[tuple[int, Picture]]


def decode_sparse(info: VideoInfo, indices: Sequence[int]) -> Frames:
    """Send only the packets between an entry point and a wanted frame; drain and flush at jumps.

    Pictures that nothing refers to are skipped as well (H.264, by nal_ref_idc). Raises VideoError
    where the decoder objects or a frame does not appear.
    """
    plan = _plan(info.packets, indices)
    ranks = _ranks(info.packets)
    wanted = set(indices)
    with open_video(info.path) as (container, stream):
        context = stream.codec_context
        last_sent = -1
        for position, packet in enumerate(sized_packets(container, stream)):
            if position > plan.last:
                break
            if not plan.needed[position]:
                continue
            if position in plan.starts and -1 < last_sent < position - 1:
                yield from _pictures(_decode(context, None), ranks, wanted)
                context.flush_buffers()
            if info.codec == "h264":
                context.skip_frame = "DEFAULT" if position in plan.targets else "NONREF"
            yield from _pictures(_decode(context, packet), ranks, wanted)
            last_sent = position
        yield from _pictures(_decode(context, None), ranks, wanted)
    if wanted:
        raise VideoError("a frame does not come out of the decoder", min(wanted))


def decode_all(info: VideoInfo, indices: Sequence[int]) -> Frames:
    """Decode every packet in order. Raises VideoError at the first damage before the last wanted frame."""
    ranks = None if info.why_counted else _ranks(info.packets)
    wanted = set(indices)
    number = -1
    with open_video(info.path) as (container, stream):
        try:
            for frame in decoded_frames(container, stream, info.packets):
                number = number + 1 if ranks is None else _number(frame, ranks)
                if number in wanted:
                    wanted.remove(number)
                    yield number, _picture(frame, number)
                if not wanted:
                    break
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"decoding fails: {short_reason(error)}", number + 1) from error
    if wanted:
        raise VideoError("a frame does not come out of the decoder", min(wanted))


def decode_with_decord(info: VideoInfo, indices: Sequence[int]) -> Frames:
    """decord's `get_batch`, a few frames at a time. Raises VideoError where it disagrees with the probe."""
    import decord  # last and in a decoder process only: before torch with CUDA it crashes

    ordered = sorted(set(indices))
    frames_at_once = max(1, 64_000_000 // (3 * info.width * info.height))
    try:
        reader = decord.VideoReader(str(info.path.absolute()), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != info.n_frames:
            raise VideoError(f"decord sees {len(reader)} frames, the stream holds {info.n_frames}")
        for start in range(0, len(ordered), frames_at_once):
            numbers = ordered[start : start + frames_at_once]
            yield from zip(numbers, reader.get_batch(numbers).asnumpy(), strict=True)
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise VideoError(f"decord fails: {str(error).splitlines()[0]}") from error


def _picture(frame: av.VideoFrame, number: int) -> Picture:
    if frame.is_corrupt:
        raise VideoError("a frame is damaged", number)
    return upright_rgb(frame)


def upright_rgb(frame: av.VideoFrame) -> Picture:
    """(H, W, 3) RGB of a decoded frame, turned as its display matrix says."""
    # One thread: else swscale starts one a core for every frame, which costs more than the conversion.
    picture: Picture = frame.to_ndarray(format="rgb24", threads=1).astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns % 4 else picture


@dataclass(frozen=True)
class _Plan:
    """Positions of packets, in decode order."""

    needed: npt.NDArray[np.bool_]
    starts: set[int]
    """Entry points where a stretch begins."""
    targets: set[int]
    """Packets of wanted frames."""
    last: int
    """The last of them."""


def _plan(packets: PacketTable, indices: Sequence[int]) -> _Plan:
    """Which packets to send for the wanted frames.

    A frame is decoded from the last entry point that is neither behind it in decode order nor later
    in presentation, so leading pictures of an open GOP get the past they need; where decoding
    begins, they are left out.
    """
    shown = np.flatnonzero(packets.shown)
    targets = shown[np.argsort(packets.pts[shown])][list(indices)]
    entries = np.flatnonzero(packets.entry)
    needed = np.zeros(len(packets.pts), bool)
    starts = set()
    for target in targets:
        at = int(np.searchsorted(entries, target, side="right")) - 1
        while at >= 0 and packets.pts[entries[at]] > packets.pts[target]:
            at -= 1
        start = int(entries[at] if at >= 0 else packets.decodable.argmax())
        stretch = slice(start, target + 1)
        needed[stretch] |= packets.pts[stretch] >= min(packets.pts[start], packets.pts[target])
        starts.add(start)
    return _Plan(needed, starts, set(targets.tolist()), int(targets.max()))


def _ranks(packets: PacketTable) -> dict[int, int]:
    return {pts: rank for rank, pts in enumerate(np.sort(packets.pts[packets.shown]).tolist())}


def _number(frame: av.VideoFrame, ranks: dict[int, int]) -> int:
    """The frame's number, or -1 if its timestamp is none of the stream's."""
    return -1 if frame.pts is None else ranks.get(frame.pts, -1)


def _decode(context: av.VideoCodecContext, packet: "av.Packet[VideoStream] | None") -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.FFmpegError as error:
        raise VideoError(f"decoding fails: {short_reason(error)}") from error


def _pictures(frames: list[av.VideoFrame], ranks: dict[int, int], wanted: set[int]) -> Frames:
    for frame in frames:
        number = _number(frame, ranks)
        if number in wanted:
            wanted.remove(number)
            yield number, _picture(frame, number)
