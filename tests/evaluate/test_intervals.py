"""Anomalous intervals of one video, their times, and the picture of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluate.metrics.intervals import anomalous_intervals, seconds_at, snippet_frame
from evaluate.report.plots import save_timeline
from tests.evaluate.videos import video_scores


def test_neighbouring_snippets_become_one_interval() -> None:
    classes_TC = np.array(
        [[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.4, 0.1, 0.5], [0.8, 0.1, 0.1], [0.0, 0.0, 1.0], [0.1, 0.2, 0.7]]
    )
    scores = video_scores(n_frames=90, anomaly_T=[0.1, 0.8, 0.6, 0.2, 0.5, 0.9], classes_TC=classes_TC)
    first, second = anomalous_intervals(scores)
    assert (first.start_frame, first.end_frame, first.start_s, first.end_s) == (16, 48, 0.64, 1.92)
    assert first.label == "fire"  # mean belief 0.4 against 0.3, though the first snippet says riot
    assert (first.score, first.peak, first.peak_frame) == (pytest.approx(0.7), pytest.approx(0.8), 24)
    assert (second.start_frame, second.end_frame) == (64, 90)  # to the last frame, not to the snippet's end
    assert anomalous_intervals(scores, threshold=0.95) == []
    assert [found.end_frame for found in anomalous_intervals(scores, threshold=0.0)] == [90]


def test_times_follow_a_variable_frame_rate() -> None:
    frames, times = np.array([8, 24, 40]), np.array([1.0, 2.0, 6.0])
    scores = video_scores(n_frames=48, frame_index_T=frames, time_s_T=times)
    assert seconds_at(scores, 16) == pytest.approx(1.5)
    assert seconds_at(scores, 32) == pytest.approx(4.0)
    assert seconds_at(scores, 48) == pytest.approx(6.0 + 8 / 25)
    assert seconds_at(scores, 0) == pytest.approx(1.0 - 8 / 25)
    assert seconds_at(video_scores(n_frames=48), 32) == pytest.approx(32 / 25)


def test_a_snippet_is_shown_by_the_frame_its_features_are_from() -> None:
    assert snippet_frame(video_scores(n_frames=90), 2) == 40
    assert snippet_frame(video_scores(n_frames=82), 5) == 81  # the last snippet has two frames
    assert snippet_frame(video_scores(n_frames=32, frame_index_T=[3, 20]), 1) == 20


def test_timelines_of_one_video_and_of_several(tmp_path: Path) -> None:
    videos = [video_scores(name, 400, seed) for seed, name in enumerate(["$a_b$ {x}", "one", "é"])]
    intervals = [anomalous_intervals(video) for video in videos]
    one = save_timeline(tmp_path / "new" / "one.png", videos[0], intervals[0])
    all_of_them = save_timeline(tmp_path / "all.png", videos, intervals)
    none_found = save_timeline(tmp_path / "none.png", videos[0], [])
    with Image.open(one) as small, Image.open(all_of_them) as large:
        assert small.format == "PNG"
        assert small.width == large.width
        assert large.height > 2 * small.height
    assert none_found.read_bytes() != one.read_bytes()
    with pytest.raises(ValueError, match="argument"):
        save_timeline(tmp_path / "bad.png", videos, intervals[:2])


def test_a_timeline_has_room_for_some_videos_only(tmp_path: Path) -> None:
    videos = [video_scores(f"video {index}", 32, index) for index in range(55)]
    path = save_timeline(tmp_path / "all.png", videos, [[] for _ in videos])
    with Image.open(path) as picture:
        assert picture.height < 2**16
