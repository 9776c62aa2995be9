"""Batches across videos: pictures of any size are gathered, embedded together and returned to their owners.

Shape suffixes: N pictures, D = 512 values of an embedding.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extract.config import FEATURE_DIM
from extract.encoder import FrameEncoder, single_torch_thread
from extract.pictures import Pictures
from extract.views import Views

Owner = TypeVar("Owner")
Embeddings = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Piece(Generic[Owner]):
    """Successive pictures of one owner in a batch."""

    owner: Owner
    picks: Indices
    """(N,) the owner's indices of the pictures"""


class EmbeddingBatches(Generic[Owner]):
    """Embeds pictures in batches; each embedding is returned with the owner of its picture.

    A batch holds what the encoder takes, images of 224 × 224 pixels on its device: the size of the videos'
    pictures does not matter. Batches are asynchronous on a GPU: while one is computed, the next is gathered,
    copied and launched.
    """

    def __init__(self, encoder: FrameEncoder, views: Views) -> None:
        self._encoder = encoder
        self._crops = len(views.crops)
        self._capacity = max(1, encoder.batch_size // self._crops)
        self._images: Tensor | None = None
        """(capacity, crops, 3, 224, 224) uint8"""
        self._filled = 0
        self._pieces: list[Piece[Owner]] = []
        self._in_flight: deque[tuple[list[Piece[Owner]], Callable[[], Embeddings]]] = deque()

    def add(self, owner: Owner, picks: Indices, pictures: Pictures) -> Iterator[None]:
        """Add pictures, one for each of `picks`; yields after each batch that was filled and launched."""
        start = 0
        while start < len(picks):
            stop = min(len(picks), start + self._capacity - self._filled)
            self._fill(self._encoder.preprocess(pictures.frames_NHWC[start:stop], pictures.views))
            self._pieces.append(Piece(owner, picks[start:stop]))
            start = stop
            if self._filled == self._capacity:
                self.launch()
                yield

    def launch(self) -> None:
        """Launch the pictures added so far on the device, as a full or partial batch."""
        if self._images is None:
            return
        embeddings = self._encoder.embed(self._images[: self._filled].flatten(0, 1))
        self._in_flight.append((self._pieces, _begin_fetch(embeddings)))
        self._images, self._filled, self._pieces = None, 0, []

    def results(self, *, keep_in_flight: int) -> Iterator[tuple[Owner, Indices, Embeddings]]:
        """(owner, (N,) picks, (N, crops, 512) embeddings) of the launched batches.

        The last `keep_in_flight` batches are left: a GPU is computing them.
        """
        while len(self._in_flight) > keep_in_flight:
            pieces, fetch = self._in_flight.popleft()
            embeddings_NCD = fetch().reshape(-1, self._crops, FEATURE_DIM)
            start = 0
            for piece in pieces:
                stop = start + len(piece.picks)
                yield piece.owner, piece.picks, embeddings_NCD[start:stop]
                start = stop

    def _fill(self, images: Tensor) -> None:
        if self._images is None:
            self._images = images.new_empty(self._capacity, *images.shape[1:])
        with single_torch_thread():
            self._images[self._filled : self._filled + len(images)] = images
        self._filled += len(images)


def _begin_fetch(embeddings: Tensor) -> Callable[[], Embeddings]:
    """Start the copy to the host; the returned function waits for this copy, not for later batches."""
    if embeddings.device.type != "cuda":
        return embeddings.numpy
    with torch.cuda.device(embeddings.device):  # otherwise the buffer takes memory on GPU 0 too
        on_host = torch.empty(embeddings.shape, pin_memory=True)
        on_host.copy_(embeddings, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()

    def fetch() -> Embeddings:
        copied.synchronize()
        return on_host.numpy()

    return fetch
