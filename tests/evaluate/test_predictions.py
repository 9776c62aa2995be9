"""Predictions for one video: its class from the highest snippets, and its anomalous intervals."""

from dataclasses import replace

import numpy as np
import pytest

from evaluate.predictions import (
    anomalous_intervals,
    likeliest_anomaly,
    predicted_class,
    top_snippets,
    video_score,
)
from evaluate.scores import VideoScores
from tests.evaluate.videos import video_scores


def test_video_predictions_use_the_highest_snippets() -> None:
    anomaly = np.linspace(0, 0.9, 40)[::-1]
    classes_TC = np.tile([0.5, 0.1, 0.4], (40, 1))
    classes_TC[:3] = [0.5, 0.3, 0.2]
    scores = video_scores(n_frames=640, anomaly_T=anomaly, classes_TC=classes_TC)  # k = 40 // 16 + 1 = 3
    assert video_score(scores) == pytest.approx(anomaly[:3].mean())
    assert likeliest_anomaly(scores) == "riot"
    assert predicted_class(scores, threshold=0.8) == "riot"  # although normal has the highest class score
    assert predicted_class(scores, threshold=0.9) == "normal"


def test_consecutive_snippets_form_one_interval() -> None:
    classes_TC = np.array(
        [[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.4, 0.1, 0.5], [0.8, 0.1, 0.1], [0.0, 0.0, 1.0], [0.1, 0.2, 0.7]]
    )
    scores = video_scores(n_frames=90, anomaly_T=[0.1, 0.8, 0.6, 0.2, 0.5, 0.9], classes_TC=classes_TC)
    first, second = anomalous_intervals(scores)
    assert (first.start_frame, first.end_frame, first.start_s, first.end_s) == (16, 48, 0.64, 1.92)
    assert first.label == "fire"  # mean score 0.4 against 0.3, although riot is higher in the first snippet
    assert (first.score, first.peak, first.peak_frame) == (pytest.approx(0.7), pytest.approx(0.8), 24)
    assert (second.start_frame, second.end_frame) == (
        64,
        90,
    )  # ends at the last frame, not at the end of the snippet
    assert anomalous_intervals(scores, threshold=0.95) == []
    assert [found.end_frame for found in anomalous_intervals(scores, threshold=0.0)] == [90]


def paused_scores(pause_frames: dict[int, float], anomaly: list[float], fps: float = 10.0) -> VideoScores:
    """Scores of snippets of 16 frames; a pause of so many seconds comes before each of the given frames."""
    n_frames = 16 * len(anomaly)
    start_s = np.cumsum([0, *(1 / fps + pause_frames.get(frame, 0) for frame in range(1, n_frames))])
    first, known = np.arange(len(anomaly)) * 16, np.arange(len(anomaly)) * 16 + 8
    return VideoScores(
        *("film", anomaly, None, ("normal",), 16, n_frames, 10.0),
        frame_index_T=known,
        time_s_T=start_s[known],
        start_s_T=start_s[first],
        end_s_T=start_s[first + 15] + 1 / fps,
    )


def spans(scores: VideoScores, threshold: float = 0.5) -> list[tuple[float, float, int, int]]:
    return [
        (round(i.start_s, 3), round(i.end_s, 3), i.start_frame, i.end_frame)
        for i in anomalous_intervals(scores, threshold)
    ]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (16, [(0, 1.6, 0, 16), (61.6, 64.8, 16, 48)]),  # between two snippets: exact
        (20, [(0, 1.6, 0, 16), (62.4, 64.8, 24, 48)]),  # before the frame of the features
        (24, [(0, 1.6, 0, 16), (62.4, 64.8, 24, 48)]),
        (25, [(0, 2.5, 0, 25), (63.2, 64.8, 32, 48)]),  # behind it
        (31, [(0, 2.5, 0, 25), (63.2, 64.8, 32, 48)]),
        (40, [(0, 3.2, 0, 32), (64.0, 64.8, 40, 48)]),  # in the last snippet
        (41, [(0, 4.1, 0, 41)]),
    ],
)
def test_an_interval_ends_at_a_pause_and_another_begins_after_it(
    frame: int, expected: list[tuple[float, float, int, int]]
) -> None:
    assert spans(paused_scores({frame: 60}, [0.9, 0.8, 0.7])) == expected


def test_a_single_snippet_with_a_pause_has_an_honest_end() -> None:
    assert spans(paused_scores({12: 60}, [0.9, 0.1])) == [(0, 0.9, 0, 9)]
    assert spans(paused_scores({4: 60}, [0.9, 0.1])) == [(60.8, 61.6, 8, 16)]


def test_each_part_has_its_own_score_and_two_pauses_make_three_parts() -> None:
    scores = paused_scores({16: 2, 32: 5}, [0.9, 0.7, 0.5])
    found = anomalous_intervals(scores)
    assert [(round(i.score, 3), i.peak_frame) for i in found] == [(0.9, 8), (0.7, 24), (0.5, 40)]
    assert spans(scores, 0.6) == [(0, 1.6, 0, 16), (3.6, 5.2, 16, 32)]


@pytest.mark.parametrize("pause_s", [0.0, 0.2, 0.8])
def test_dropped_pictures_do_not_end_an_interval(pause_s: float) -> None:
    assert len(spans(paused_scores({20: pause_s, 42: pause_s}, [0.9] * 3))) == 1


def test_a_low_frame_rate_is_no_pause() -> None:
    """The whole snippet is slow, as when a camera records one picture a second at night."""
    assert spans(paused_scores({}, [0.9] * 3, fps=1.0)) == [(0, 48, 0, 48)]


def test_without_the_times_of_snippets_a_pause_does_not_end_an_interval() -> None:
    scores = replace(paused_scores({16: 60}, [0.9] * 3), start_s_T=None, end_s_T=None)
    assert spans(scores) == [(0, 64.8, 0, 48)]


def test_the_highest_snippets_are_a_sixteenth_and_one_more_the_earliest_of_equal_ones() -> None:
    rising = video_scores(n_frames=48 * 16, anomaly_T=np.linspace(0, 1, 48), classes_TC=None)
    assert top_snippets(rising).tolist() == [47, 46, 45, 44]
    equal = video_scores(n_frames=600 * 16, anomaly_T=np.tile([0.5, 0.25], 300), classes_TC=None)
    assert top_snippets(equal).tolist() == list(range(0, 76, 2))


def test_class_and_peak_are_those_of_the_interval_alone() -> None:
    """Fire everywhere else; the video's class is that of its highest snippet."""
    classes_TC = np.array([[0, 0.1, 0.9]] * 4 + [[0, 0.6, 0.4]] * 2)
    scores = video_scores(n_frames=96, anomaly_T=[0.5, 0.6, 0.1, 0.1, 0.8, 0.9], classes_TC=classes_TC)
    first, second = anomalous_intervals(scores)
    assert (first.label, first.peak_frame) == ("fire", 24)
    assert (second.label, second.peak_frame) == ("riot", 88)
    assert likeliest_anomaly(scores) == "riot"
    assert predicted_class(scores, float(scores.anomaly_T[5])) == "riot"  # at the threshold itself
