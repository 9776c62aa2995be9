"""Peak memory of an extraction from 4K videos, for several batch sizes; prints a Markdown table.

    python tests/benchmarks/extract_memory.py [--clips 4] [--frames 72] [--batches 64 256 4096]

Every frame of the clips (H.264, 3840 × 2160) is a snippet, and a stand-in for the encoder costs nothing: only
the pictures on their way take memory. `whole` is the way until November 2026: a batch is collected from
pictures of the video's size, and resized when it is full. Memory is the sum over all processes of their
proportional set sizes, in which shared memory counts once. Needs Linux.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract import extraction, pictures
from extract.batches import EmbeddingBatches, Indices
from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
from extract.pictures import Pictures
from tests.benchmarks.extract_footage import scene
from tests.extract.numbered_clips import NumberEncoder, make_clip, records_of

WIDTH, HEIGHT = 3840, 2160
SAMPLE_S = 0.02


class WholePictures(EmbeddingBatches):
    """Collects pictures of the video's size until there are enough for a batch."""

    def __init__(self, encoder: NumberEncoder, views: object) -> None:
        super().__init__(encoder, views)
        self._whole: list[tuple[object, int, torch.Tensor]] = []

    def add(self, owner: object, picks: Indices, added: Pictures) -> Iterator[None]:
        for pick, frame in zip(picks.tolist(), added.frames_NHWC, strict=True):
            self._whole.append((owner, pick, frame))
            if len(self._whole) == self._capacity:
                self.launch()
                yield

    def launch(self) -> None:
        if self._whole:
            owners, picks, frames = zip(*self._whole, strict=True)
            self._whole = []
            together = Pictures(torch.stack(frames), ExtractConfig().views)
            del frames
            images = self._encoder.preprocess(together.frames_NHWC, together.views)
            embeddings = self._encoder.embed(images.flatten(0, 1)).numpy()
            pieces = [(owner, np.array([pick])) for owner, pick in zip(owners, picks, strict=True)]
            self._in_flight.append((pieces, lambda: embeddings))


def extract(folder: Path, batch: int, whole: bool) -> None:
    """One extraction, in a process of its own."""
    if whole:
        extraction.EmbeddingBatches = WholePictures
        pictures._WHOLE_UP_TO = 10**9
    encoder = NumberEncoder()
    encoder.batch_size = batch
    videos = records_of(*sorted(folder.glob("*.mp4")))
    with tempfile.TemporaryDirectory() as out:
        config = ExtractConfig(snippet_length=1)
        result = extract_videos(videos, Path(out), config, ExtractRuntime(), encoder=encoder)
    assert len(result.extracted) == len(videos), result.failures


def peak_bytes(command: list[str]) -> tuple[int, int, float]:
    """Peak of the sum over the processes of a command, and of its first process alone; seconds."""
    peak = first = 0
    start = time.perf_counter()
    with subprocess.Popen(command) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            sizes = [_pss(one) for one in (root, *root.children(recursive=True))]
            peak, first = max(peak, sum(sizes)), max(first, sizes[0])
            time.sleep(SAMPLE_S)
    assert process.returncode == 0
    return peak, first, time.perf_counter() - start


def _pss(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:  # it has ended
        return 0


def moving_scene(number: int, width: int, height: int) -> np.ndarray:
    return np.roll(scene(width, height), 16 * number, axis=1)


def make_videos(folder: Path, clips: int, frames: int) -> None:
    first = make_clip(
        folder / "0.mp4",
        frames,
        size=(WIDTH, HEIGHT),
        options={"preset": "ultrafast"},
        picture=moving_scene,
    )
    for index in range(1, clips):
        (folder / f"{index}.mp4").write_bytes(first.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--frames", type=int, default=72, help="frames per clip")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 4096], help="batch sizes")
    parser.add_argument("--whole", type=int, nargs="*", default=[64], help="batch sizes of whole pictures")
    parser.add_argument("--run", nargs=3, metavar=("FOLDER", "BATCH", "WHOLE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        folder, batch, whole = options.run
        extract(Path(folder), int(batch), bool(int(whole)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_videos(Path(folder), options.clips, options.frames)
        print(f"{psutil.cpu_count()} CPUs; GB")
        print("| batch | pictures | peak | of it the extracting process | seconds |\n|---|---|---|---|---|")
        for whole, batches in ((0, options.batches), (1, options.whole)):
            for batch in batches:
                command = [sys.executable, __file__, "--run", folder, str(batch), str(whole)]
                peak, first, seconds = peak_bytes(command)
                name = "whole" if whole else "resized on arrival"
                print(
                    f"| {batch} | {name} | {peak / 1e9:.2f} | {first / 1e9:.2f} | {seconds:.0f} |", flush=True
                )


if __name__ == "__main__":
    main()
