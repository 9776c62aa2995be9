"""Rows of an array that a search looks at."""

import numpy as np
import numpy.typing as npt

from extract.match.arrays import Rows

_LEAST_PART = 4


def calm_rows(rows_TD: Rows, count: int) -> list[int]:
    """Rows that are alike their neighbours, spread over the array: the exact frame matters little there."""
    return _extreme_rows(rows_TD, count, lively=False)


def lively_rows(rows_TD: Rows, count: int) -> list[int]:
    """Rows that differ from their neighbours, spread over the array: there the exact frame matters."""
    return _extreme_rows(rows_TD, count, lively=True)


def spread_rows(n_rows: int, count: int) -> list[int]:
    """`count` evenly spaced rows with the first and the last, all rows if there are fewer."""
    return sorted({round(place) for place in np.linspace(0, n_rows - 1, min(count, n_rows)).tolist()})


def part_of(n_rows: int, part: tuple[float, float]) -> range:
    """The rows between two fractions of an array, at least four of them if it has so many."""
    first, stop = int(n_rows * part[0]), -int(-n_rows * part[1] // 1)
    return range(max(0, min(first, stop - _LEAST_PART)), min(n_rows, max(stop, first + _LEAST_PART)))


def _extreme_rows(rows_TD: Rows, count: int, *, lively: bool) -> list[int]:
    """The most or least changing row of each of `count` parts of the array, without its ends."""
    change = _change(rows_TD)
    inner = np.arange(1, len(rows_TD) - 2) if len(rows_TD) >= 5 else np.arange(len(rows_TD))
    chosen = []
    for part in np.array_split(inner, min(count, len(inner))):
        # the third quartile, not the maximum: that one is often a cut, where decoders disagree
        order = part[np.argsort(change[part], kind="stable")]
        chosen.append(int(order[len(order) * 3 // 4] if lively else order[len(order) // 8]))
    return chosen


def _change(rows_TD: Rows) -> npt.NDArray[np.float64]:
    """(T,) distance of each row from its neighbours, of unit vectors."""
    unit = rows_TD / np.maximum(np.linalg.norm(rows_TD, axis=1, keepdims=True), 1e-12)
    step = np.linalg.norm(np.diff(unit, axis=0), axis=1)
    around = np.pad(step, 1, mode="edge") if len(step) else np.zeros(2)
    return np.maximum(around[1:], around[:-1])[: len(rows_TD)]
