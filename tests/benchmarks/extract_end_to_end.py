"""Extraction end to end against the loop everybody writes; prints ratios from one run.

    python tests/benchmarks/extract_end_to_end.py [--footage DIR] [--minutes 3] [--noise 8] [--rounds 2]

The corpus: surveillance-like videos of three minutes, 320×240, 30 frames a second, H.264 with B-frames,
six each with a key frame every 12 frames, every 60 (two seconds: usual in cameras) and every 250
(x264's default), at 0.6, 0.2 and 0.1 Mb/s; real clips of UCF-Crime encoded like the last have 0.03 to
0.13. The farther apart key frames are, the less of a video can be left out exactly, hence a line for
each. The noisier a video, the more of the time is the decoder's own: `--noise 25` makes it 0.6 to
1.1 Mb/s. `--footage` takes a folder of your own instead.

The loop reads every frame (OpenCV where it is installed, else PyAV), turns every 16th into an RGB
PIL picture, runs torchvision's CLIP transform on it and one picture at a time through the encoder.
Both sides have the same encoder, a stand-in that costs next to nothing, so decoding bounds. They
take turns; of each the fastest round counts, start-up of the engine's decoder processes included.
CPU seconds are printed too: on a machine that others use as well, they say more than the ratio.
"""

import argparse
import importlib.util
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
from tests.benchmarks.extract_media_bench import CALM, make_footage
from tests.extract.media import NumberEncoder, records_of

KEY_EVERY = (12, 60, 250)
TRANSFORM = transforms.Compose(
    [
        transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.PILToTensor(),
    ]
)


def every_frame(path: Path) -> Iterator[np.ndarray]:
    """RGB."""
    if importlib.util.find_spec("cv2"):
        import cv2

        capture = cv2.VideoCapture(str(path))
        while (read := capture.read())[0]:
            yield read[1][..., ::-1]
    else:
        with av.open(str(path)) as container:
            yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def usual_loop(paths: list[Path], encoder: NumberEncoder) -> None:
    for path in paths:
        for number, frame in enumerate(every_frame(path)):
            if number % 16 == 8:
                encoder.embed(TRANSFORM(Image.fromarray(frame))[None])


def engine(paths: list[Path], encoder: NumberEncoder) -> None:
    with tempfile.TemporaryDirectory() as out:
        result = extract_videos(
            records_of(*paths), Path(out), ExtractConfig(), ExtractRuntime(), encoder=encoder
        )
    assert len(result.extracted) == len(paths), result.failures


def seconds(run: Callable[[list[Path], NumberEncoder], None], paths: list[Path]) -> tuple[float, float]:
    """Of the clock, and of all CPUs together."""
    start, cpu_start = time.perf_counter(), cpu_seconds()
    run(paths, NumberEncoder())
    return time.perf_counter() - start, cpu_seconds() - cpu_start


def cpu_seconds() -> float:
    """Of this process and those it has started and seen end."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def corpus(folder: Path, minutes: float, noise: int) -> dict[str, list[Path]]:
    return {
        f"key frame every {every}": make_footage(folder / str(every), 6, round(minutes * 1800), every, noise)
        for every in KEY_EVERY
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footage", type=Path, help="a folder of videos instead of synthetic ones")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--noise", type=int, default=CALM, help="levels of a pixel, of 255")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.footage:
            kinds = {options.footage.name: sorted(options.footage.iterdir())}
        else:
            kinds = corpus(Path(folder), options.minutes, options.noise)
        reader = "OpenCV" if importlib.util.find_spec("cv2") else "PyAV (OpenCV is not installed)"
        print(f"the loop reads with {reader}; seconds (CPU seconds)")
        print(f"{'':24}{'loop':>14}{'engine':>14}{'ratio':>8}")
        total = np.zeros((2, 2))
        for kind, paths in kinds.items():
            turns = [(seconds(usual_loop, paths), seconds(engine, paths)) for _ in range(options.rounds)]
            fastest = np.min(turns, axis=0)
            total += fastest
            print_line(kind, fastest)
        print_line("all", total)
        start_up_s, _ = seconds(engine, make_footage(Path(folder) / "short", 2, 16))
        print(f"start-up, on two videos of 16 frames: {start_up_s:.1f} s")


def print_line(kind: str, times: np.ndarray) -> None:
    """`times` are (loop, engine) by (clock, CPU)."""
    columns = "".join(f"{clock_s:6.1f} ({cpu_s:5.1f})" for clock_s, cpu_s in times)
    print(f"{kind:24}{columns}{times[0, 0] / times[1, 0]:8.1f}", flush=True)


if __name__ == "__main__":
    main()
