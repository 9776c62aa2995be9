"""The rows of a video at which its features begin to differ from those of a recipe, with the reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from extract.config import ExtractConfig
from extract.match.arrays import FeatureArray
from extract.match.comparison import BAD_LOSS, Comparison, Losses, Sample, Timing

MOST_CHANGES = 6
"""Rows that change between good and bad more often than this alternate; their ends are not looked for."""
_GAP, _CONTRAST = 0.5, 1.0
"""Decades of loss between the best of the bad rows and the worst of the good, and between their medians."""
_LEAST_LOSS = 3e-5
"""Losses below are rounding, whatever the contrast."""
_SNIPPETS_AWAY = 8
_HELPS = 30
"""A shift is the reason where it makes the loss so many times smaller."""


@dataclass(frozen=True)
class Run:
    """Neighbouring rows of one kind, `first` to `stop` (exclusive)."""

    first: int
    stop: int
    good: bool
    mixed: bool = False
    """True if good and bad rows alternate."""


def unlike_rows(losses: Losses) -> npt.NDArray[np.bool_]:
    """(S,) True for rows with a cosine below 0.99, and for those that are clearly worse than all others.

    Clearly: rows of two recipes differ by powers of ten, even where both have a cosine above 0.99.
    """
    bad = losses > BAD_LOSS
    logs = np.log10(losses + 1e-6)
    ordered = np.sort(logs)
    gaps = np.diff(ordered)
    if len(gaps) < 2:
        return bad
    cut = int(np.argmax(gaps)) + 1
    lower, upper = np.median(ordered[:cut]), np.median(ordered[cut:])
    if cut >= 2 and gaps[cut - 1] >= _GAP and upper - lower >= _CONTRAST and 10**upper >= _LEAST_LOSS:
        bad |= logs >= ordered[cut]
    return bad


def runs_of(
    rows: Sequence[int], bad: npt.NDArray[np.bool_], n_rows: int, is_bad: Callable[[int], bool]
) -> list[Run]:
    """The runs of good and bad rows of an array, from a sample of its rows, their ends found by bisection.

    `is_bad` tells it of one more row. Rows that alternate are one bad run.
    """
    changes = [i for i, (a, b) in enumerate(pairwise(bad.tolist())) if a != b]
    if len(changes) > MOST_CHANGES:
        return [Run(0, n_rows, good=False, mixed=True)]
    ends = [_first_changed(rows[i], rows[i + 1], bool(bad[i]), is_bad) for i in changes]
    kinds = [not bad[0], *(not bad[i + 1] for i in changes)]
    return [
        Run(first, stop, bool(good))
        for (first, stop), good in zip(pairwise([0, *ends, n_rows]), kinds, strict=True)
    ]


def shift_after(
    comparison: Comparison, config: ExtractConfig, array: FeatureArray, rows: Sequence[int], good_loss: float
) -> int | None:
    """Frames by which the rows are later in the video than the recipe takes them; None if no shift helps.

    Rows after a cut are found at other frames. The shift that the number of rows suggests is tried first,
    then those of a few snippets, each made exact to one frame, and confirmed on another row.
    """
    length, video = config.snippet_length, array.video
    missing = comparison.footage.facts(video).n_frames - len(array.rows_TD) * length
    near = [step * length for i in range(1, _SNIPPETS_AWAY + 1) for step in (i, -i)]
    first, other = Sample(array, rows[len(rows) // 3]), Sample(array, rows[2 * len(rows) // 3])
    stretch = comparison.timing.get(video, Timing()).stretch

    def loss(shift: int, sample: Sample) -> float:
        return float(comparison.losses(config, [sample], Timing(stretch, shift))[0])

    shift = min((0, missing, *near), key=lambda s: loss(s, first))
    for step in (length // 2, length // 4, length // 8, 1, 1):
        by = max(1, step)
        shift = min((shift, shift - by, shift + by), key=lambda s: loss(s, first))
    limit = min(BAD_LOSS, max(10 * good_loss, loss(0, first) / _HELPS))
    return shift if shift and max(loss(shift, first), loss(shift, other)) <= limit else None


def _first_changed(before: int, after: int, kind: bool, is_bad: Callable[[int], bool]) -> int:
    """The first row in (before, after] that is of another kind than the row `before`."""
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if is_bad(middle) == kind else (before, middle)
    return after
