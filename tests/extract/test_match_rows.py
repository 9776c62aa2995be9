"""What lengths of arrays and losses along them say, from plain numbers."""

import numpy as np
import pytest

from extract.match.breaks import Run, runs_of, unlike_rows
from extract.match.comparison import Timing
from extract.match.lengths import assumptions, padded_rows, snippet_length, stretch_of
from extract.match.rows import calm_rows, lively_rows, part_of, spread_rows


@pytest.mark.parametrize(
    ("counts", "length"),
    [
        ([(10, 160)], 16),
        ([(11, 161), (10, 169)], 16),
        ([(12, 160)], 16),  # two rows too many
        ([(20, 160), (40, 320)], 8),
        ([(20, 160), (40, 321)], 8),
        ([(32, 640)], 20),
        ([(32, 640), (32, 9000)], None),
    ],
)
def test_frames_a_row(counts: list[tuple[int, int]], length: int | None) -> None:
    assert snippet_length(counts) == length


def test_the_frame_rate_that_the_number_of_rows_says() -> None:
    assert stretch_of(100, 1600, 30, 16) == 1
    assert stretch_of(98, 1600, 30, 16) == 1
    assert stretch_of(80, 1600, 30, 16) == pytest.approx(30 / 24)
    assert stretch_of(83, 1600, 30, 16) == pytest.approx(30 / 25)
    assert stretch_of(32, 16000, 30, 16) == pytest.approx(16000 / 512)


def test_assumptions_begin_with_the_simplest() -> None:
    assert [one.length for one in assumptions({"a": (10, 160, 30)})] == [16]
    first, second, *_ = assumptions({"a": (35, 640, 30)})
    assert (first.length, first.rows, second.length) == (16, (0, 0.25), 18)
    assert assumptions({"a": (32, 640, 30)})[0].length == 20
    late = assumptions({"a": (32, 640, 30)})[-1]
    assert (late.timing, late.rows) == ({"a": Timing(1, 128)}, (0.75, 1))


def test_padded_rows() -> None:
    rows = np.arange(5)[:, None] * np.ones((5, 512))
    assert padded_rows(rows) == 0
    assert padded_rows(np.concatenate([rows, rows[-1:], rows[-1:]])) == 2
    assert padded_rows(np.concatenate([rows, np.zeros((3, 512))])) == 3
    assert padded_rows(np.ones((4, 512))) == 3


def test_rows_of_a_search() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(2, 512)), (20, 20), axis=0)
    rows[30:36] += rng.normal(size=(6, 512))
    [calm] = calm_rows(rows, 1)
    assert calm not in (19, 20, *range(29, 37))
    assert lively_rows(rows, 2)[1] in range(29, 37)
    assert calm_rows(rows[:1], 3) == [0]
    assert spread_rows(100, 3) == [0, 50, 99]
    assert spread_rows(2, 5) == [0, 1]
    assert part_of(40, (0, 0.25)) == range(10)
    assert part_of(8, (0, 0.25)) == range(4)
    assert part_of(8, (0.75, 1)) == range(4, 8)
    assert part_of(3, (0, 0.25)) == range(3)


def test_rows_are_unlike_below_099_or_where_they_are_far_from_the_others() -> None:
    assert unlike_rows(np.array([1e-3, 0.02, 2e-3])).tolist() == [False, True, False]
    assert unlike_rows(np.array([1e-7, 2e-6, 3e-4, 5e-4])).tolist() == [False, False, True, True]
    assert not unlike_rows(np.array([1e-7, 1e-7, 1e-5, 2e-5])).any(), "rounding"
    assert not unlike_rows(np.array([1e-4, 3e-4, 5e-4, 8e-4, 2e-3])).any(), "no gap"


def test_ends_of_runs_are_found_to_the_row() -> None:
    bad = np.isin(np.arange(100), range(37, 64))
    rows = [0, 20, 40, 60, 80, 99]
    runs = runs_of(rows, bad[rows], 100, lambda row: bool(bad[row]))
    assert runs == [Run(0, 37, True), Run(37, 64, False), Run(64, 100, True)]


def test_rows_that_alternate_are_one_run() -> None:
    rows = list(range(20))
    bad = np.arange(20) % 2 == 0
    assert runs_of(rows, bad, 20, lambda row: bool(bad[row])) == [Run(0, 20, False, mixed=True)]
