"""Random numbers and the arithmetic of a training: the same seed gives the same run."""

import contextvars
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
import torch

Result = TypeVar("Result")
_SECONDS_BETWEEN_LOOKS = 0.5
"""An exception that is raised into the waiting thread (a time limit) arrives between two waits."""


def run_seeded(seed: int, work: Callable[[threading.Event], Result]) -> Result:
    """Run `work` with random numbers from `seed`, in a thread in which the CPU flushes denormal numbers to 0.

    Seeds Python, numpy and torch (all devices). The gradients of a converged detector reach 1e-40, which
    slows a CPU down twenty times, and the results can depend on the flag. It belongs to one thread;
    PyTorch's threads inherit it when they are started, and each thread starts its own. So in a new thread
    all of them have it, whatever the program computed before, and none has it afterwards.

    If the calling thread is interrupted, the event given to `work` is set, and `work` should return soon.
    """
    interrupted = threading.Event()

    def flushing() -> Result:
        torch.set_flush_denormal(True)
        return work(interrupted)

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    with ThreadPoolExecutor(1, "training") as thread:
        running = thread.submit(contextvars.copy_context().run, flushing)
        try:
            while not wait([running], _SECONDS_BETWEEN_LOOKS).done:
                pass
        except BaseException:
            interrupted.set()
            raise
        return running.result()


def generator(seed: int, *stream: int) -> np.random.Generator:
    """A numpy generator for `stream` (an epoch, for example), independent of all other random numbers."""
    return np.random.default_rng([seed, *stream])
