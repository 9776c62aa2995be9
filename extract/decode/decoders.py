"""Selective decoding with PyAV, full decoding with PyAV, and decord.

Each is a generator of (frame number, upright RGB picture), in ascending order of the numbers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from extract.decode.packets import (
    PacketTable,
    Tick,
    VideoError,
    captured_ffmpeg_log,
    decoded_frames,
    numbered_packets,
    open_video,
    short_reason,
)
from extract.decode.probe import VideoInfo, display_matrix

_DECORD_BATCH_BYTES = 64_000_000
_RELEASE_OF_SKIPPED = "mmco: unref short failure"
"""ffmpeg's message."""

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""
Frames = Iterator[tuple[int, Picture]]
"""(frame number, picture)"""


def decode_sparse(info: VideoInfo, indices: Sequence[int], tick: Tick = lambda: None) -> Frames:
    """Send a decoder only the packets between an entry point and a wanted frame; flush it at each jump.

    In H.264, pictures that no other refers to (nal_ref_idc 0) are skipped as well. Raises VideoError if
    decoding fails or a wanted frame is not returned.
    """
    plan = _plan_packets(info.packets, indices)
    numbers = _number_by_pts(info.packets)
    wanted = set(indices)
    with captured_ffmpeg_log() as log, open_video(info.path) as (container, stream):
        context = stream.codec_context
        last_sent = -1
        for position, packet in numbered_packets(container, stream, info.packets):
            tick()
            if position > plan.last:
                break
            if not plan.needed[position]:
                continue
            if position in plan.starts and -1 < last_sent < position - 1:
                yield from _take_wanted(_decode(context, None, log), numbers, wanted)
                context.flush_buffers()
            if info.codec == "h264":
                context.skip_frame = "DEFAULT" if position in plan.targets else "NONREF"
            yield from _take_wanted(_decode(context, packet, log), numbers, wanted)
            last_sent = position
        yield from _take_wanted(_decode(context, None, log), numbers, wanted)
    _require_none_left(wanted)


def decode_all(info: VideoInfo, indices: Sequence[int], tick: Tick = lambda: None) -> Frames:
    """Decode every packet in order, from the entry point before the first wanted frame on if it is known.

    Raises VideoError at the first damage before the last wanted frame.
    """
    numbers = None if info.full_decode_reason else _number_by_pts(info.packets)
    wanted = set(indices)
    first = 0 if numbers is None else min(_plan_packets(info.packets, [min(wanted)]).starts)
    number = -1 if numbers is None else min(wanted) - 1
    with open_video(info.path) as (container, stream):
        try:
            for frame in decoded_frames(container, stream, info.packets, first):
                tick()
                number = number + 1 if numbers is None else _frame_number(frame, numbers)
                if number in wanted:
                    wanted.remove(number)
                    yield number, _intact_picture(frame, number)
                if not wanted:
                    break
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"decoding fails: {short_reason(error)}", number + 1) from error
    _require_none_left(wanted)


def decode_with_decord(info: VideoInfo, indices: Sequence[int], tick: Tick = lambda: None) -> Frames:
    """Decode with decord's `get_batch`, a few frames at a time.

    Raises VideoError if decord fails, or counts other frames than the probe.
    """
    import decord  # here, and in decoder processes only: imported before torch with CUDA it crashes

    ordered = sorted(set(indices))
    batch_size = max(1, _DECORD_BATCH_BYTES // (3 * info.width * info.height))
    try:
        reader = decord.VideoReader(str(info.path.absolute()), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != info.n_frames:
            raise VideoError(f"decord sees {len(reader)} frames, the stream holds {info.n_frames}")
        for start in range(0, len(ordered), batch_size):
            batch = ordered[start : start + batch_size]
            tick()
            yield from zip(batch, reader.get_batch(batch).asnumpy(), strict=True)
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        # Without the times of day in it: equal runs must give equal feature files.
        reason = re.sub(r"\[\d\d:\d\d:\d\d\] ", "", str(error).splitlines()[0])
        raise VideoError(f"decord fails: {reason}") from error


@dataclass(frozen=True)
class _PacketPlan:
    """The packets to send, by position in decode order."""

    needed: npt.NDArray[np.bool_]
    """(P,) True for the packets to send."""
    starts: set[int]
    """Entry points at which a run of needed packets begins."""
    targets: set[int]
    """Packets of wanted frames."""
    last: int
    """The last packet of a wanted frame."""


def _plan_packets(packets: PacketTable, indices: Sequence[int]) -> _PacketPlan:
    """The packets that decoding the wanted frames requires.

    A frame is decoded from the last entry point that comes no later than the frame, both in decode order and
    in presentation order: leading pictures of an open GOP then get the earlier packets they need. Leading
    pictures of the entry point where decoding begins are not sent.
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
        run = slice(start, target + 1)
        needed[run] |= packets.pts[run] >= min(packets.pts[start], packets.pts[target])
        starts.add(start)
    return _PacketPlan(needed, starts, set(targets.tolist()), int(targets.max()))


def _number_by_pts(packets: PacketTable) -> dict[int, int]:
    """Frame number of each presentation timestamp."""
    return {pts: rank for rank, pts in enumerate(np.sort(packets.pts[packets.shown]).tolist())}


def _frame_number(frame: av.VideoFrame, numbers: dict[int, int]) -> int:
    """The number of a decoded frame, or -1 if its timestamp is not in the packet table."""
    return -1 if frame.pts is None else numbers.get(frame.pts, -1)


def _decode(
    context: av.VideoCodecContext,
    packet: "av.Packet[VideoStream] | None",
    log: list[tuple[int, str, str]],
) -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.FFmpegError as error:
        # Behind the entry point of an open GOP, H.264 releases pictures that were skipped. That is an error
        # for ffmpeg, but the picture is intact and comes out with the next packet.
        if log and all(text.startswith(_RELEASE_OF_SKIPPED) for _, _, text in log):
            log.clear()
            return []
        raise VideoError(f"decoding fails: {short_reason(error)}") from error


def _take_wanted(frames: list[av.VideoFrame], numbers: dict[int, int], wanted: set[int]) -> Frames:
    """The wanted ones of the decoded frames; they are removed from `wanted`."""
    for frame in frames:
        number = _frame_number(frame, numbers)
        if number in wanted:
            wanted.remove(number)
            yield number, _intact_picture(frame, number)


def _intact_picture(frame: av.VideoFrame, number: int) -> Picture:
    if frame.is_corrupt:
        raise VideoError("a frame is damaged", number)
    return _upright_rgb(frame)


def _upright_rgb(frame: av.VideoFrame) -> Picture:
    """(H, W, 3) RGB of a decoded frame, rotated and mirrored by its display matrix."""
    # One thread: swscale would start one per core for every frame, which costs more than the conversion.
    picture: Picture = frame.to_ndarray(format="rgb24", threads=1).astype(np.uint8, copy=False)
    (a, b), (c, d) = display_matrix(frame)
    if a == 0:
        picture = picture.swapaxes(0, 1)
    across, down = (c, b) if a == 0 else (a, d)
    return np.ascontiguousarray(picture[::down, ::across])


def _require_none_left(wanted: set[int]) -> None:
    if wanted:
        raise VideoError("a frame does not come out of the decoder", min(wanted))
