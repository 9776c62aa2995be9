"""Rates that the page on planning computes with; prints Markdown tables.

    python tests/benchmarks/capacity_rates.py [--frames 320] [--rounds 3] [--noise 8]
        [--sizes 320x240 1920x1080]

* Source frames a second of CPU time, by the size and codec of the video, where every 16th picture is wanted:
  when every frame is decoded, as for a live camera, and in the way that the extraction chooses for a file;
  the best of `--rounds` passes. Footage: a still, textured scene with sensor noise and a moving object, a
  key frame every 50 frames.
* CPU and elapsed milliseconds for writing the feature file of a ten-minute video, and its bytes.
* Requests to an S3 server (moto's, on loopback) for fetching a video and for storing a feature file.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig
from extract.decode.decoder_choice import choose_decoder
from extract.decode.decoders import decode_all
from extract.decode.probe import probe
from extract.decode.reader import FrameReader
from extract.source import SourceInfo
from extract.store import FeatureMeta, VideoFeatures, write_features
from tests.benchmarks.extract_footage import CALM, cctv_like
from tests.extract.numbered_clips import make_clip

CODECS = {"H.264": "libx264", "H.265": "libx265"}
KEY_EVERY = 50
TEN_MINUTES = 10 * 60 * 25 // 16
"""Snippets of a video of ten minutes at 25 frames a second."""


def decode_rates(path: Path, rounds: int) -> tuple[float, float, str]:
    """Frames a CPU second when all are decoded, and as the extraction decodes; the decoder of the latter."""
    info = probe(path)
    wanted = range(8, info.n_frames, 16)
    full = min(cpu_seconds(lambda: decode_all(info, wanted)) for _ in range(rounds))
    chosen = min(cpu_seconds(lambda: FrameReader(info).frames(wanted)) for _ in range(rounds))
    return info.n_frames / full, info.n_frames / chosen, choose_decoder(info, "auto")[0]


def cpu_seconds(frames: Any) -> float:
    start = time.process_time()
    for _ in frames():
        pass
    return time.process_time() - start


def print_decoding(folder: Path, sizes: list[str], n_frames: int, rounds: int, noise: int) -> None:
    picture = partial(cctv_like, noise=noise)
    print("| video | Mb/s at 25 frames/s | every frame decoded, frames/CPU s | as chosen | decoder |")
    print("|---|---|---|---|---|")
    for size in sizes:
        width, height = (int(number) for number in size.split("x"))
        for name, codec in CODECS.items():
            options = {"preset": "fast", "g": str(KEY_EVERY)}
            if codec == "libx265":
                options = {"preset": "fast", "x265-params": f"keyint={KEY_EVERY}:log-level=error"}
            path = folder / f"{name}-{size}.mp4"
            make_clip(path, n_frames, codec=codec, size=(width, height), options=options, picture=picture)
            rate = path.stat().st_size * 8 / n_frames * 25 / 1e6
            full, chosen, decoder = decode_rates(path, rounds)
            print(f"| {name} {size} | {rate:.2f} | {full:,.0f} | {chosen:,.0f} | {decoder} |", flush=True)


def print_feature_file(folder: Path, rounds: int) -> Path:
    features = ten_minutes()
    path = folder / "video.h5"
    timings = []
    for _ in range(max(rounds, 3) * 5):
        cpu, clock = time.process_time(), time.perf_counter()
        write_features(path, features)
        timings.append((time.process_time() - cpu, time.perf_counter() - clock))
    cpu, clock = (1000 * sorted(column)[len(column) // 2] for column in zip(*timings, strict=True))
    print(f"\nfeature file of ten minutes: {path.stat().st_size:,} bytes, {cpu:.1f} ms CPU, {clock:.1f} ms")
    return path


def ten_minutes(crops: int = 1) -> VideoFeatures:
    """Features of a video of ten minutes."""
    source = SourceInfo(
        file_name="video.mp4", sha256="0" * 64, size=1, mtime_ns=1, codec="h264", fps=25.0,
        n_frames=TEN_MINUTES * 16, width=320, height=240, duration_s=600.0,
    )  # fmt: skip
    encoder = EncoderFingerprint(
        architecture="ViT-B-16", weights_digest="random", preprocessing="1", precision="fp32"
    )
    meta = FeatureMeta(
        source=source,
        encoder=encoder,
        config=ExtractConfig(crops=crops),
        decoder="pyav-sparse",
        decoder_reason="",
    )
    values = np.random.default_rng(0).normal(size=(TEN_MINUTES, crops, FEATURE_DIM)).astype(np.float16)
    frames = np.arange(TEN_MINUTES) * 16 + 8
    return VideoFeatures("video", values, frames, frames / 25, meta)


@contextmanager
def counted_requests() -> Iterator[Counter[str]]:
    """Counts the requests of s3fs by name."""
    import s3fs

    counts: Counter[str] = Counter()
    original = s3fs.S3FileSystem._call_s3

    async def counting(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        counts[method] += 1
        return await original(self, method, *arguments, **options)

    s3fs.S3FileSystem._call_s3 = counting
    try:
        yield counts
    finally:
        s3fs.S3FileSystem._call_s3 = original


def print_requests(folder: Path, feature_file: Path) -> None:
    from extract.remote.store import Store
    from tests.object_store import s3_server

    video = folder / "video.mp4"
    video.write_bytes(bytes(40_000_000))
    with s3_server() as server:
        store = Store(f"s3://{server.new_bucket()}/footage")
        store.upload(video, "video.mp4")
        for name, request in (
            ("fetching a video of 40 MB", partial(store.download, "video.mp4", folder / "fetched.mp4")),
            ("storing a feature file", partial(store.upload, feature_file, "video.h5")),
        ):
            with counted_requests() as counts:
                request()
            print(f"requests for {name}: {dict(counts)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=320, help="frames of each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--noise", type=int, default=CALM, help="sensor noise, in levels of 255")
    parser.add_argument("--sizes", nargs="+", default=["320x240", "1280x720", "1920x1080", "3840x2160"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_decoding(folder, options.sizes, options.frames, options.rounds, options.noise)
        print_requests(folder, print_feature_file(folder, options.rounds))


if __name__ == "__main__":
    main()
