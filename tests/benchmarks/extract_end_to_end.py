"""Extraction end to end against the loop everybody writes; prints ratios from one run.

    python tests/benchmarks/extract_end_to_end.py [--footage DIR] [--rounds 3]

The loop reads every frame (OpenCV where it is installed, else PyAV), turns every 16th into a PIL
picture, runs torchvision's CLIP transform on it and one picture at a time through the encoder.
The encoder is a stand-in that costs nothing, so decoding bounds.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parents[1]))
from extract_media import NumberEncoder, records_of
from extract_media_bench import make_footage

from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.PILToTensor(),
    ]
)


def every_frame(path: Path) -> Iterator[np.ndarray]:
    if importlib.util.find_spec("cv2"):
        import cv2

        capture = cv2.VideoCapture(str(path))
        while (read := capture.read())[0]:
            yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
    else:
        with av.open(str(path)) as container:
            yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def usual_loop(paths: list[Path], encoder: NumberEncoder) -> int:
    """Images through the encoder."""
    images = 0
    for path in paths:
        for number, frame in enumerate(every_frame(path)):
            if number % 16 == 8:
                encoder.embed(TRANSFORM(Image.fromarray(frame))[None])
                images += 1
    return images


def engine(paths: list[Path], encoder: NumberEncoder) -> None:
    with tempfile.TemporaryDirectory() as out:
        extract_videos(records_of(*paths), Path(out), ExtractConfig(), ExtractRuntime(), encoder=encoder)


def best_time(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footage", type=Path, help="a folder of videos instead of synthetic ones")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    encoder = NumberEncoder()
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(options.footage.iterdir()) if options.footage else make_footage(Path(folder), 8, 1800)
        loop_s = best_time(lambda: usual_loop(paths, encoder), options.rounds)
        engine_s = best_time(lambda: engine(paths, encoder), options.rounds)
    reader = "OpenCV" if importlib.util.find_spec("cv2") else "PyAV (OpenCV is not installed)"
    print(f"usual loop with {reader}: {loop_s:.1f} s; engine: {engine_s:.1f} s")
    print(f"ratio: {loop_s / engine_s:.1f}")


if __name__ == "__main__":
    main()
