"""Pictures on the way from the decoders to the encoder: small ones whole, larger ones resized on arrival.

Shape suffixes: N pictures, H height, W width, C = 3 channels (RGB).
"""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extract.preprocess import SIZE, reduce_frames, reduced_views, resized_bytes
from extract.views import Views

_WHOLE_UP_TO = 4
"""A picture with at most this many times the bytes of what the encoder needs of it stays as it is: copying it
costs less than resizing it here, which a GPU does at no cost."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size, and the views that are still to be made of them."""

    frames_NHWC: Tensor
    """uint8 RGB on the host; pinned if the encoder is on a GPU."""
    views: Views

    @property
    def nbytes(self) -> int:
        return self.frames_NHWC.nbytes


class PictureReceiver:
    """Copies pictures out of the decoders' memory, reduced to what the encoder needs.

    For threads of its own: torch gets one thread in each of them, because the decoders occupy the other
    cores, and because some pixels depend on the number of threads.
    """

    def __init__(self, views: Views, device: torch.device) -> None:
        self._views = views
        self._device = device
        self._thread = threading.local()

    def __call__(self, frames_NHWC: npt.NDArray[np.uint8]) -> Pictures:
        """(N, H, W, 3) uint8 RGB -> pictures with memory of their own."""
        if not hasattr(self._thread, "limited"):
            _limit_this_thread()
            self._thread.limited = True
        frames = torch.from_numpy(frames_NHWC)
        if not _is_large(frames_NHWC, self._views):
            return Pictures(self._copy(frames), self._views)
        return Pictures(self._copy(reduce_frames(frames, self._views)), reduced_views(self._views))

    def _copy(self, frames_NHWC: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return torch.empty(frames_NHWC.shape, dtype=torch.uint8).copy_(frames_NHWC)
        # torch's allocator gives pinned memory away again only after the copies from it have ended.
        with torch.cuda.device(self._device):  # otherwise it takes memory on GPU 0 too
            return torch.empty(frames_NHWC.shape, dtype=torch.uint8, pin_memory=True).copy_(frames_NHWC)


def _is_large(frames_NHWC: npt.NDArray[np.uint8], views: Views) -> bool:
    height: int
    width: int
    _, height, width, _ = frames_NHWC.shape
    needed = 3 * SIZE * SIZE if len(views.crops) == 1 else resized_bytes(height, width, views.resize)
    return 3 * height * width > _WHOLE_UP_TO * needed


def _limit_this_thread() -> None:
    """Limit torch to one thread in the calling thread only.

    The number is a setting of each thread, and the last one that was set is that of threads which use torch
    later: another thread, which then ends, sets the number that they had.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    restoring = threading.Thread(target=torch.set_num_threads, args=(threads,))
    restoring.start()
    restoring.join()
