"""Frames of a video in an object store: fetched whole, or by range requests for what the decoder reads.

    python tests/benchmarks/ranged_reads.py [--seconds 300] [--repeats 3]

The store is moto's server on the loopback interface, which answers at once: on a network every request takes
its latency too. Each way decodes the same frames, the middle one of every snippet. The whole file is decoded
as in an extraction (index of all packets, digest, frames). The ranges go to PyAV, which reads a file-like
object of fsspec and seeks to the key frame before each picture wherever that skips anything.
"""

import argparse
import hashlib
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import fsspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from extract.decode.probe import probe
from extract.decode.reader import FrameReader
from extract.remote.store import Store
from tests.object_store import s3_server

RATE, SIZE, GOP = 30, (640, 360), 250
SNIPPETS = (16, 256, 4096)
BLOCKS = (1 << 16, 1 << 20, 5 << 20)
KINDS = {
    "mp4, index last": (".mp4", {}),
    "mp4, index first": (".mp4", {"movflags": "faststart"}),
    "mkv": (".mkv", {}),
}


class Cost(NamedTuple):
    seconds: float
    requests: int
    megabytes: float


class Traffic:
    """What the store was asked for."""

    def __init__(self) -> None:
        self.requests, self.bytes = 0, 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        from aiobotocore.client import AioBaseClient

        send = AioBaseClient._make_api_call

        async def count(client: AioBaseClient, operation: str, arguments: dict[str, object]) -> dict:
            answer = await send(client, operation, arguments)
            self.requests += 1
            if operation == "GetObject":
                self.bytes += answer["ContentLength"]
            return answer

        AioBaseClient._make_api_call = count
        try:
            yield
        finally:
            AioBaseClient._make_api_call = send


def write_footage(path: Path, seconds: int) -> None:
    """A camera's picture: a fixed scene with noise, and something that moves."""
    random = np.random.default_rng(0)
    width, height = SIZE
    scene = random.integers(0, 256, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "g": str(GOP)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * RATE):
            picture = scene + random.integers(0, 6, (height, width, 1), np.uint8)
            place = number * 2 % (width - 64)
            picture[100:228, place : place + 64] = number % 256
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def remux(source: Path, target: Path, options: dict[str, str]) -> None:
    with av.open(str(source)) as read, av.open(str(target), "w", options=options) as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)


def whole(address: str, frames: list[int]) -> None:
    folder, _, key = address.rpartition("/")
    with tempfile.TemporaryDirectory() as here:
        path = Path(here) / key
        Store(folder).download(key, path)
        hashlib.sha256(path.read_bytes()).hexdigest()
        reader = FrameReader(probe(path, lambda: None))
        assert sum(1 for _ in reader.frames(frames, lambda: None)) == len(frames)


def ranges(address: str, frames: list[int], block: int) -> None:
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    with files.open(address, block_size=block, cache_type="readahead") as file, av.open(file) as container:
        stream = container.streams.video[0]
        ticks = 1 / (RATE * stream.time_base)
        decoded, last = iter(()), -1
        found = 0
        for frame in frames:
            if last < 0 or frame - last > GOP:
                container.seek(int(frame * ticks) + (stream.start_time or 0), stream=stream)
                decoded = container.decode(stream)
            for picture in decoded:
                last = round((picture.pts - (stream.start_time or 0)) / ticks)
                if last >= frame:
                    found += 1
                    break
        assert found == len(frames)


def measure(run, *arguments: object) -> Cost:
    traffic = Traffic()
    with traffic.counted():
        began = time.perf_counter()
        run(*arguments)
        return Cost(time.perf_counter() - began, traffic.requests, traffic.bytes / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, s3_server() as server:
        footage = Path(folder) / "footage.mp4"
        write_footage(footage, given.seconds)
        bucket = server.new_bucket()
        for kind, (suffix, options) in KINDS.items():
            path = Path(folder) / f"video{suffix}"
            remux(footage, path, options)
            key = kind.replace(" ", "-").replace(",", "") + suffix
            Store(f"s3://{bucket}").upload(path, key)
            address = f"s3://{bucket}/{key}"
            print(f"{kind}: {path.stat().st_size / 1e6:.1f} MB, a key frame every {GOP} frames")
            for length in SNIPPETS:
                frames = list(range(length // 2, given.seconds * RATE, length))
                ways = {"whole": (whole, address, frames)}
                ways |= {
                    f"ranges of {block >> 10:5} KiB": (ranges, address, frames, block) for block in BLOCKS
                }
                runs = [{way: measure(*call) for way, call in ways.items()} for _ in range(given.repeats)]
                for way in ways:
                    best = min(run[way] for run in runs)
                    print(
                        f"  a frame of {length:4}  {way:20} {best.seconds:7.2f} s {best.requests:6} requests "
                        f"{best.megabytes:8.1f} MB"
                    )


if __name__ == "__main__":
    main()
