"""Reading exact frames of a video, with the fastest decoder that returns correct frames for it.

* `pyav-sparse` for H.264 and H.265 with unique timestamps, and for codecs of key frames only: decodes only
  the packets between an entry point and a wanted frame; 1.3 to 3 times as fast as decord or a full pass.
* `decord` for VP9 if it returns correct frames (`_decord_refusal`).
* `pyav-full` otherwise, and whenever another decoder fails: decodes every frame in order.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from extract.decode.bitstream import NAL_CODECS
from extract.decode.decoders import Frames, Picture, decode_all, decode_sparse, decode_with_decord
from extract.decode.packets import VideoError
from extract.decode.probe import INTRA_ONLY, VideoInfo, probe

Decoder = Literal["decord", "pyav-sparse", "pyav-full"]
Choice = Literal["auto", "decord", "pyav"]
# decord decodes ahead without a limit: up to the whole video while the consumer of its frames waits.
_DECORD_READ_AHEAD_BYTES = 1_000_000_000
_DECORD_PREFERRED = {"vp9"}
_DECORD_CORRECT = {"h264", "hevc", "vp9", "mjpeg"}
_SPARSE_CODECS = {*NAL_CODECS, *INTRA_ONLY}


class FrameReader:
    """Reads frames of one probed video.

    `decoder` and `reason` name the decoder used and why; they are final after the last frame, because another
    decoder is replaced by `pyav-full` when it fails.
    """

    def __init__(self, info: VideoInfo, choice: Choice = "auto") -> None:
        """Raises VideoError if `choice` is decord and decord can't read this video correctly."""
        self.info = info
        self.decoder, self.reason = choose_decoder(info, choice)

    def frames(self, indices: Sequence[int]) -> Frames:
        """(frame number, (H, W, 3) uint8 RGB) in ascending order, each frame once.

        Raises VideoError naming the first missing frame.
        """
        missing = sorted(set(indices))
        for number in (*missing[:1], *missing[-1:]):
            if not 0 <= number < self.info.n_frames:
                raise VideoError(f"has no frame {number}, only 0 to {self.info.n_frames - 1}", number)
        if missing and self.decoder != "pyav-full":
            decode = decode_sparse if self.decoder == "pyav-sparse" else decode_with_decord
            try:
                for number, picture in decode(self.info, missing):
                    missing.remove(number)
                    yield number, picture
            except VideoError as error:
                self.decoder, self.reason = "pyav-full", f"{self.decoder}: {error}"
        if missing:
            yield from decode_all(self.info, missing)


def read_frames(
    path: Path, indices: Sequence[int], decoder: Choice = "auto"
) -> Iterator[tuple[int, Picture]]:
    """Read frames of a video; the file is probed first.

    Args:
        path: The video file.
        indices: Frame numbers from 0, in presentation order; duplicates are ignored.
        decoder: `auto` for the fastest decoder that returns correct frames; `pyav`; or `decord`.

    Returns:
        An iterator of (frame number, picture), in ascending order of the numbers. A picture is (H, W, 3)
        uint8 RGB, upright.

    Raises:
        FileNotFoundError: The file does not exist.
        VideoError: A frame can't be decoded or does not exist; `frame` is its number (a ValueError). Raised
            by the call if the file is not a video or decord returns wrong frames for it, else by the
            iterator.

    Examples:
        >>> from pathlib import Path
        >>> from extract import read_frames
        >>> [(number, picture.shape) for number, picture in read_frames(Path("video.mp4"), [24, 8])]
        [(8, (96, 128, 3)), (24, (96, 128, 3))]
    """
    return FrameReader(probe(path), decoder).frames(indices)


def choose_decoder(info: VideoInfo, choice: Choice) -> tuple[Decoder, str]:
    """The decoder for a video, and the reason.

    Both are stored in the feature file, whose bytes must not change: do not reword the reasons. Raises
    VideoError if `choice` is decord and decord can't read this video correctly.
    """
    refusal = _decord_refusal(info)
    if choice == "decord":
        if refusal:
            raise VideoError(f"decord was requested, but {refusal}; use decoder auto or pyav")
        return "decord", "asked for"
    if not info.full_decode_reason and info.codec in _SPARSE_CODECS:
        return "pyav-sparse", f"{info.codec} with unique timestamps and known entry points"
    if choice == "auto" and not refusal and info.codec in _DECORD_PREFERRED:
        container = info.container.split(",")[0]
        return "decord", f"right for {info.codec} in {container}, and sparse decoding is not"
    return "pyav-full", info.full_decode_reason or refusal or "PyAV was asked for"


def _decord_refusal(info: VideoInfo) -> str:
    """Reason why decord 0.6 would be wrong or use too much memory on this video, or an empty string."""
    if info.full_decode_reason:
        return f"decord returns wrong frames ({info.full_decode_reason})"
    if not info.eight_bit:
        return "decord returns wrong colours from more than 8 bits"
    if info.container.split(",")[0] not in ("mov", "matroska"):
        return f"decord returns wrong frames from {info.container}"
    if info.codec not in _DECORD_CORRECT:
        return f"decord is not known to be right for {info.codec}"
    if not info.packets.closed_gops:
        return "decord returns wrong frames from open GOPs and intra refresh"
    if not info.packets.shown.all():
        return "decord ignores edit lists"
    if abs(info.packets.pts).max() >= 2**31:
        return "decord returns wrong frames for timestamps above 2^31"
    if info.n_frames * info.width * info.height * 3 > _DECORD_READ_AHEAD_BYTES:
        return "decord's read-ahead could take more than 1 GB"
    return ""
