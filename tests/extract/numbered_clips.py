"""Test clips whose pictures contain their frame number, so that a test recognises a wrong frame.

A number is drawn as 4 × 4 dark or bright cells over a moving background: one bit per cell. It survives
compression, scaling and odd sizes.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch

from extract.config import EncoderFingerprint
from extract.manifest import VideoRecord
from extract.preprocess import make_views
from extract.store import read_features
from extract.views import Views

Picture = npt.NDArray[np.uint8]


def numbered_picture(number: int, width: int = 128, height: int = 96) -> Picture:
    """(H, W, 3) uint8 picture of a number below 65,536."""
    y, x = np.mgrid[:height, :width]
    bits = (number >> (y * 4 // height * 4 + x * 4 // width)) & 1
    background = 20 + (x + 2 * y + 5 * number) % 24
    return np.repeat((background + bits * 190).astype(np.uint8)[..., None], 3, axis=2)


def read_number(picture: Picture) -> int:
    """The number in an upright picture of any size."""
    height, width = picture.shape[:2]
    cells = [
        picture[_cell_centre(row, height), _cell_centre(column, width)].mean() > 128
        for row in range(4)
        for column in range(4)
    ]
    return sum(int(bit) << place for place, bit in enumerate(cells))


def _cell_centre(cell: int, size: int) -> slice:
    start, stop = cell * size / 4, (cell + 1) * size / 4
    quarter = (stop - start) / 4
    return slice(int(start + quarter), max(int(start + quarter) + 1, int(stop - quarter)))


def make_clip(
    path: Path,
    frames: int = 100,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (128, 96),
    rate: int = 30,
    pix_fmt: str = "yuv420p",
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    picture: Callable[[int, int, int], Picture] = numbered_picture,
) -> Path:
    """Write a clip of numbered pictures.

    `ticks` are the timestamps of the frames in units of `time_base`; by default, the frame rate is constant.
    """
    base = time_base or Fraction(1, rate)
    opened = av.open(str(path), "w", format=container, options=container_options or {})
    with _priority_kept(), opened as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = base
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@contextmanager
def _priority_kept() -> Iterator[None]:
    """Undo what SVT-AV1 does to the thread of a root user: it gets the highest real-time priority.

    Every process that it starts later would inherit that, and together they would starve each other.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def remux(
    source: Path,
    path: Path,
    *,
    shift: int = 0,
    keep: Callable[[int, "av.Packet"], bool] = lambda position, packet: True,
    options: dict[str, str] | None = None,
) -> Path:
    """Copy the packets of a clip for which `keep` is true, with `shift` added to their timestamps."""
    with av.open(str(source)) as original, av.open(str(path), "w", options=options or {}) as output:
        stream = output.add_stream_from_template(original.streams.video[0])
        for position, packet in enumerate(p for p in original.demux(original.streams.video[0]) if p.size):
            if keep(position, packet):
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                output.mux(packet)
    return path


def numbers_in(pictures: Iterable[tuple[int, Picture]]) -> list[int]:
    """The numbers in the pictures of (frame number, picture) pairs."""
    return [read_number(picture) for _, picture in pictures]


class NumberEncoder:
    """Replaces CLIP in tests of decoding: an embedding contains the bits of a square picture's number."""

    batch_size = 8
    device = torch.device("cpu")
    fingerprint = EncoderFingerprint(
        architecture="numbers", weights_digest="0", preprocessing="openai", precision="fp32"
    )

    def preprocess(self, frames_NHWC: torch.Tensor, views: Views) -> torch.Tensor:
        return make_views(frames_NHWC, views)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        samples = images[:, 0, 4::8, 4::8].float() / 255
        # No pooling layer: torch's threads would start for it and spin on the cores of the decoders.
        cells = samples.reshape(-1, 4, 7, 4, 7).mean((2, 4)).flatten(1)
        return torch.nn.functional.pad(cells, (0, 512 - 16))


def feature_numbers(path: Path) -> list[int]:
    """The number that `NumberEncoder` read for each snippet, from the first crop."""
    cells = read_features(path).features[:, 0, :16] > 0.5
    return [sum(int(bit) << place for place, bit in enumerate(row)) for row in cells]


def records_of(*paths: Path) -> list[VideoRecord]:
    """One record per clip, named after the file."""
    return [VideoRecord(path.stem, path, ("normal",), "test") for path in paths]
