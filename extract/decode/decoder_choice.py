"""The choice of a video's decoder: the fastest one that returns correct frames for it.

* `pyav-sparse` if timestamps and entry points identify the frames: decodes only the packets between an entry
  point and a wanted frame. docs/performance.md compares the rates.
* `pyav-full` otherwise, and whenever another decoder fails: decodes every frame in order.
* `decord`, `torchcodec` and `nvdec` on request, for the streams of which they return correct frames.
"""

from importlib.util import find_spec
from typing import Literal

from extract.decode.packets import VideoError
from extract.decode.probe import VideoInfo
from extract.decode.torchcodec_decoder import torchcodec_refusal

Decoder = Literal["pyav-sparse", "pyav-full", "decord", "torchcodec", "nvdec"]
Choice = Literal["auto", "pyav", "decord", "torchcodec", "nvdec"]
# decord decodes ahead without a limit: up to the whole video while the consumer of its frames waits.
_DECORD_READ_AHEAD_BYTES = 1_000_000_000
_DECORD_CORRECT = {"h264", "hevc", "vp9", "mjpeg"}


def choose_decoder(info: VideoInfo, choice: Choice) -> tuple[Decoder, str]:
    """The decoder for a video, and the reason.

    Both are stored in the feature file, whose bytes must not change: do not reword the reasons. Raises
    VideoError if the package of `choice` is not installed, or decord can't read this video correctly; where
    torchcodec can't, PyAV reads it.
    """
    require_decoder(choice)
    if choice == "decord":
        if refusal := _decord_refusal(info):
            raise VideoError(f"decord was requested, but {refusal}; use decoder auto or pyav")
        return "decord", "asked for"
    refusal = ""
    if choice == "torchcodec" or choice == "nvdec":
        refusal = torchcodec_refusal(info)
        if not refusal:
            return choice, "asked for"
        refusal = f"{choice} is not known to be exact for {refusal}; "
    if info.full_decode_reason:
        return "pyav-full", refusal + info.full_decode_reason
    return "pyav-sparse", f"{refusal}{info.codec} with unique timestamps and known entry points"


def require_decoder(choice: Choice) -> None:
    """Raise VideoError, an InputError, if the package of the decoder that was asked for is not installed."""
    package = {"decord": "decord", "torchcodec": "torchcodec", "nvdec": "torchcodec"}.get(choice)
    if package and find_spec(package) is None:
        raise VideoError(f"{choice} was requested, but {package} is not installed; use decoder auto or pyav")


def _decord_refusal(info: VideoInfo) -> str:
    """Reason why decord is wrong or uses too much memory on this video, or an empty string.

    The faults of decord 0.6; decord2 3.4, of the same import name, has them too, and fails on some H.265.
    """
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
    if info.packets.joints:
        return "decord mixes up joined recordings"
    if info.mirrored:
        return "decord does not mirror pictures"
    if abs(info.packets.pts).max() >= 2**31:
        return "decord returns wrong frames for timestamps above 2^31"
    if info.n_frames * info.width * info.height * 3 > _DECORD_READ_AHEAD_BYTES:
        return "decord's read-ahead could take more than 1 GB"
    return ""
