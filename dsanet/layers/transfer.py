"""Copies between the CPU and a GPU for which the calling thread does not wait."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`. The copy from the CPU to a GPU is queued behind the device's work."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    # A copy of more than 64 kB from memory that is not pinned would wait for that work.
    return tensor.pin_memory().to(device, non_blocking=True)


class HostCopy:
    """A copy of `tensor` on the CPU, made by a GPU as soon as it has computed the values.

    Work that is queued between the construction and `read` runs while `read` waits.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._values = tensor.to("cpu", non_blocking=True)  # into pinned memory
        self._copied = None
        if tensor.device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> Tensor:
        """The values, once they are copied."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._values
