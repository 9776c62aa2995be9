"""Which frames stand for which snippet.

Snippet t covers the frames [16t, 16t + 16); the last one may be shorter. `middle` is frame
(start + end) // 2 of the frames that are really there: 16t + 8 for a whole snippet.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Sampling:
    """The fields of `ExtractConfig` that decide which frames are read."""

    snippet_length: int
    frame_pick: Literal["middle", "first", "mean"]
    mean_frames: int
    keep_last: bool


@dataclass(frozen=True)
class Picks:
    """The frames to read, and which snippet each belongs to."""

    frames: npt.NDArray[np.int64]
    """(n,) rising frame numbers; n = T, or more with frame_pick = mean."""
    snippet: npt.NDArray[np.int64]
    """(n,) the snippet of each."""
    completes: npt.NDArray[np.bool_]
    """(n,) it is its snippet's last pick."""
    representative: npt.NDArray[np.int64]
    """(T,) the frame that stands for each snippet: the pick, or the middle with frame_pick = mean."""

    @property
    def n_snippets(self) -> int:
        return len(self.representative)


def pick_frames(n_frames: int, sampling: Sampling) -> Picks:
    """The picks for a video of `n_frames` frames; none if it is too short for `keep_last` = false."""
    length = sampling.snippet_length
    stop = n_frames if sampling.keep_last else n_frames - n_frames % length
    starts = np.arange(0, stop, length)
    ends = np.minimum(starts + length, stop)
    middle = (starts + ends) // 2
    if sampling.frame_pick == "mean":
        picks = [_even(int(s), int(e), sampling.mean_frames) for s, e in zip(starts, ends, strict=True)]
        frames = np.concatenate([np.empty(0, np.int64), *picks])
        snippet = np.repeat(np.arange(len(starts)), [len(p) for p in picks])
        return Picks(frames, snippet, np.diff(snippet, append=len(starts)) > 0, middle)
    frames = starts if sampling.frame_pick == "first" else middle
    return Picks(frames, np.arange(len(starts)), np.ones(len(starts), bool), frames)


def _even(start: int, end: int, count: int) -> npt.NDArray[np.int64]:
    """Up to `count` frames of [start, end), the middles of equal parts."""
    return np.unique(start + ((np.arange(count) + 0.5) * (end - start) / count).astype(np.int64))
