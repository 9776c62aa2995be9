"""Decoding with torchcodec, on the CPU or by the NVDEC units of a CUDA card; optional (`dsanet[nvdec]`).

Only on request: on a card neither exactness nor rate has been measured. torchcodec gets the probe's table of
frames and entry points instead of scanning the file: frame numbers then mean the same as with PyAV, and
streams with intra refresh are exact. It keeps NVDEC sessions per process and card, and uses them again for
videos of the same codec and size.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from extract.decode.packets import PacketTable, Tick, VideoError, short_reason
from extract.decode.probe import VideoInfo
from extract.decode.timeline import usual_step

_BATCH_BYTES = 64_000_000
_EXACT_CODECS = {"h264", "hevc", "vp9", "av1"}
_EXACT_CONTAINERS = {"mov", "matroska"}


def torchcodec_refusal(info: VideoInfo) -> str:
    """The kind of video of which torchcodec is not known to return correct frames, or an empty string."""
    container = info.container.split(",")[0]
    kinds = {
        "videos whose frames are known only after decoding": info.full_decode_reason,
        container: container not in _EXACT_CONTAINERS,
        info.codec: info.codec not in _EXACT_CODECS,
        "more than 8 bits": not info.eight_bit,
        "joined recordings": info.packets.joints,
        "edit lists": not info.packets.shown.all(),
        "mirrored pictures": info.mirrored,
    }
    return next((kind for kind, refused in kinds.items() if refused), "")


def decode_with_torchcodec(
    info: VideoInfo, indices: Sequence[int], tick: Tick, device: str
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Frames by number, in ascending order; `device` is `cpu`, or a CUDA device for NVDEC.

    Raises VideoError if torchcodec can't be loaded, fails, returns a frame of another time, or if it would
    decode on the CPU instead of the card.
    """
    order = np.argsort(info.packets.pts)
    time_s = info.packets.pts[order] * info.time_base
    ordered = sorted(set(indices))
    batch_size = max(1, _BATCH_BYTES // (3 * info.width * info.height))
    try:
        decoder = _open(info, device, _frame_mappings(info.packets, order))
        for start in range(0, len(ordered), batch_size):
            batch = ordered[start : start + batch_size]
            tick()
            frames = decoder.get_frames_at(batch)
            pictures_NHWC = frames.data.cpu().numpy()
            if device != "cpu" and decoder.cpu_fallback:
                raise VideoError(f"the card does not decode {info.codec} of this kind")
            if pictures_NHWC.shape[1:] != (info.height, info.width, 3):
                raise VideoError(f"torchcodec returns pictures of shape {pictures_NHWC.shape[1:]}")
            if (np.abs(frames.pts_seconds.cpu().numpy() - time_s[batch]) > info.time_base / 2).any():
                raise VideoError("torchcodec returns frames of another time")
            yield from zip(batch, pictures_NHWC, strict=True)
    except VideoError:
        raise
    except Exception as error:  # PyAV reads on after errors of any kind
        raise VideoError(f"torchcodec fails: {short_reason(error)}") from error


def _open(info: VideoInfo, device: str, frame_mappings: str) -> Any:
    from torchcodec.decoders import VideoDecoder  # here, and in decoder processes only: it imports torch

    return VideoDecoder(
        str(info.path.absolute()),
        dimension_order="NHWC",
        num_ffmpeg_threads=1,
        device=device,
        custom_frame_mappings=frame_mappings,
    )


def _frame_mappings(packets: PacketTable, order: npt.NDArray[np.intp]) -> str:
    """The frames in presentation order, as torchcodec reads them from JSON; entry points are key frames."""
    usual = usual_step(packets.pts)
    columns = (packets.pts[order].tolist(), packets.duration[order].tolist(), packets.entry[order].tolist())
    return json.dumps(
        {
            "frames": [
                {"pts": pts, "duration": duration or usual, "key_frame": int(entry)}
                for pts, duration, entry in zip(*columns, strict=True)
            ]
        }
    )
