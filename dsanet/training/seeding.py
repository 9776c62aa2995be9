"""The one place where randomness starts: same seed, same run."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, numpy and torch (every device), and flush denormal numbers to 0 on the CPU meanwhile.

    A detector that has become sure of its videos has gradients of 1e-40, with which a CPU is twenty
    times slower. The flag belongs here because results could depend on it; it is the whole process's
    and is therefore taken back.
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
    """An independent numpy generator for `stream` (say, an epoch), whatever was drawn elsewhere."""
    return np.random.default_rng([seed, *stream])
