"""torchcodec returns the frames that PyAV returns: on the CPU here, on a card by the test marked `gpu`."""

import sys
from pathlib import Path

import numpy as np
import pytest

from extract.config import ExtractConfig, ExtractRuntime
from extract.decode import decoder_choice
from extract.decode.decoder_choice import choose_decoder
from extract.decode.decoders import decode_all
from extract.decode.packets import VideoError
from extract.decode.probe import probe
from extract.decode.reader import FrameReader
from extract.decode.torchcodec_decoder import torchcodec_refusal
from extract.engine import extract_videos
from extract.errors import InputError
from tests.extract.clip_kinds import DERIVED, make_derived, make_kind
from tests.extract.numbered_clips import NumberEncoder, numbered_picture, numbers_in, records_of

FRAMES = 120
WANTED = [0, 1, 7, 23, 24, 25, 26, 47, 72, 73, 100, FRAMES - 2, FRAMES - 1]
SIZE = (256, 192)
"""NVDEC refuses smaller pictures in some codecs."""
EXACT = [
    "h264 with B-frames", "h264 without B-frames", "h264 B-pyramid", "h264 open GOP", "h264 intra refresh",
    "h264 all intra", "h264 in Matroska", "h264 of variable frame rate", "h264 timestamps above 2^31",
    "h265 closed GOP", "h265 open GOP", "vp9 with hidden frames", "vp9, key frame every 12", "av1",
]  # fmt: skip


@pytest.fixture
def torchcodec() -> None:
    """Skip where torchcodec is not installed, or does not find FFmpeg's libraries."""
    pytest.importorskip("torchcodec", reason="torchcodec is not installed")
    try:
        from torchcodec.decoders import VideoDecoder

        VideoDecoder(b"no video")
    except (RuntimeError, ValueError) as error:
        if "Could not load libtorchcodec" in str(error):
            pytest.skip("torchcodec does not find the libraries of an FFmpeg that it supports")


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("name", EXACT)
def test_torchcodec_on_the_cpu_returns_the_frames_of_pyav(name: str, tmp_path: Path) -> None:
    info = probe(make_kind(name, tmp_path, FRAMES))
    reader = FrameReader(info, "torchcodec")
    pictures = list(reader.frames(WANTED))
    assert (reader.decoder, reader.reason) == ("torchcodec", "asked for")
    assert numbers_in(pictures) == WANTED
    for (_, picture), (_, same) in zip(pictures, decode_all(info, WANTED), strict=True):
        assert (picture == same).all()


@pytest.mark.usefixtures("torchcodec")
def test_torchcodec_turns_pictures_upright(tmp_path: Path) -> None:
    clip = make_derived("h264 turned by a quarter", tmp_path, 40, SIZE, numbered_picture)
    reader = FrameReader(probe(clip.path), "torchcodec")
    assert numbers_in(reader.frames([8, 24])) == [8, 24]
    assert reader.decoder == "torchcodec"


@pytest.mark.gpu
@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("name", EXACT)
def test_nvdec_returns_the_frames_of_pyav(name: str, tmp_path: Path) -> None:
    """The colours may differ by the rounding of another conversion from YUV."""
    info = probe(make_kind(name, tmp_path, FRAMES, size=SIZE))
    reader = FrameReader(info, "nvdec")
    pictures = list(reader.frames(WANTED))
    assert numbers_in(pictures) == WANTED
    assert (reader.decoder, reader.reason) == ("nvdec", "asked for")
    for (_, picture), (_, same) in zip(pictures, decode_all(info, WANTED), strict=True):
        assert np.abs(picture.astype(np.int16) - same).mean() < 2


# name: the kind of video that the refusal names
REFUSED = {
    "h264 interlaced": "videos whose frames are known only after decoding",
    "mpeg4 in MP4": "videos whose frames are known only after decoding",
    "h264 in MPEG-TS": "mpegts",
    "h264 in FLV": "flv",
    "mjpeg": "mjpeg",
    "h265 of 10 bits, temporal layers": "more than 8 bits",
    "h264 trimmed by an edit list": "edit lists",
    "h264 mirrored": "mirrored pictures",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_videos_are_read_with_pyav(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_choice, "find_spec", lambda name: object())
    if name in DERIVED:
        path = make_derived(name, tmp_path, 48, (128, 96), numbered_picture).path
    else:
        path = make_kind(name, tmp_path, 48)
    info = probe(path)
    assert torchcodec_refusal(info) == REFUSED[name]
    decoder, reason = choose_decoder(info, "auto")
    refused = f"nvdec is not known to be exact for {REFUSED[name]}; {reason}"
    assert choose_decoder(info, "nvdec") == (decoder, refused)


def test_a_decoder_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(make_kind("h264 with B-frames", tmp_path, 40))
    monkeypatch.setattr(decoder_choice, "find_spec", lambda name: None)
    for choice in ("torchcodec", "nvdec"):
        with pytest.raises(VideoError, match=f"{choice} was requested, but torchcodec is not installed; use"):
            choose_decoder(info, choice)


def test_an_extraction_is_refused_before_its_first_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure would be remembered for each of the videos."""
    records = records_of(make_kind("h264 with B-frames", tmp_path, 40))
    monkeypatch.setattr(decoder_choice, "find_spec", lambda name: None)
    runtime = ExtractRuntime(decoder="nvdec")
    with pytest.raises(InputError, match="torchcodec is not installed"):
        extract_videos(records, tmp_path / "out", ExtractConfig(), runtime, encoder=NumberEncoder())
    assert not list((tmp_path / "out").glob("*.csv"))


def test_where_torchcodec_fails_pyav_reads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_choice, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)  # its import fails
    reader = FrameReader(probe(make_kind("h264 with B-frames", tmp_path, FRAMES)), "nvdec")
    assert numbers_in(reader.frames(WANTED)) == WANTED
    assert reader.decoder == "pyav-sparse"
    assert reader.reason.startswith("nvdec: torchcodec fails: ")
