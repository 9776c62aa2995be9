"""All random numbers start here: the same seed gives the same run."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, numpy and torch (all devices); inside the context the CPU flushes denormal numbers to 0.

    The gradients of a converged detector reach 1e-40, which slows a CPU down twenty times. Results can
    depend on the flag, so it is set together with the seed. It applies to the whole process and is reset on
    exit.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def generator(seed: int, *stream: int) -> np.random.Generator:
    """A numpy generator for `stream` (an epoch, for example), independent of all other random numbers."""
    return np.random.default_rng([seed, *stream])
