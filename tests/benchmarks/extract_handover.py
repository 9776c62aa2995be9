"""Cost of handing pictures from decoder processes to the encoder; prints a Markdown table.

    python tests/benchmarks/extract_handover.py [--pictures 20000] [--workers 2] [--size 320x240] [--rounds 2]

Stand-ins for the decoders send the same picture as fast as they can, and a stand-in for the encoder costs
nothing. Compared are three ways to a batch of 256 pictures:

* engine: a whole extraction up to the feature files, with everything that the engine does;
* message a picture: a header for each picture, then its bytes through the socket, one list entry and one
  result for each, and a copy into the batch (the engine's way until November 2026);
* socket: nothing but reading the pictures' bytes from sockets into fresh memory, in one thread a process.

CPU time is that of the extracting process alone; that of the thread which feeds the encoder limits how many
pictures one process takes in a second. The ways take turns; the best round of each counts.
"""

import argparse
import os
import queue
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.decode import process
from extract.engine import extract_videos
from extract.views import Views
from tests.benchmarks.extract_senders import FRAMES_PER_PICTURE
from tests.extract.numbered_clips import records_of

SENDERS = Path(__file__).with_name("extract_senders.py")
BATCH = 256
VIDEOS_PER_WORKER = 4


class NoEncoder:
    """Stands for an encoder on a GPU: its images have a shape and no memory here."""

    batch_size = BATCH
    device = torch.device("cpu")
    fingerprint = EncoderFingerprint(
        architecture="none", weights_digest="0", preprocessing="openai", precision="fp32"
    )

    def preprocess(self, frames_NHWC: torch.Tensor, views: Views) -> torch.Tensor:
        return torch.empty(len(frames_NHWC), len(views.crops), 3, 224, 224, dtype=torch.uint8, device="meta")

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), 512)


def start(mode: str, count: int, size: str, *descriptors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(SENDERS), mode, str(count), size, *map(str, descriptors)],
        pass_fds=descriptors,
    )


def engine_way(pictures: int, workers: int, size: str) -> None:
    videos = VIDEOS_PER_WORKER * workers
    count = pictures // videos
    process._start = lambda *descriptors: start("decoder", count, size, *descriptors)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.mp4" for number in range(videos)]
        for path in paths:
            path.write_bytes(b"0")
        config, runtime = ExtractConfig(snippet_length=FRAMES_PER_PICTURE), ExtractRuntime(workers=workers)
        out = Path(folder) / "out"
        result = extract_videos(records_of(*paths), out, config, runtime, encoder=NoEncoder())
        assert len(result.extracted) == videos, result.failures


def receive(connection: Connection, count: int, size: str, put: Callable[[object], None] | None) -> None:
    width, height = map(int, size.split("x"))
    for _ in range(count):
        pick, shape = connection.recv() if put else (0, (height, width, 3))
        pixels = np.empty(shape, np.uint8)
        missing = pixels.data.cast("B")
        while missing:
            missing = missing[os.readv(connection.fileno(), [missing]) :]
        if put:
            put((pick, pixels))


def socket_way(pictures: int, workers: int, size: str, *, headers: bool = False) -> None:
    count = pictures // workers
    items: queue.Queue[object] = queue.Queue(2 * BATCH)
    children, threads = [], []
    for _ in range(workers):
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            children.append(start("headers" if headers else "plain", count, size, theirs.fileno()))
        arguments = (Connection(ours.detach()), count, size, items.put if headers else None)
        threads.append(threading.Thread(target=receive, args=arguments))
        threads[-1].start()
    if headers:
        sums = np.zeros((count * workers, 1, 512), np.float32)
        collect(items, count * workers, sums)
    for child, thread in zip(children, threads, strict=True):
        thread.join()
        child.wait()


def collect(items: "queue.Queue[object]", count: int, sums: np.ndarray) -> None:
    pending: list[tuple[int, np.ndarray]] = []
    encoder = NoEncoder()
    for _ in range(count):
        pending.append(items.get())
        if len(pending) == BATCH:
            batch = torch.from_numpy(np.stack([pixels for _, pixels in pending]))
            embeddings = encoder.embed(encoder.preprocess(batch, Views()).flatten(0, 1)).numpy()[:, None]
            for (pick, _), embedding in zip(pending, embeddings, strict=True):
                sums[pick] += embedding
            pending = []


def message_way(pictures: int, workers: int, size: str) -> None:
    socket_way(pictures, workers, size, headers=True)


WAYS = {"engine": engine_way, "message a picture": message_way, "socket": socket_way}


def measure(way: Callable[..., None], pictures: int, workers: int, size: str) -> tuple[float, float]:
    """CPU seconds of this process, and of the calling thread alone."""
    before, thread = cpu_seconds(), time.thread_time()
    way(pictures, workers, size)
    return cpu_seconds() - before, time.thread_time() - thread


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="processes that send pictures")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    arguments = (options.pictures, options.workers, options.size)
    best = dict.fromkeys(WAYS, (float("inf"), float("inf")))
    for _ in range(options.rounds):
        for name, way in WAYS.items():
            best[name] = tuple(map(min, best[name], measure(way, *arguments)))
    print(f"{options.pictures} pictures of {options.size}, {options.workers} senders\n")
    print("| CPU ms a picture | all threads | × socket | feeding thread |\n|---|---|---|---|")
    for name, seconds in best.items():
        all_ms, feeding_ms = (1000 * value / options.pictures for value in seconds)
        print(f"| {name} | {all_ms:.3f} | {seconds[0] / best['socket'][0]:.1f} | {feeding_ms:.3f} |")


if __name__ == "__main__":
    main()
