"""Batches across videos: pictures of any size are gathered, embedded together and returned to their owners.

Shape suffixes: N pictures, H height, W width, C = 3 channels (RGB).
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extract.config import FEATURE_DIM
from extract.encoder import FrameEncoder, single_torch_thread
from extract.views import Views

Owner = TypeVar("Owner")
Pixels = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]


class EmbeddingBatches(Generic[Owner]):
    """Embeds pictures in batches; each embedding is returned with the owner of its picture.

    Batches are asynchronous on a GPU: while one is computed, the next is gathered, copied and launched.
    """

    def __init__(self, encoder: FrameEncoder, views: Views) -> None:
        self._encoder = encoder
        self._views = views
        self._pictures_per_batch = max(1, encoder.batch_size // len(views.crops))
        self._pending: list[tuple[Owner, Pixels]] = []
        self._in_flight: deque[tuple[list[Owner], Callable[[], Embeddings]]] = deque()

    def add(self, owner: Owner, pixels: Pixels) -> bool:
        """Add one (H, W, 3) uint8 RGB picture; True if the batch is full and should be launched."""
        self._pending.append((owner, pixels))
        return len(self._pending) >= self._pictures_per_batch

    def launch(self) -> None:
        """Launch the pending pictures on the device, as a full or partial batch."""
        by_shape: dict[tuple[int, ...], list[tuple[Owner, Pixels]]] = {}
        for owner, pixels in self._pending:
            by_shape.setdefault(pixels.shape, []).append((owner, pixels))
        self._pending = []
        if not by_shape:
            return
        owners = [owner for group in by_shape.values() for owner, _ in group]
        images = self._preprocess([np.stack([pixels for _, pixels in group]) for group in by_shape.values()])
        self._in_flight.append((owners, _begin_fetch(self._encoder.embed(images))))

    def results(self, *, keep_in_flight: int) -> Iterator[tuple[Owner, Embeddings]]:
        """(owner, (crops, 512) embedding) of the launched batches, except for the last `keep_in_flight`."""
        while len(self._in_flight) > keep_in_flight:
            owners, fetch = self._in_flight.popleft()
            yield from zip(
                owners, fetch().reshape(len(owners), len(self._views.crops), FEATURE_DIM), strict=True
            )

    def _preprocess(self, groups_NHWC: list[Pixels]) -> Tensor:
        """Groups of pictures of one size each -> (ΣN · crops, 3, 224, 224) uint8 on the device."""
        with single_torch_thread():
            groups = [self._encoder.preprocess(torch.from_numpy(group), self._views) for group in groups_NHWC]
            return (torch.cat(groups) if len(groups) > 1 else groups[0]).flatten(0, 1)


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
