"""Times of snippets and frames: measured ones, pauses, irregular steps, and scores without times."""

from typing import Any

import numpy as np
import pytest

from evaluate.scores import VideoScores
from evaluate.snippet_times import seconds_at, snippet_frame, snippets_end, snippets_start
from tests.evaluate.videos import video_scores


def test_times_follow_a_variable_frame_rate() -> None:
    frames, times = np.array([8, 24, 40]), np.array([1.0, 2.0, 6.0])
    scores = video_scores(n_frames=48, frame_index_T=frames, time_s_T=times)
    assert seconds_at(scores, 16) == pytest.approx(1.5)
    assert seconds_at(scores, 32) == pytest.approx(4.0)
    assert seconds_at(scores, 48) == pytest.approx(6.0 + 8 / 25)
    assert seconds_at(scores, 0) == pytest.approx(1.0 - 8 / 25)
    assert seconds_at(video_scores(n_frames=48), 32) == pytest.approx(32 / 25)


def test_frames_between_known_times_are_interpolated_within_their_snippet() -> None:
    scores = video_scores(
        n_frames=60,  # the last snippet also covers a tail of 12 frames
        anomaly_T=[0.1, 0.2, 0.3],
        classes_TC=None,
        frame_index_T=[8, 24, 32],
        time_s_T=[1.0, 2.0, 6.0],
        start_s_T=[0.5, 1.5, 6.0],
        end_s_T=[1.25, 2.6, 9.0],
    )
    expected = {
        0: 0.5,
        4: 0.75,
        8: 1.0,
        12: 1.16,
        15: 1.25,
        16: 1.5,
        20: 1.75,
        31: 2.28,
        32: 6.0,
        59: 7.08,
        60: 9.0,
    }
    assert {frame: seconds_at(scores, frame) for frame in expected} == pytest.approx(expected)
    assert [snippets_start(scores, index) for index in range(3)] == [0.5, 1.5, 6.0]
    assert [snippets_end(scores, stop) for stop in (1, 2, 3)] == [1.25, 2.6, 9.0]


def test_a_pause_has_a_start_and_an_end() -> None:
    """16 frames per second, though fps says 25; a pause of 1.5 s before frame 32, irregular before 48."""
    scores = video_scores(
        n_frames=96, frame_index_T=np.arange(6) * 16 + 8, time_s_T=[1.5, 2.5, 5.0, 7.0, 8.0, 9.0]
    )
    assert [snippets_start(scores, index) for index in range(6)] == [1.0, 2.0, 4.5, 6.0, 7.5, 8.5]
    assert [snippets_end(scores, stop) for stop in range(1, 7)] == [2.0, 3.0, 6.0, 7.5, 8.5, 9.5]
    assert seconds_at(scores, 31) == 2.5 + 7 / 16
    assert seconds_at(scores, 32) == 4.5


@pytest.mark.parametrize(
    ("frames", "times", "start_s", "end_s"),
    [
        ([8], [1.0], 1 - 8 / 25, 1 + 8 / 25),  # nothing to measure a step from: 1 / fps
        ([8, 24], [1.0, 2.0], 0.5, 2.5),
        ([8, 24, 40], [1.0, 1.0, 1.0], 1 - 8 / 25, 1 + 8 / 25),
        ([8, 24, 40, 56, 72], [1.0, 1.95, 3.0, 3.5, 5.5], 1 - 8 / 25, 5.5 + 8 / 25),  # half of them agree
        ([0, 16, 32], [1.0, 2.0, 3.0], 1.0, 4.0),
    ],
)
def test_the_step_is_the_median_of_snippets_that_agree(
    frames: list[int], times: list[float], start_s: float, end_s: float
) -> None:
    scores = video_scores(n_frames=16 * len(frames), frame_index_T=frames, time_s_T=times)
    assert seconds_at(scores, 0) == pytest.approx(start_s)
    assert seconds_at(scores, scores.n_frames) == pytest.approx(end_s)


def test_snippets_of_one_frame_have_a_step_too() -> None:
    scores = VideoScores(
        "film", [0.1] * 3, None, ("normal",), 1, 3, 25.0, frame_index_T=[0, 1, 2], time_s_T=[1.0, 1.5, 2.0]
    )
    assert seconds_at(scores, 3) == 2.5


@pytest.mark.parametrize("extra", [{}, {"time_s_T": [9.0] * 3}, {"frame_index_T": [8, 24, 40]}])
def test_without_times_of_known_frames_the_frame_rate_decides(extra: dict[str, Any]) -> None:
    scores = video_scores(n_frames=48, **extra)
    assert [seconds_at(scores, frame) for frame in (0, 16, 37, 48)] == pytest.approx([0, 0.64, 1.48, 1.92])
    assert seconds_at(video_scores(n_frames=90), 90) == 3.6  # not the end of the last snippet, frame 96


def test_the_frame_of_a_snippet_is_the_one_of_its_features() -> None:
    assert snippet_frame(video_scores(n_frames=90), 2) == 40
    assert snippet_frame(VideoScores("film", [0.1] * 3, None, ("normal",), 5, 15, 25.0), 1) == 7
    assert snippet_frame(video_scores(n_frames=82), 5) == 81  # the last snippet has two frames
    assert snippet_frame(video_scores(n_frames=32, frame_index_T=[3, 20]), 1) == 20
