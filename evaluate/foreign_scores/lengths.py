"""From scores of any spacing to the frames of a video; nothing is stretched.

`--every` says how many frames one score stands for: `frame` 1, `snippet` 16, a number K, or `segments:N` for
N scores a video, whatever its length. In the last case segment i has the frames from ⌊i·n/N⌋ to ⌊(i+1)·n/N⌋
of n, all with its score.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extract.errors import InputError

Array = NDArray[Any]
SNIPPET = 16
"""Frames of a snippet; scores of whole snippets differ by fewer from the length of their video."""


@dataclass(frozen=True)
class Every:
    """The spacing of scores: either a number of frames for one score, or a number of scores for one video."""

    frames: int = 0
    segments: int = 0

    def __str__(self) -> str:
        if self.segments:
            return f"{self.segments} segments a video"
        return "a score a frame" if self.frames == 1 else f"a score for {self.frames} frames"


@dataclass(frozen=True, eq=False)
class FittedScores:
    """Scores that fit the video: `values` has a row for each `snippet_length` frames of `n_frames`."""

    values: Array
    snippet_length: int
    n_frames: int
    cut: int = 0
    """Frames at the end of the video (or scores at the end, if negative) that were left out."""


def parse_every(text: str) -> Every:
    """The spacing of `frame`, `snippet`, `segments:32` or `8`. Raises InputError for anything else."""
    named = {"frame": Every(1), "snippet": Every(SNIPPET)}
    if text in named:
        return named[text]
    found = re.fullmatch(r"(segments:)?([1-9]\d{0,6})", text)
    if not found:
        raise InputError(
            f"--every is {text!r}; expected frame, snippet (16 frames), a number of frames, or segments:32"
        )
    return Every(segments=int(found[2])) if found[1] else Every(frames=int(found[2]))


def fit(values: Array, every: Every, n_frames: int | None, name: str, *, cut: bool = False) -> FittedScores:
    """The scores of one video, (T,) or (T, C), fitted to its frames.

    Args:
        values: Scores in the order of time.
        every: Their spacing.
        n_frames: Frames of the video; None if only the scores tell.
        name: The video, for messages.
        cut: Allow fewer than 16 frames more or less than the video has; what only one of the two has is
            left out.

    Raises:
        InputError: The lengths do not fit; the message has both.
    """
    if every.segments:
        return _spread(values, every.segments, n_frames, name)
    length, step = len(values), every.frames
    if n_frames is None:
        return FittedScores(values, step, length * step)
    if length in {max(n_frames // step, 1), -(-n_frames // step)}:
        return FittedScores(values, step, n_frames)
    difference = n_frames - length * step
    if cut and abs(difference) < SNIPPET:
        kept = min(n_frames, length * step)
        return FittedScores(values[: -(-kept // step)], step, kept, difference)
    raise InputError(f"{name}: {_misfit(length, every, n_frames, abs(difference) < SNIPPET)}")


def split(values: Array, every: Every, frames: Sequence[int], *, cut: bool = False) -> list[Array]:
    """The scores of each video, from those of all videos one after the other; `frames` has their lengths.

    The scores of a video may be those of its frames, or of its whole snippets, the last one dropped or
    completed; the same rule holds for all videos. Raises InputError, with both lengths, if none fits.
    """
    if every.segments:
        counts = np.full(len(frames), every.segments)
        if counts.sum() != len(values):
            raise InputError(
                f"{len(values)} scores, but {len(frames)} videos of {every.segments} segments have "
                f"{counts.sum()}"
            )
        return np.split(values, np.cumsum(counts)[:-1])
    n, step = np.array(frames), every.frames
    rules = [n // step, -(-n // step)]
    cut_rules = [n // SNIPPET * SNIPPET // step, -(-n // SNIPPET) * SNIPPET // step] if step < SNIPPET else []
    for counts in [*rules, *(cut_rules if cut else [])]:
        counts = np.maximum(counts, 1)
        if counts.sum() == len(values):
            return np.split(values, np.cumsum(counts)[:-1])
    whole = sorted({int(rule.sum()) for rule in rules})
    hint = next((int(rule.sum()) for rule in cut_rules if rule.sum() == len(values)), None)
    raise InputError(
        f"{len(values):,} scores, {every}, but the {len(frames)} videos have {n.sum():,} frames: "
        f"{' or '.join(f'{count:,}' for count in whole)} scores expected"
        + ("; they fit whole snippets of 16 frames: allow that with --cut" if hint else "")
        + ("" if hint else "; check --every, the order and the number of frames of each video")
    )


def _spread(values: Array, segments: int, n_frames: int | None, name: str) -> FittedScores:
    if len(values) != segments:
        raise InputError(
            f"{name}: {len(values)} scores, expected the {segments} of --every segments:{segments}"
        )
    if n_frames is None:
        raise InputError(
            f"{name}: the number of frames is not known, and {segments} segments do not tell it; give "
            "a column `frames` in the manifest"
        )
    edges = np.arange(segments + 1) * n_frames // segments
    return FittedScores(np.repeat(values, np.diff(edges), axis=0), 1, n_frames)


def _misfit(length: int, every: Every, n_frames: int, near: bool) -> str:
    step = every.frames
    counts = sorted({max(n_frames // step, 1), -(-n_frames // step)})
    expected = " or ".join(f"{count:,}" for count in counts)
    hint = "; allow up to 15 frames of difference with --cut" if near else _other_spacing(length, n_frames)
    return (
        f"{length:,} scores, {every}, but the video has {n_frames:,} frames: {expected} scores expected{hint}"
    )


def _other_spacing(length: int, n_frames: int) -> str:
    """A hint at the spacing that would fit."""
    if length == n_frames:
        return "; that is --every frame"
    if length in {n_frames // SNIPPET, -(-n_frames // SNIPPET)}:
        return "; that is --every snippet"
    if length == 32:
        return "; perhaps --every segments:32"
    return "; check --every and the number of frames in the manifest"
