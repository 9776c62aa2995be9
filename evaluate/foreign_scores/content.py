"""The scores that one file holds: of named videos, or of one video that the file does not name."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from extract.errors import InputError

Array = NDArray[Any]
Unit = Literal["frames", "seconds", "unknown"]
POSITIONS = ("frame", "snippet", "segment", "index", "start_frame", "time_s", "t")
"""Names of a column or key that numbers the scores of a video."""


@dataclass(frozen=True)
class ScoredInterval:
    """One interval of a video with its score; frames outside all intervals have the score 0."""

    start: float
    end: float
    """Exclusive."""
    unit: Unit
    """`unknown` for whole numbers without a word on their unit."""
    score: float
    label: str = ""
    """Anomaly class in lower case; empty if the interval has none."""
    where: str = ""
    """The place in the file, for messages."""


Values = Array | tuple[ScoredInterval, ...]
"""Scores (T,) or class scores (T, C) in the order of time, or intervals."""


@dataclass(frozen=True)
class Content:
    """The scores of one file. Exactly one of the two fields is filled."""

    named: dict[str, Values] = field(default_factory=dict)
    """By the name that the file gives the video."""
    unnamed: Values | None = None


def checked_array(values: Array, where: str) -> Array:
    """The scores as float64, (T,) or (T, C). Raises InputError, naming the place, for anything else."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"{where}: values of type {values.dtype}, expected numbers")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2) or not values.size:
        raise InputError(
            f"{where}: an array of shape {values.shape}; expected (T,), one score after the other, or "
            "(T, C), a column a class"
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise InputError(
            f"{where}: value {first} (counted from 0) is not a finite number; write a number there"
        )
    return values


def number(value: object, where: str) -> float:
    """A finite number from JSON or from text. Raises InputError for anything else."""
    try:
        found = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"{where} is {str(value)[:40]!r}, expected a number")
    return found


def refuse_disorder(places: Sequence[tuple[str, float]]) -> None:
    """Raise InputError unless the position of each row, given with its place in the file, rises evenly."""
    positions = [position for _, position in places]
    step = positions[1] - positions[0] if len(positions) > 1 else 1.0
    for (where, position), before in zip(places[1:], positions, strict=False):
        if not step > 0 or abs(position - before - step) > 1e-3 * step:
            raise InputError(
                f"{where}: position {position:g} after {before:g}; expected rows in the order of time, "
                "without gaps"
            )


def array_of(rows: Iterable[Any], where: str) -> Array:
    """Scores from numbers, or from rows of numbers of one length. Raises InputError for anything else."""
    listed = list(rows)
    try:
        values = np.array(listed)
    except ValueError:  # rows of different lengths
        raise InputError(
            f"{where}: rows of different lengths; expected the same number of values in each"
        ) from None
    return checked_array(values, where)


def with_known_units(contents: dict[str, Values]) -> dict[str, Values]:
    """The scores with a unit for every interval.

    Bare numbers are seconds if any of them is not whole. Raises InputError, naming the first, if all are.
    """
    bare = [one for values in contents.values() if isinstance(values, tuple) for one in values]
    bare = [one for one in bare if one.unit == "unknown"]
    if bare and all(one.start == int(one.start) and one.end == int(one.end) for one in bare):
        raise InputError(
            f"{bare[0].where}: start and end can be seconds or frames; name them start_s and end_s, or "
            "start_frame and end_frame"
        )
    return {name: _in_seconds(values) for name, values in contents.items()}


def _in_seconds(values: Values) -> Values:
    if not isinstance(values, tuple):
        return values
    return tuple(
        ScoredInterval(one.start, one.end, "seconds", one.score, one.label, one.where)
        if one.unit == "unknown"
        else one
        for one in values
    )
