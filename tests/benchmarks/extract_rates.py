"""Images per second of the encoder alone and of a whole extraction, and their ratio.

    python tests/benchmarks/extract_rates.py [--device auto] [--frames 320] [--clips 2] [--crops 1 10]
        [--rounds 2] [--size 1920x1080] [--key-every 250] [--decoder nvdec]

Both are measured alternately; the fastest round of each counts. The encoder's rate is compared with the
measured rate of matrix products on the device (ViT-B/16: 35.1 GFLOP per image). Weights are random, which
does not affect the speed. Prints a Markdown table.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.config import ExtractConfig, ExtractRuntime
from extract.encoder import Encoder, load_encoder
from extract.engine import extract_videos
from tests.benchmarks.extract_footage import make_footage
from tests.extract.numbered_clips import records_of

GFLOP_PER_IMAGE = 35.1
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Duration of one run, after another one to warm up."""
    run()
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def matrix_gflops(encoder: Encoder) -> float:
    size, repeats = (8192, 20) if encoder.device.type == "cuda" else (1024, 10)
    a = torch.randn(size, size, device=encoder.device, dtype=DTYPES[encoder.fingerprint.precision])
    return 2e-9 * size**3 * repeats / seconds(lambda: [a @ a for _ in range(repeats)], encoder.device)


def encoder_rate(encoder: Encoder) -> float:
    images = torch.zeros(encoder.batch_size * 8, 3, 224, 224, dtype=torch.uint8, device=encoder.device)
    return len(images) / seconds(lambda: encoder.embed(images), encoder.device)


def end_to_end_rate(
    encoder: Encoder, paths: list[Path], crops: int, frames: int, runtime: ExtractRuntime
) -> float:
    images = len(paths) * -(-frames // 16) * crops
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        extract_videos(records_of(*paths), Path(out), ExtractConfig(crops=crops), runtime, encoder=encoder)
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--frames", type=int, default=320, help="frames per clip")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--crops", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=2, help="runs of each; the fastest counts")
    parser.add_argument("--size", default="320x240", help="width and height of the pictures")
    parser.add_argument("--key-every", type=int, default=12, help="frames from key frame to key frame")
    parser.add_argument("--decoder", default="auto", help="auto, decord, torchcodec or nvdec")
    options = parser.parse_args()
    width, height = (int(number) for number in options.size.split("x"))
    runtime = ExtractRuntime(device=options.device, decoder=options.decoder)
    encoder = load_encoder("random", options.device, options.precision)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_footage(
            Path(folder), options.clips, options.frames, options.key_every, size=(width, height)
        )
        alone, rates = 0.0, dict.fromkeys(options.crops, 0.0)
        for _ in range(options.rounds):
            for crops in options.crops:
                alone = max(alone, encoder_rate(encoder))
                rate = end_to_end_rate(encoder, paths, crops, options.frames, runtime)
                rates[crops] = max(rates[crops], rate)
    peak = matrix_gflops(encoder)
    share = alone * GFLOP_PER_IMAGE / peak
    kind = f"{options.size}, key frame every {options.key_every}, decoder {options.decoder}"
    print(f"| extraction, {kind} | images/s | of the encoder alone | of the rate of matrix products |")
    print("|---|---|---|---|")
    precision = f"{encoder.fingerprint.precision}, batch {encoder.batch_size}"
    print(f"| encoder alone, {precision} | {alone:,.1f} | | {share:.2f} of {peak:,.0f} GFLOP/s |")
    for crops, rate in rates.items():
        ratio = rate / alone
        print(f"| {crops} crop{'s' * (crops > 1)} | {rate:,.1f} | {ratio:.2f} | {ratio * share:.2f} |")


if __name__ == "__main__":
    main()
