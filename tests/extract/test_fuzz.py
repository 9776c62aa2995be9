"""Hundreds of damaged files: decoding gives the right frames or raises VideoError, nothing else."""

from pathlib import Path

import numpy as np
import pytest

from extract.config import ExtractConfig
from extract.decode.packets import VideoError
from extract.decode.probe import probe
from extract.decode.reader import FrameReader
from extract.snippets import pick_frames
from tests.extract.numbered_clips import make_clip

CLIPS: dict[str, dict] = {
    "a.mp4": {"options": {"g": "24"}},
    "a.mkv": {"options": {"g": "24"}},
    "a.ts": {"options": {"g": "24"}},
    "a.flv": {"options": {"g": "24"}},
    "h265.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=24:log-level=none"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "24", "cpu-used": "8"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"g": "24", "preset": "12"}},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "wmv2.wmv": {"codec": "wmv2"},
}


def damaged(image: bytes, random: np.random.Generator) -> bytes:
    """The file truncated, partly overwritten, with a part removed, or with flipped bits."""
    result = bytearray(image)
    at, length = int(random.integers(len(image))), int(random.choice([1, 10, 200, 3000]))
    match random.integers(4):
        case 0:
            del result[at:]
        case 1:
            result[at : at + length] = random.bytes(length)
        case 2:
            del result[at : at + length]
        case _:
            for place in random.integers(len(image), size=length // 50 + 1):
                result[place] ^= 1 << random.integers(8)
    return bytes(result)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_damage_is_reported_or_harmless(name: str, tmp_path: Path) -> None:
    image = make_clip(tmp_path / name, 100, **CLIPS[name]).read_bytes()
    random = np.random.default_rng(0)
    reported = 0
    for _ in range(60):
        (tmp_path / name).write_bytes(damaged(image, random))
        try:
            info = probe(tmp_path / name)
            wanted = pick_frames(info.n_frames, ExtractConfig().sampling).frames.tolist()
            got = [number for number, _ in FrameReader(info).frames(wanted)]
            assert got == wanted
            reported += info.damage is not None
        except VideoError:
            reported += 1
    assert reported > 10
