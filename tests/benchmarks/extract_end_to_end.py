"""Extraction from video to feature file against a simple frame-by-frame loop; prints the ratio of the times.

    python tests/benchmarks/extract_end_to_end.py [--footage DIR] [--minutes 3] [--noise 8] [--rounds 2]

Corpus: synthetic surveillance videos of three minutes, 320×240, 30 frames per second, H.264 with B-frames.
Six each have a key frame every 12 frames, every 60 (two seconds, usual in cameras) and every 250 (x264's
default), at 0.6, 0.2 and 0.1 Mb/s; real clips of UCF-Crime encoded like the last have 0.03 to 0.13 Mb/s.
Sparse decoding skips less with fewer key frames, so each distance has its own line. More noise increases the
share of decoding: with `--noise 25` the rate is 0.6 to 1.1 Mb/s. `--footage` measures a folder of videos
instead.

The loop reads every frame (with OpenCV if installed, else PyAV), converts every 16th to an RGB PIL image,
applies torchvision's CLIP transform and encodes one image at a time. Loop and engine use the same trivial
encoder, so that decoding is the bottleneck. They run alternately; the fastest round of each counts, including
the start of the engine's decoder processes. CPU seconds are printed in parentheses: on a shared machine they
are more reliable than the ratio.
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
from tests.benchmarks.extract_footage import CALM, make_footage
from tests.extract.numbered_clips import NumberEncoder, records_of

KEY_EVERY = (12, 60, 250)
TRANSFORM = transforms.Compose(
    [
        transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.PILToTensor(),
    ]
)


def every_frame(path: Path) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB of every frame."""
    if importlib.util.find_spec("cv2"):
        import cv2

        capture = cv2.VideoCapture(str(path))
        while (read := capture.read())[0]:
            yield read[1][..., ::-1]
    else:
        with av.open(str(path)) as container:
            yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def frame_loop(paths: list[Path], encoder: NumberEncoder) -> None:
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
    """Elapsed seconds, and CPU seconds of all processes."""
    start, cpu_start = time.perf_counter(), cpu_seconds()
    run(paths, NumberEncoder())
    return time.perf_counter() - start, cpu_seconds() - cpu_start


def cpu_seconds() -> float:
    """CPU seconds of this process and of its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def corpus(folder: Path, minutes: float, noise: int) -> dict[str, list[Path]]:
    return {
        f"key frame every {every}": make_footage(folder / str(every), 6, round(minutes * 1800), every, noise)
        for every in KEY_EVERY
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--footage", type=Path, help="a folder of videos instead of synthetic ones")
    parser.add_argument("--minutes", type=float, default=3, help="length of a synthetic video")
    parser.add_argument("--noise", type=int, default=CALM, help="noise of synthetic videos, in levels of 255")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side; the fastest counts")
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
            rounds = [(seconds(frame_loop, paths), seconds(engine, paths)) for _ in range(options.rounds)]
            fastest = np.min(rounds, axis=0)
            total += fastest
            print_line(kind, fastest)
        print_line("all", total)
        start_up_s, _ = seconds(engine, make_footage(Path(folder) / "short", 2, 16))
        print(f"start-up of the engine (two videos of 16 frames): {start_up_s:.1f} s")


def print_line(kind: str, times: np.ndarray) -> None:
    """`times` is (2, 2): loop and engine, by elapsed and CPU seconds."""
    columns = "".join(f"{elapsed_s:6.1f} ({cpu_s:5.1f})" for elapsed_s, cpu_s in times)
    print(f"{kind:24}{columns}{times[0, 0] / times[1, 0]:8.1f}", flush=True)


if __name__ == "__main__":
    main()
