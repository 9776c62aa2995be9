"""What the number of rows of an array says: frames a row, another frame rate, padding, a missing part."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from extract.match.arrays import Rows
from extract.match.comparison import Timing

USUAL_LENGTH = 16
COMMON_LENGTHS = (16, 8, 32, 24, 64, 30, 25, 12, 20, 40, 48, 10, 15, 50, 60, 4, 5, 1)
RATES = (5, 8, 10, 12, 12.5, 15, 20, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60)
"""Frame rates to which footage is converted."""
_CLOSE = 2
"""Rows that an array may have more or fewer than the video has snippets, as after a cut at the end."""


@dataclass(frozen=True)
class Assumption:
    """How rows and frames may belong together where their numbers do not say it."""

    length: int
    """Frames a row."""
    timing: dict[str, Timing] = field(default_factory=dict)
    """Of videos whose frames are not those of the footage that was used."""
    rows: tuple[float, float] = (0.0, 1.0)
    """The part of each array in which it holds, as fractions."""


def assumptions(sizes: Mapping[str, tuple[int, int, float]]) -> list[Assumption]:
    """What can be assumed of the (rows, frames, frame rate) of the videos, the simplest first.

    If they do not fit 16 frames a row: a part is missing later on; another number of frames a row; another
    frame rate; a part is missing at the beginning.
    """
    length = snippet_length([(rows, frames) for rows, frames, _ in sizes.values()])
    if length == USUAL_LENGTH:
        return [Assumption(USUAL_LENGTH)]
    missing_later = Assumption(USUAL_LENGTH, rows=(0, 0.25))
    others = list(_other_assumptions(sizes, length))
    return [*others[:1], missing_later, *others[1:]] if length in COMMON_LENGTHS else [missing_later, *others]


def _other_assumptions(
    sizes: Mapping[str, tuple[int, int, float]], length: int | None
) -> Iterator[Assumption]:
    if length is not None:
        yield Assumption(length)
    stretched = {name: Timing(stretch_of(*size, USUAL_LENGTH)) for name, size in sizes.items()}
    if any(timing != Timing() for timing in stretched.values()):
        yield Assumption(USUAL_LENGTH, stretched)
    late = {name: Timing(shift=frames - rows * USUAL_LENGTH) for name, (rows, frames, _) in sizes.items()}
    if all(timing.shift > 0 for timing in late.values()):
        yield Assumption(USUAL_LENGTH, late, rows=(0.75, 1))


def padded_rows(rows_TD: Rows) -> int:
    """The number of rows at the end that are zero or, bit for bit, the row before them."""
    same = (rows_TD[1:] == rows_TD[:-1]).all(1) | (rows_TD[1:] == 0).all(1)
    return len(same) if same.all() else int(np.argmin(same[::-1]))


def fits(n_rows: int, n_frames: int, length: int) -> bool:
    """True if a video of so many frames has so many snippets, the last, shorter one counted or not."""
    return n_rows in (n_frames // length, -(-n_frames // length))


def snippet_length(counts: Sequence[tuple[int, int]]) -> int | None:
    """Frames a row for (rows, frames) of each video; None if no length fits all of them.

    16 also if the arrays are a little longer or shorter.
    """
    if all(abs(n_rows - n_frames / 16) <= _CLOSE for n_rows, n_frames in counts):
        return 16
    lengths = dict.fromkeys(chain(COMMON_LENGTHS, range(1, 257)))
    return next((one for one in lengths if all(fits(*count, one) for count in counts)), None)


def stretch_of(n_rows: int, n_frames: int, fps: float, length: int) -> float:
    """Frames of the video for each frame of the footage that the array was made of; 1 if the lengths fit.

    A ratio of the video's and another usual frame rate, if one fits.
    """
    if abs(n_rows - n_frames / length) <= max(_CLOSE, 0.03 * n_frames / length):
        return 1.0
    ratios = [fps / rate for rate in RATES]
    usual = [r for r in ratios if abs(n_rows - n_frames / (r * length)) <= 1]
    measured = n_frames / (length * n_rows)
    return min(usual, key=lambda ratio: abs(ratio - measured), default=measured)
