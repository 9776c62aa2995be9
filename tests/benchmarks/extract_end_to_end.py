"""Extraction end to end against the loop everybody writes; prints ratios from one run.

    python tests/benchmarks/extract_end_to_end.py [--footage DIR] [--model] [--rounds 3]

The loop reads every frame (OpenCV where it is installed, else PyAV), turns every 16th into a PIL
picture, runs torchvision's CLIP transform on it and one picture at a time through the encoder.
Without --model the encoder is a stand-in that costs nothing, so decoding bounds; with it, CLIP
ViT-B/16 with random weights, and the rate is compared to that of the encoder alone.
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
import torch
from PIL import Image
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parents[1]))
from extract_media import NumberEncoder, make_clip, numbered_picture, records_of

from extract.config import ExtractConfig, ExtractRuntime
from extract.encoder import Encoder, load_encoder
from extract.engine import extract_videos

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.PILToTensor(),
    ]
)


def cctv_like(number: int, width: int, height: int) -> np.ndarray:
    """A still textured scene with a little noise and a moving part: about 1 Mb/s at 320 × 240."""
    random = np.random.default_rng(number)
    scene = np.random.default_rng(0).integers(0, 200, (height // 4, width // 4, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(scene).resize((width, height), Image.Resampling.BICUBIC)).copy()
    x = number * 3 % (width - 64)
    picture[60:124, x : x + 64] = numbered_picture(number, 64, 64)
    return picture + random.integers(0, 12, (height, width, 1), dtype=np.uint8)


def every_frame(path: Path) -> Iterator[np.ndarray]:
    if importlib.util.find_spec("cv2"):
        import cv2

        capture = cv2.VideoCapture(str(path))
        while (read := capture.read())[0]:
            yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
    else:
        with av.open(str(path)) as container:
            yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def usual_loop(paths: list[Path], encoder: NumberEncoder | Encoder) -> int:
    """Images through the encoder."""
    images = 0
    for path in paths:
        for number, frame in enumerate(every_frame(path)):
            if number % 16 == 8:
                encoder.embed(TRANSFORM(Image.fromarray(frame))[None])
                images += 1
    return images


def engine(paths: list[Path], encoder: NumberEncoder | Encoder) -> int:
    with tempfile.TemporaryDirectory() as out:
        extract_videos(records_of(*paths), Path(out), ExtractConfig(), ExtractRuntime(), encoder=encoder)
    return sum(1 for _ in paths)


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
    parser.add_argument("--model", action="store_true", help="CLIP instead of a stand-in encoder")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(options.footage.iterdir()) if options.footage else []
        clips, frames = (2, 320) if options.model else (8, 2400)
        for index in range(0 if paths else clips):
            path = Path(folder) / f"{index}.mp4"
            x264 = {"preset": "medium", "g": "48"}
            paths.append(make_clip(path, frames, size=(320, 240), options=x264, picture=cctv_like))
        report(paths, options)


def report(paths: list[Path], options: argparse.Namespace) -> None:
    encoder = load_encoder("random", "cpu") if options.model else NumberEncoder()
    loop_s = best_time(lambda: usual_loop(paths, encoder), options.rounds)
    engine_s = best_time(lambda: engine(paths, encoder), options.rounds)
    print(f"usual loop {loop_s:.1f} s, engine {engine_s:.1f} s: {loop_s / engine_s:.1f} times as fast")
    if options.model:
        images = usual_loop(paths, NumberEncoder())
        batch = torch.zeros(images, 3, 224, 224, dtype=torch.uint8)
        alone_s = best_time(lambda: encoder.embed(batch), options.rounds)
        print(f"encoder alone {alone_s:.1f} s: the engine runs at {alone_s / engine_s:.2f} of its rate")


if __name__ == "__main__":
    main()
