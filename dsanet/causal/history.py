"""The last rows of an endless sequence, in time order, as one contiguous piece of memory."""

import torch
from torch import Tensor


class History:
    """The last `length` rows that were appended.

    The rows lie in a buffer of twice their number and move to its beginning when it is full: on average, an
    append costs the same however long the sequence is, and reading copies nothing.
    """

    def __init__(self, length: int, shape: tuple[int, ...], device: torch.device) -> None:
        self.length = length
        self.count = 0
        """Rows appended so far."""
        self._buffer = torch.zeros(2 * length, *shape, device=device)
        self._end = 0

    def append(self, row: Tensor) -> None:
        if self._end == len(self._buffer):
            self._buffer[: self.length - 1] = self._buffer[self.length + 1 :]
            self._end = self.length - 1
        self._buffer[self._end] = row
        self._end += 1
        self.count += 1

    @property
    def rows(self) -> Tensor:
        """(n, …), n ≤ length, oldest first: a view that is valid until the next append."""
        return self._buffer[max(0, self._end - self.length) : self._end]
