"""The choice of a video's decoder: the fastest one that returns correct frames for it.

* `pyav-sparse` for H.264 and H.265 with unique timestamps, and for codecs of key frames only: decodes only
  the packets between an entry point and a wanted frame; 1.3 to 3 times as fast as decord or a full pass.
* `decord` for VP9 if it returns correct frames (`_decord_refusal`).
* `pyav-full` otherwise, and whenever another decoder fails: decodes every frame in order.
"""

from importlib.util import find_spec
from typing import Literal

from extract.decode.bitstream import NAL_CODECS
from extract.decode.packets import VideoError
from extract.decode.probe import INTRA_ONLY, VideoInfo

Decoder = Literal["decord", "pyav-sparse", "pyav-full"]
Choice = Literal["auto", "decord", "pyav"]
# decord decodes ahead without a limit: up to the whole video while the consumer of its frames waits.
_DECORD_READ_AHEAD_BYTES = 1_000_000_000
_DECORD_PREFERRED = {"vp9"}
_DECORD_CORRECT = {"h264", "hevc", "vp9", "mjpeg"}
_SPARSE_CODECS = {*NAL_CODECS, *INTRA_ONLY}


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
    """Reason why decord 0.6 is missing, wrong or uses too much memory on this video, or an empty string."""
    if find_spec("decord") is None:  # no wheels for arm64
        return "decord is not installed"
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
