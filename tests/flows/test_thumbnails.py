"""Pictures for the report: a video that cannot be decoded, or not in time, only lacks them."""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from extract.decode.process import DecoderProcess
from extract.decode.reader import read_frames
from extract.decode.worker import Alive, FrameJob
from flows.pipeline.thumbnails import HEIGHT, thumbnails
from tests.child_processes import children_running
from tests.extract.numbered_clips import make_clip, records_of


def children() -> list[psutil.Process]:
    """The decoder processes."""
    return children_running("extract.decode.worker")


def test_a_picture_is_the_frame_in_small(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "a.mp4", 40, size=(320, 240))
    ((_, pixels),) = read_frames(video, [20])
    with thumbnails(records_of(video), 20) as thumbnail:
        picture = thumbnail("a", 20)
        again = thumbnail("a", 20)
        (process,) = children()
    assert picture == again
    with Image.open(io.BytesIO(picture)) as shown:
        assert shown.size == (120, HEIGHT)
        assert shown.convert("L").getpixel((60, 45)) == pytest.approx(float(pixels[120, 160].mean()), abs=12)
    assert not process.is_running()


@pytest.mark.filterwarnings("error")
def test_bad_videos_lack_their_pictures_and_the_others_have_them(tmp_path: Path) -> None:
    good = make_clip(tmp_path / "good.mp4", 40, size=(96, 96))
    cut = make_clip(tmp_path / "cut.mkv", 120, size=(96, 96))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    noise, pipe, gone = tmp_path / "noise.mp4", tmp_path / "pipe.mp4", tmp_path / "gone.mp4"
    noise.write_bytes(os.urandom(5000))
    os.mkfifo(pipe)
    (tmp_path / "folder.mp4").mkdir()
    records = records_of(good, cut, noise, pipe, gone, tmp_path / "folder.mp4")
    with thumbnails(records, 20) as thumbnail:
        assert [thumbnail(name, 8) is None for name in ("noise", "pipe", "gone", "folder", "unknown")] == [
            True
        ] * 5
        assert thumbnail("cut", 110) is None
        assert thumbnail("good", 8) is not None
        assert thumbnail("good", 40) is None  # it has no such frame


def test_a_decoder_that_hangs_or_dies_costs_one_picture(tmp_path: Path) -> None:
    videos = [make_clip(tmp_path / f"{name}.mp4", 20, size=(96, 96)) for name in "abc"]
    with thumbnails(records_of(*videos), 2) as thumbnail:
        assert thumbnail("a", 8) is not None
        children()[0].suspend()
        began = time.monotonic()
        assert thumbnail("a", 8) is None
        assert time.monotonic() - began < 10
        assert thumbnail("a", 8) is None  # not tried again
        assert children() == []
        assert thumbnail("b", 8) is not None
        children()[0].kill()
        thumbnail("b", 8)  # None, or a picture if the death was noticed before
        assert thumbnail("c", 8) is not None


def test_signs_of_life_do_not_extend_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def alive_forever(self: DecoderProcess, job: FrameJob) -> Iterator[Alive]:
        while True:
            time.sleep(0.01)
            yield Alive()

    monkeypatch.setattr(DecoderProcess, "_messages", alive_forever)
    video = make_clip(tmp_path / "a.mp4", 20, size=(96, 96))
    with thumbnails(records_of(video), 0.2) as thumbnail:
        assert thumbnail("a", 8) is None
    assert children() == []
