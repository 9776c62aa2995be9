"""Three ways to decode wanted frames: sparsely with PyAV, everything with PyAV, and decord.

Each is a generator of (frame number, upright RGB picture), in rising order of the numbers.
"""

from collections.abc import Iterator, Sequence

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from extract.probe import PacketTable, VideoError, VideoInfo, open_video

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""
Frames = Iterator[tuple[int, Picture]]


def decode_sparse(info: VideoInfo, indices: Sequence[int]) -> Frames:
    """Send only the packets between an entry point and a wanted frame; drain and flush at jumps.

    Every wanted frame is decoded from the last entry point that is neither behind it in decode
    order nor later in presentation, so leading pictures of an open GOP get the past they need.
    Pictures that nothing refers to are skipped (H.264, by nal_ref_idc). Raises VideoError where
    the decoder objects or a frame does not appear.
    """
    assert info.packets is not None
    ranks = _ranks(info.packets)
    wanted = set(indices)
    needed, targets = _needed_packets(info.packets, sorted(wanted))
    with open_video(info.path) as (container, stream):
        context = stream.codec_context
        may_skip = info.codec == "h264"
        last_sent = -1
        for position, packet in enumerate(p for p in container.demux(stream) if p.size):
            if position >= len(needed) or position > targets[-1]:
                break
            if not needed[position]:
                continue
            if last_sent not in (-1, position - 1):
                yield from _pictures(_decode(context, None), ranks, wanted)
                context.flush_buffers()
            if may_skip:
                context.skip_frame = "DEFAULT" if position in targets else "NONREF"
            yield from _pictures(_decode(context, packet), ranks, wanted)
            last_sent = position
        yield from _pictures(_decode(context, None), ranks, wanted)
    if wanted:
        raise VideoError("a frame does not come out of the decoder", min(wanted))


def decode_all(info: VideoInfo, indices: Sequence[int]) -> Frames:
    """Decode every packet in order. Raises VideoError at the first damage before the last wanted frame."""
    ranks = _ranks(info.packets) if info.packets is not None else None
    wanted = set(indices)
    last = max(wanted)
    shown = 0
    with open_video(info.path) as (container, stream):
        try:
            for frame in container.decode(stream):
                number = shown if ranks is None else _number(frame, ranks)
                shown = max(shown, number) + 1
                if number in wanted:
                    if frame.is_corrupt:
                        raise VideoError("a frame is damaged", number)
                    wanted.remove(number)
                    yield number, upright_rgb(frame)
                if number >= last:
                    break
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"decoding fails: {error}", min(wanted | {shown})) from error
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
    except (decord.DECORDError, RuntimeError) as error:
        raise VideoError(f"decord fails: {str(error).splitlines()[0]}") from error


def upright_rgb(frame: av.VideoFrame) -> Picture:
    """(H, W, 3) RGB of a decoded frame, turned as its display matrix says."""
    picture: Picture = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns % 4 else picture


def _ranks(packets: PacketTable) -> dict[int, int]:
    return {pts: rank for rank, pts in enumerate(np.sort(packets.pts[packets.shown]).tolist())}


def _needed_packets(packets: PacketTable, wanted: Sequence[int]) -> tuple[npt.NDArray[np.bool_], list[int]]:
    """Which packets to send, and the positions (decode order) of the wanted ones."""
    shown_positions = np.flatnonzero(packets.shown)
    by_rank = shown_positions[np.argsort(packets.pts[shown_positions])]
    targets = sorted(by_rank[list(wanted)].tolist())
    entries = np.flatnonzero(packets.entry)
    needed = np.zeros(len(packets.pts), bool)
    for target in targets:
        candidates = entries[: np.searchsorted(entries, target, side="right")]
        usable = candidates[packets.pts[candidates] <= packets.pts[target]]
        needed[usable[-1] if len(usable) else 0 : target + 1] = True
    return needed, targets


def _number(frame: av.VideoFrame, ranks: dict[int, int]) -> int:
    """The frame's number, or -1 if its timestamp is none of the stream's."""
    return -1 if frame.pts is None else ranks.get(frame.pts, -1)


def _decode(context: av.VideoCodecContext, packet: "av.Packet[VideoStream] | None") -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.FFmpegError as error:
        raise VideoError(f"decoding fails: {error}") from error


def _pictures(frames: list[av.VideoFrame], ranks: dict[int, int], wanted: set[int]) -> Frames:
    for frame in frames:
        number = _number(frame, ranks)
        if number in wanted:
            if frame.is_corrupt:
                raise VideoError("a frame is damaged", number)
            wanted.remove(number)
            yield number, upright_rgb(frame)
