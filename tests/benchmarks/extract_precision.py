"""Extraction in this device's own precision against extraction in float32: time, and cosine of the features.

    python tests/benchmarks/extract_precision.py [--device cpu] [--clips 4] [--frames 640] [--rounds 2]

Both run alternately; the fastest round of each counts. The tower is the real one; its random weights do not
affect the speed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.config import ExtractConfig, ExtractRuntime
from extract.encoder import Encoder, load_encoder
from extract.engine import extract_videos
from extract.store import feature_path, read_features
from tests.benchmarks.extract_footage import make_footage
from tests.extract.numbered_clips import records_of


def extract(encoder: Encoder, paths: list[Path], out: Path) -> float:
    """Seconds of an extraction into an empty folder."""
    for file in out.glob("*.h5"):
        file.unlink()
    start = time.perf_counter()
    extract_videos(records_of(*paths), out, ExtractConfig(), ExtractRuntime(), encoder=encoder)
    return time.perf_counter() - start


def least_cosine(paths: list[Path], first: Path, second: Path) -> float:
    """The smallest cosine of the features of one snippet in two folders."""
    cosines = []
    for path in paths:
        a, b = (
            read_features(feature_path(folder, path.stem)).features.astype(float)
            for folder in (first, second)
        )
        norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        cosines.append(((a * b).sum(-1) / norms).min())
    return float(min(cosines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--frames", type=int, default=640, help="frames per clip")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each; the fastest counts")
    options = parser.parse_args()
    encoders = {name: load_encoder("random", options.device, name) for name in ("fp32", "auto")}
    with tempfile.TemporaryDirectory() as folder:
        paths = make_footage(Path(folder), options.clips, options.frames)
        outs = {name: Path(folder) / name for name in encoders}
        best = dict.fromkeys(encoders, float("inf"))
        for out in outs.values():
            out.mkdir()
        for _ in range(options.rounds):
            for name, encoder in encoders.items():
                best[name] = min(best[name], extract(encoder, paths, outs[name]))
        cosine = least_cosine(paths, outs["fp32"], outs["auto"])
    images = options.clips * -(-options.frames // 16)
    for name, seconds in best.items():
        print(f"{encoders[name].fingerprint.precision}  {images / seconds:8.1f} images/s")
    print(f"{best['fp32'] / best['auto']:.2f} times as fast as fp32; least cosine {cosine:.5f}")


if __name__ == "__main__":
    main()
