"""Predictions for one video: its class from the highest snippets, and its anomalous intervals."""

import numpy as np
import pytest

from evaluate.predictions import anomalous_intervals, likeliest_anomaly, predicted_class, video_score
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
