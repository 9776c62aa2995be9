"""Processes of `extract_handover.py` that send the same picture as fast as they can.

    python tests/benchmarks/extract_senders.py decoder|plain|headers PICTURES WIDTHxHEIGHT DESCRIPTOR...

torch is not imported, for a fast start.
"""

import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.decode.shared_pictures import PictureSender, SharedMemory
from extract.decode.worker import Finished, Opened
from extract.snippets import pick_frames
from extract.source import SourceInfo

FRAMES_PER_PICTURE = 16


def decoder(connection: Connection, memory: SharedMemory, count: int, picture: np.ndarray) -> None:
    """The stand-in for a decoder process: every video has `count` pictures."""
    pictures = PictureSender(connection, memory)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        picks = pick_frames(count * FRAMES_PER_PICTURE, job.sampling)
        connection.send(Opened(picks, 1.0))
        for pick in range(count):
            pictures.add(pick, picture)
        pictures.flush()
        times = np.zeros(count)
        status = job.path.stat()
        source = SourceInfo("a", "0" * 64, status.st_size, status.st_mtime_ns, "h264", 30.0, count, 8, 8, 1.0)
        connection.send(Finished(source, picks.representative, times, times, times, "none", "stand-in"))
        pictures.reset()


def plain_sender(descriptor: int, count: int, picture: np.ndarray, *, headers: bool) -> None:
    """Sends `count` pictures, with or without a header for each."""
    connection = Connection(descriptor)
    for pick in range(count):
        if headers:
            connection.send((pick, picture.shape))
        data = picture.data.cast("B")
        while data:
            data = data[os.write(descriptor, data) :]


def main() -> None:
    mode, count, size, *descriptors = sys.argv[1:]
    width, height = map(int, size.split("x"))
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    if mode == "decoder":
        connection, memory = map(int, descriptors)
        decoder(Connection(connection), SharedMemory(memory), int(count), picture)
    else:
        plain_sender(int(descriptors[0]), int(count), picture, headers=mode == "headers")


if __name__ == "__main__":
    main()
