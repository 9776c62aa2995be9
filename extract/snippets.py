"""Frame selection: the frames that represent each snippet of a video.

With L = `snippet_length`, snippet t covers the frames [t·L, (t + 1)·L); the last snippet may be shorter. The
`middle` frame of a snippet is (start + end) // 2 of the frames present: 16t + 8 for a whole snippet of 16.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Sampling:
    """The fields of `ExtractConfig` that select frames. Not a pydantic model: decoder processes use it."""

    snippet_length: int
    frame_pick: Literal["middle", "first", "last", "mean"]
    mean_frames: int
    keep_last: bool
    offset: int = 0
    """Added to the number of every frame; the result is kept within the video."""


@dataclass(frozen=True)
class Picks:
    """The n frames to decode for T snippets. n = T, except with `frame_pick` = mean."""

    frames: npt.NDArray[np.int64]
    """(n,) frame numbers, ascending; with an offset, the video's first or last frame may repeat."""
    snippet: npt.NDArray[np.int64]
    """(n,) index of the snippet that each frame belongs to."""
    last_in_snippet: npt.NDArray[np.bool_]
    """(n,) True for the last pick of a snippet."""
    representative: npt.NDArray[np.int64]
    """(T,) the frame recorded for each snippet: its pick, or its middle frame with `frame_pick` = mean."""

    @property
    def n_snippets(self) -> int:
        return len(self.representative)


def pick_frames(n_frames: int, sampling: Sampling) -> Picks:
    """The frames to decode of a video of `n_frames` frames.

    No frames are picked if the video is shorter than a snippet and `keep_last` is false.
    """
    length = sampling.snippet_length
    stop = n_frames if sampling.keep_last else n_frames - n_frames % length
    starts = np.arange(0, stop, length)
    ends = np.minimum(starts + length, stop)
    middle = (starts + ends) // 2
    if sampling.frame_pick == "mean":
        picks = [
            _evenly_spaced(int(start), int(end), sampling.mean_frames)
            for start, end in zip(starts, ends, strict=True)
        ]
        frames = np.concatenate([np.empty(0, np.int64), *picks])
        snippet = np.repeat(np.arange(len(starts)), [len(pick) for pick in picks])
        last_in_snippet = np.diff(snippet, append=len(starts)) > 0
        return Picks(
            _moved(frames, sampling, n_frames), snippet, last_in_snippet, _moved(middle, sampling, n_frames)
        )
    frames = _moved({"first": starts, "last": ends - 1}.get(sampling.frame_pick, middle), sampling, n_frames)
    return Picks(frames, np.arange(len(starts)), np.ones(len(starts), bool), frames)


def intact_snippets(frame: int, sampling: Sampling) -> int:
    """The number of snippets that need no frame from `frame` on."""
    return max(0, frame - max(0, sampling.offset)) // sampling.snippet_length


def _moved(frames: npt.NDArray[np.int64], sampling: Sampling, n_frames: int) -> npt.NDArray[np.int64]:
    return np.clip(frames + sampling.offset, 0, n_frames - 1) if sampling.offset else frames


def _evenly_spaced(start: int, end: int, count: int) -> npt.NDArray[np.int64]:
    """The middle frames of `count` equal parts of [start, end); fewer if there are fewer frames."""
    return np.unique(start + ((np.arange(count) + 0.5) * (end - start) / count).astype(np.int64))
