"""Kinds of streams that decoders treat differently: codecs, containers, GOPs, joints, display matrices."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.extract.numbered_clips import Picture, make_clip, remux

MOST_FRAMES = 2000
VFR_TICKS = np.cumsum(np.random.default_rng(0).integers(1, 9, MOST_FRAMES)).tolist()
Source = Callable[[int, int, int], Picture]
"""(number, width, height) to a picture"""
B_FRAMES: dict[str, Any] = {"options": {"g": "24", "bf": "2"}}
X265 = "log-level=none:keyint=24:bframes=3:b-adapt=0"

# name: (file name, arguments of make_clip, the decoder that `auto` must choose)
CLIPS: dict[str, tuple[str, dict, str]] = {
    "h264 with B-frames": ("a.mp4", {"options": {"g": "48"}}, "pyav-sparse"),
    "h264 without B-frames": ("a.mp4", {"options": {"g": "24", "bf": "0"}}, "pyav-sparse"),
    "h264 B-pyramid": (
        "a.mp4",
        {"options": {"x264-params": "keyint=60:bframes=8:b-pyramid=normal:b-adapt=0:scenecut=0"}},
        "pyav-sparse",
    ),
    "h264 open GOP": (
        "a.mp4",
        {"options": {"x264-params": "keyint=24:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
        "pyav-sparse",
    ),
    "h264 intra refresh": (
        "a.mp4",
        {"options": {"x264-params": "intra-refresh=1:keyint=24:bframes=0"}},
        "pyav-sparse",
    ),
    "h264 interlaced": ("a.mp4", {"options": {"x264-params": "tff=1:keyint=24"}}, "pyav-full"),
    "h264 all intra": ("a.mp4", {"options": {"g": "1"}}, "pyav-sparse"),
    "h264 in Matroska": ("a.mkv", {"options": {"g": "24"}}, "pyav-sparse"),
    "h264 in AVI": ("a.avi", {"options": {"g": "24"}}, "pyav-full"),
    "h264 in FLV": ("a.flv", {"options": {"g": "24"}}, "pyav-sparse"),
    "h264 in MPEG-TS": ("a.ts", {"options": {"g": "24"}}, "pyav-sparse"),
    "h264 without a container": ("a.h264", {"options": {"g": "24"}}, "pyav-full"),
    "h264 4:4:4 of odd size": ("a.mp4", {"size": (131, 77), "pix_fmt": "yuv444p"}, "pyav-sparse"),
    "h264 timestamps above 2^31": (
        "a.mp4",
        {
            "ticks": [i * 25_000_000 for i in range(MOST_FRAMES)],
            "time_base": Fraction(1, 100_000_000),
            "options": {"g": "24"},
        },
        "pyav-sparse",
    ),
    "h264 of variable frame rate": (
        "a.mp4",
        {"ticks": VFR_TICKS, "time_base": Fraction(1, 90), "options": {"g": "24"}},
        "pyav-sparse",
    ),
    "h265 closed GOP": (
        "a.mp4",
        {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=0"}},
        "pyav-sparse",
    ),
    "h265 open GOP": (
        "a.mp4",
        {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1"}},
        "pyav-sparse",
    ),
    "h265 of 10 bits, temporal layers": (
        "a.mkv",
        {
            "codec": "libx265",
            "pix_fmt": "yuv420p10le",
            "options": {"x265-params": f"{X265}:temporal-layers=2"},
        },
        "pyav-sparse",
    ),
    "vp9 with hidden frames": (
        "a.webm",
        {"codec": "libvpx-vp9", "options": {"g": "48", "cpu-used": "5", "auto-alt-ref": "1"}},
        "pyav-sparse",
    ),
    "vp9, key frame every 12": (
        "a.webm",
        {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8"}},
        "pyav-sparse",
    ),
    "vp8 with hidden frames": (
        "a.webm",
        {
            "codec": "libvpx",
            "options": {"g": "48", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "9"},
        },
        "pyav-full",
    ),
    "av1": ("a.mp4", {"codec": "libsvtav1", "options": {"g": "24", "preset": "12"}}, "pyav-sparse"),
    "mjpeg": ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "pyav-sparse"),
    "prores with alpha": ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}, "pyav-sparse"),
    "png with alpha": ("a.mov", {"codec": "png", "pix_fmt": "rgba"}, "pyav-sparse"),
    "ffv1": ("a.mkv", {"codec": "ffv1", "options": {"g": "12"}}, "pyav-sparse"),
    "mpeg4 in AVI, packed B-frames": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}, "pyav-full"),
    "mpeg4 in MP4": ("a.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}, "pyav-full"),
    "mpeg2 program stream": ("a.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}, "pyav-full"),
    "mpeg2 transport stream": ("a.ts", {"codec": "mpeg2video", "options": {"bf": "2"}}, "pyav-full"),
    "h264 in ASF, B-frames": ("a.asf", {"options": {"g": "24", "bf": "2"}}, "pyav-full"),
    "wmv2": ("a.wmv", {"codec": "wmv2"}, "pyav-full"),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8", "rate": 25}, "pyav-full"),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Encoders print on the standard error of the process itself."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def make_kind(name: str, folder: Path, frames: int, **options: Any) -> Path:
    """A clip of one of `CLIPS`; `options` take precedence over those of `make_clip`."""
    file_name, own, _ = CLIPS[name]
    with quiet():
        return make_clip(folder / file_name, frames, **own | options)


@dataclass(frozen=True)
class Clip:
    """A clip whose pictures are known."""

    path: Path
    shown: Callable[[int], Picture]
    """The upright picture of a frame, as it was before encoding."""


def make_derived(name: str, folder: Path, frames: int, size: tuple[int, int], picture: Source) -> Clip:
    """A clip of one of `DERIVED`, of pictures of this size."""
    return DERIVED[name](folder, frames, size, picture)


def _trimmed(folder: Path, frames: int, size: tuple[int, int], picture: Source) -> Clip:
    """A stream copy that begins with frame 33, between two key frames: an edit list hides the ones before."""
    first, packets = 33, 22
    whole = make_clip(folder / "whole.mp4", first + frames, size=size, picture=picture, **B_FRAMES)
    with av.open(str(whole)) as container:
        stream = container.streams.video[0]
        tick = round(1 / (stream.time_base * stream.average_rate))
    path = remux(
        whole, folder / "a.mp4", shift=-first * tick, keep=lambda _, packet: packet.dts >= packets * tick
    )
    return Clip(path, lambda number: picture(first + number, *size))


def _joined(folder: Path, frames: int, size: tuple[int, int], picture: Source) -> Clip:
    """Two recordings of a camera in one file; the clock of the second begins anew."""
    parts = [
        make_clip(
            folder / f"{start}.ts",
            frames // 2,
            size=size,
            picture=lambda number, w, h, start=start: picture(start + number, w, h),
            **B_FRAMES,
        ).read_bytes()
        for start in (0, frames // 2)
    ]
    path = folder / "joined.ts"
    path.write_bytes(b"".join(parts))
    return Clip(path, lambda number: picture(number, *size))


def _turned(folder: Path, frames: int, size: tuple[int, int], picture: Source) -> Clip:
    """A recording of a telephone held upright."""
    upright = size[::-1]
    path = make_clip(
        folder / "a.mov",
        frames,
        size=size,
        rotation=90,
        picture=lambda number, *_: np.rot90(picture(number, *upright), -1),
        **B_FRAMES,
    )
    return Clip(path, lambda number: picture(number, *upright))


def _mirrored(folder: Path, frames: int, size: tuple[int, int], picture: Source) -> Clip:
    """A recording of a front camera: the display matrix exchanges left and right."""
    path = make_clip(folder / "a.mp4", frames, size=size, picture=picture, **B_FRAMES)
    set_display_matrix(path, [-1, 0, 0, 1])
    return Clip(path, lambda number: picture(number, *size)[:, ::-1])


DERIVED: dict[str, Callable[[Path, int, tuple[int, int], Source], Clip]] = {
    "h264 trimmed by an edit list": _trimmed,
    "h264, two recordings joined": _joined,
    "h264 turned by a quarter": _turned,
    "h264 mirrored": _mirrored,
}


def set_display_matrix(path: Path, matrix: list[int]) -> None:
    """Write the display matrix (a, b, c, d) into the header of an MP4 file's first track."""
    image = bytearray(path.read_bytes())
    at = image.find(b"tkhd") + 4 + 40  # version and flags, times, track, duration, layer, volume: 40 bytes
    a, b, c, d = matrix
    fixed = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    image[at : at + 36] = np.array(fixed, ">i4").tobytes()
    path.write_bytes(image)
