"""Batches gathered in threads ahead of the steps that use them; on a GPU they are also copied ahead."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dsanet.training.bags import Bags, Batch

_AHEAD = 2
"""Batches that are gathered while another one is used."""


def read_ahead(
    bags: Bags, order: Iterable[npt.NDArray[np.int64]], device: torch.device
) -> Generator[Batch, None, None]:
    """The batches of these bags in float32, the features on `device`, labels and lengths on the CPU.

    Raises what reading raises, at the batch concerned. Closing the generator ends its threads.
    """
    gatherer = _Gatherer(bags, device)
    pending: deque[Future[_Gathered]] = deque()
    with ThreadPoolExecutor(_AHEAD, "read-ahead") as threads:
        try:
            for bags_B in order:
                pending.append(threads.submit(gatherer.gather, bags_B))
                if len(pending) > _AHEAD:
                    yield gatherer.take(pending.popleft().result())
            while pending:
                yield gatherer.take(pending.popleft().result())
        finally:
            for future in pending:
                future.cancel()


class _Gathered(NamedTuple):
    """A batch in float16; on a GPU once `copied` has happened."""

    batch: Batch
    copied: torch.cuda.Event | None


class _Gatherer:
    """Gathers batches in any thread and hands them over in the one that computes.

    Features travel in float16, half the bytes, from pinned memory and on a stream of their own: the copy runs
    beside the step before. The stream of the computation waits for the copy, the CPU does not.
    """

    def __init__(self, bags: Bags, device: torch.device) -> None:
        self._bags, self._device = bags, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def gather(self, bags_B: npt.NDArray[np.int64]) -> _Gathered:
        """To be called in any thread."""
        if self._stream is None:
            return _Gathered(self._bags.half_batch(bags_B), None)
        with torch.cuda.device(self._device):  # otherwise pinning takes memory on GPU 0 too
            batch = self._bags.half_batch(bags_B, pinned=True)
            with torch.cuda.stream(self._stream):
                return _Gathered(batch.to(self._device), self._stream.record_event())

    def take(self, gathered: _Gathered) -> Batch:
        """To be called in the thread that computes, with its stream."""
        batch = gathered.batch
        if gathered.copied is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(gathered.copied)
            batch.features_BTD.record_stream(computing)  # its memory is not reused before it has been read
        return batch._replace(features_BTD=batch.features_BTD.float())
