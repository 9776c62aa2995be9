"""The frames selected for each snippet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.config import ExtractConfig
from extract.snippets import intact_snippets, pick_frames


def test_the_middle_frame_of_each_snippet_and_of_a_shorter_last_one() -> None:
    assert pick_frames(40, ExtractConfig().sampling).frames.tolist() == [8, 24, 36]
    assert pick_frames(33, ExtractConfig().sampling).frames.tolist() == [8, 24, 32]
    assert pick_frames(32, ExtractConfig().sampling).frames.tolist() == [8, 24]
    assert pick_frames(1, ExtractConfig().sampling).frames.tolist() == [0]


def test_the_first_frame() -> None:
    assert pick_frames(40, ExtractConfig(frame_pick="first").sampling).frames.tolist() == [0, 16, 32]


def test_the_last_frame() -> None:
    assert pick_frames(40, ExtractConfig(frame_pick="last").sampling).frames.tolist() == [15, 31, 39]


def test_an_offset_moves_frames_and_stays_within_the_video() -> None:
    assert pick_frames(40, ExtractConfig(frame_offset=-1).sampling).frames.tolist() == [7, 23, 35]
    assert pick_frames(40, ExtractConfig(frame_offset=16).sampling).frames.tolist() == [24, 39, 39]
    mean = ExtractConfig(frame_pick="mean", mean_frames=2, frame_offset=-8)
    picks = pick_frames(32, mean.sampling)
    assert picks.frames.tolist() == [0, 4, 12, 20]
    assert picks.representative.tolist() == [0, 16]


def test_snippets_before_a_damaged_frame_need_none_of_the_frames_after_it() -> None:
    assert intact_snippets(40, ExtractConfig().sampling) == 2
    assert intact_snippets(40, ExtractConfig(frame_offset=9).sampling) == 1
    assert intact_snippets(40, ExtractConfig(frame_offset=-9).sampling) == 2
    assert intact_snippets(5, ExtractConfig(frame_offset=9).sampling) == 0


def test_a_shorter_last_snippet_can_be_dropped() -> None:
    assert pick_frames(40, ExtractConfig(keep_last=False).sampling).frames.tolist() == [8, 24]
    assert pick_frames(15, ExtractConfig(keep_last=False).sampling).n_snippets == 0


def test_mean_picks_evenly_spaced_frames_without_duplicates() -> None:
    picks = pick_frames(35, ExtractConfig(frame_pick="mean", mean_frames=4).sampling)
    assert picks.frames.tolist() == [2, 6, 10, 14, 18, 22, 26, 30, 32, 33, 34]
    assert picks.snippet.tolist() == [0] * 4 + [1] * 4 + [2] * 3
    assert picks.representative.tolist() == [8, 24, 33]
    assert np.flatnonzero(picks.last_in_snippet).tolist() == [3, 7, 10]


@given(
    n_frames=st.integers(1, 400),
    length=st.integers(1, 40),
    pick=st.sampled_from(["middle", "first", "mean"]),
    mean_frames=st.integers(1, 8),
    keep_last=st.booleans(),
)
def test_every_pick_is_within_its_snippet(
    n_frames: int, length: int, pick: str, mean_frames: int, keep_last: bool
) -> None:
    config = ExtractConfig(
        snippet_length=length, frame_pick=pick, mean_frames=mean_frames, keep_last=keep_last
    )
    picks = pick_frames(n_frames, config.sampling)
    assert picks.n_snippets == (-(-n_frames // length) if keep_last else n_frames // length)
    assert (picks.frames // length == picks.snippet).all()
    assert (picks.representative // length == np.arange(picks.n_snippets)).all()
    assert (np.diff(picks.frames) > 0).all()
    assert picks.last_in_snippet.sum() == picks.n_snippets
    if picks.n_snippets:
        assert picks.frames[-1] < n_frames


@pytest.mark.parametrize(
    "field", [{"snippet_length": 0}, {"crops": 3}, {"frame_pick": "middel"}, {"nope": 1}]
)
def test_unknown_fields_and_invalid_values_are_refused(field: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        ExtractConfig(**field)
