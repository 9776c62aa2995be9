"""Pictures between a decoder process and the process that started it: memory that both have mapped.

The decoder writes pictures of one size side by side into one half of the memory and sends a `SharedPictures`
message, which says where they are. It goes on in the other half, and waits for an answer (an empty message)
before it writes into the first half again. No picture is copied through the connection.
"""

import gc
import mmap
import os
import tempfile
import time
from dataclasses import dataclass
from math import prod
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

_CHUNK_BYTES = 2_000_000
_CHUNK_PICTURES = 32
"""A chunk has several pictures, if they are small, because every message costs both processes time."""
_CHUNK_S = 0.2
"""A chunk that is not full is sent this long after its first picture."""

_GARBAGE_BYTES = 50_000_000
"""Pictures after which garbage is collected. Python's collector counts objects, not bytes: it would leave
hundreds of decoded frames, each of which is in a reference cycle with its side data."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SharedPictures:
    """RGB pictures of one shape (H, W, 3) begin at `offset`; one for each of `picks`."""

    picks: tuple[int, ...]
    shape: tuple[int, ...]
    offset: int


class SharedMemory:
    """Memory without a name, shared through its file descriptor; it grows and never shrinks."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def grow(self, size: int) -> None:
        """Make the memory at least `size` bytes. Raises OSError where the system allows no more."""
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)

    def array(self, offset: int, shape: tuple[int, ...]) -> Pixels:
        """The bytes from `offset` on, as an array that shares the memory."""
        size = prod(shape)
        if self._map is None or len(self._map) < offset + size:
            self._map = mmap.mmap(self.descriptor, 0)  # the earlier one is released with its last array
        return np.frombuffer(self._map, np.uint8, size, offset).reshape(shape)

    def close(self) -> None:
        """Close the descriptor; arrays stay valid."""
        os.close(self.descriptor)


def new_memory() -> int:
    """The file descriptor of new, empty memory."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("decoded pictures")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class PictureSender:
    """The decoder's end: collects pictures of one size and sends them together."""

    def __init__(self, connection: Connection, memory: SharedMemory) -> None:
        self._connection = connection
        self._memory = memory
        self._half_bytes = 0
        self._half = 0
        self._unanswered = 0
        self._picks: list[int] = []
        self._chunk: Pixels = np.empty((0, 0, 0, 3), np.uint8)
        self._due = 0.0
        self._garbage = 0

    def add(self, pick: int, picture: Pixels) -> None:
        """Add an (H, W, 3) picture to the chunk; it is sent when it is full."""
        if self._picks and picture.shape != self._chunk.shape[1:]:
            self.flush()
        if not self._picks:
            self._begin_chunk(picture)
        self._collect_garbage(picture.nbytes)
        self._chunk[len(self._picks)] = picture
        self._picks.append(pick)
        if len(self._picks) == len(self._chunk):
            self.flush()

    def tick(self) -> None:
        """Send a chunk that is not full, if its first picture has waited for long enough."""
        if self._picks and time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Send the pictures of the chunk, if there are any."""
        if self._picks:
            offset = self._half * self._half_bytes
            self._connection.send(SharedPictures(tuple(self._picks), self._chunk.shape[1:], offset))
            self._unanswered += 1
            self._picks = []

    def reset(self) -> None:
        """Prepare for the next video: drop pictures that were not sent, read the answers to the others."""
        self._picks = []
        self._await_answers(0)

    def _collect_garbage(self, size: int) -> None:
        self._garbage += size
        if self._garbage > _GARBAGE_BYTES:
            gc.collect()
            self._garbage = 0

    def _begin_chunk(self, picture: Pixels) -> None:
        count = max(1, min(_CHUNK_PICTURES, _CHUNK_BYTES // picture.nbytes))
        if self._half_bytes < count * picture.nbytes:
            self._await_answers(0)  # the halves will be elsewhere
            self._half_bytes = count * picture.nbytes
            self._memory.grow(2 * self._half_bytes)
        self._await_answers(1)  # answers are in order: the older chunk is in this half
        self._half = 1 - self._half
        self._chunk = self._memory.array(self._half * self._half_bytes, (count, *picture.shape))
        self._due = time.monotonic() + _CHUNK_S

    def _await_answers(self, open_ones: int) -> None:
        while self._unanswered > open_ones:
            try:
                self._connection.recv_bytes()
            except EOFError as error:  # PyAV's errors may be EOFErrors too, and concern the video only
                raise ConnectionResetError("the receiver has ended") from error
            self._unanswered -= 1
