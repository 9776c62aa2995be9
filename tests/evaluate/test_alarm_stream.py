"""Alarms of a stream: those of the whole video, and merging and dropping, one snippet at a time."""

import doctest
from itertools import pairwise

import numpy as np
import pytest

from evaluate import alarm_stream
from evaluate.alarm_stream import AlarmRule, AlarmStream, Snippet, StreamAlarm
from evaluate.predictions import anomalous_intervals
from evaluate.scores import VideoScores
from evaluate.snippet_times import recorded_spans
from extract.errors import InputError

FPS, LENGTH = 25.0, 16
CLASSES = ("normal", "riot", "fire")


def scores_of(anomaly_T: np.ndarray, classes: bool = True, **changes: np.ndarray) -> VideoScores:
    random = np.random.default_rng(len(anomaly_T))
    share_T2 = random.dirichlet([1, 1], len(anomaly_T)) * anomaly_T[:, None]
    classes_TC = np.hstack([1 - anomaly_T[:, None], share_T2]) if classes else None
    frames = len(anomaly_T) * LENGTH
    return VideoScores("video", anomaly_T, classes_TC, CLASSES, LENGTH, frames, FPS, **changes)


def walk(snippets: int, seed: int) -> np.ndarray:
    """Scores that wander, with many values exactly at a threshold."""
    random = np.random.default_rng(seed)
    return np.round(np.clip(0.5 + np.cumsum(random.normal(0, 0.15, snippets)) % 0.6 - 0.3, 0, 1), 1)


def snippets_of(scores: VideoScores) -> list[Snippet]:
    spans = recorded_spans(scores)
    pauses = set() if spans is None else set(spans.first_after_pause.tolist())
    seconds = LENGTH / FPS
    found = []
    for t, anomaly in enumerate(scores.anomaly_T.tolist()):
        start = t * seconds if spans is None else spans.start_s_T[t]
        end = (t + 1) * seconds if spans is None else spans.end_s_T[t]
        classes_C = None if scores.classes_TC is None else scores.classes_TC[t]
        found.append(Snippet(float(start), float(end), anomaly, classes_C, t in pauses))
    return found


def alarms_of(scores: VideoScores, rule: AlarmRule) -> list[StreamAlarm]:
    stream = AlarmStream(rule)
    return [alarm for snippet in snippets_of(scores) for alarm in stream.push(snippet)] + stream.finish()


def check_equal(scores: VideoScores, rule: AlarmRule) -> int:
    intervals = anomalous_intervals(scores, rule.threshold, rule.release)
    alarms = alarms_of(scores, rule)
    assert len(alarms) == len(intervals)
    for alarm, interval in zip(alarms, intervals, strict=True):
        found = (alarm.start_s, alarm.end_s, alarm.score, alarm.peak)
        assert found == pytest.approx((interval.start_s, interval.end_s, interval.score, interval.peak))
        assert alarm.label(scores.classes) == interval.label
    return len(alarms)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("release", [1.0, 0.9, 0.7, 0.5])
def test_alarms_of_a_stream_are_those_of_the_whole_video(threshold: float, release: float) -> None:
    rule = AlarmRule(threshold, release)
    found = sum(check_equal(scores_of(walk(n, seed=n)), rule) for n in (1, 2, 3, 40, 90, 200))
    assert found or threshold == 1
    check_equal(scores_of(walk(60, seed=1), classes=False), rule)


def test_an_alarm_that_goes_on_after_a_pause_becomes_a_new_one() -> None:
    anomaly_T = np.array([0.1, 0.8, 0.8, 0.8, 0.1, 0.8, 0.8, 0.8])
    seconds = LENGTH / FPS
    start_s_T = (
        np.arange(8) * seconds + np.where(np.arange(8) >= 2, 60, 0) + np.where(np.arange(8) >= 6, 60, 0)
    )
    scores = scores_of(
        anomaly_T,
        start_s_T=start_s_T,
        end_s_T=start_s_T + seconds,
        time_s_T=start_s_T + seconds / 2,
        frame_index_T=np.arange(8) * LENGTH + LENGTH // 2,
    )
    assert [snippet.after_pause for snippet in snippets_of(scores)].count(True) == 2
    assert check_equal(scores, AlarmRule(0.5)) == 4
    merged = alarms_of(scores, AlarmRule(0.5, merge_gap_s=61))
    assert [(alarm.snippets, alarm.start_s) for alarm in merged] == [(6, pytest.approx(seconds))]


def merged(scores: VideoScores, rule: AlarmRule) -> list[tuple[float, float]]:
    """The rule in the words of its description, over the alarms of the whole video."""
    spans = [(i.start_s, i.end_s) for i in anomalous_intervals(scores, rule.threshold, rule.release)]
    if rule.merge_gap_s and spans:
        borders = [(a, b) for (_, a), (b, _) in pairwise(spans) if b - a > rule.merge_gap_s]
        starts, ends = [spans[0][0], *(b for _, b in borders)], [*(a for a, _ in borders), spans[-1][1]]
        spans = list(zip(starts, ends, strict=True))
    return [(start, end) for start, end in spans if end - start >= rule.shortest_s]


@pytest.mark.parametrize("merge_gap_s", [0.0, 0.7, 2.0, 10.0])
@pytest.mark.parametrize("shortest_s", [0.0, 1.0, 3.0])
def test_alarms_are_merged_and_then_short_ones_dropped(merge_gap_s: float, shortest_s: float) -> None:
    rule = AlarmRule(0.6, 0.8, shortest_s, merge_gap_s)
    for seed in range(5):
        scores = scores_of(walk(150, seed))
        found = [(alarm.start_s, alarm.end_s) for alarm in alarms_of(scores, rule)]
        assert found == [pytest.approx(span) for span in merged(scores, rule)]


def test_an_alarm_is_reported_as_soon_as_nothing_can_change_it() -> None:
    scores = [0.1, 0.9, 0.2, 0.9, 0.2, 0.2, 0.2, 0.2]
    for gap, expected in ((0.0, {2: 1, 4: 1}), (1.5, {6: 2})):
        stream, found = AlarmStream(AlarmRule(0.5, merge_gap_s=gap)), {}
        for t, score in enumerate(scores):
            for alarm in stream.push(Snippet(t, t + 1, score)):
                found[t] = alarm.snippets
        assert found == expected
        assert stream.finish() == []


def test_the_current_alarm_shows_once_it_counts() -> None:
    stream = AlarmStream(AlarmRule(0.5, shortest_s=2))
    shown = []
    for t, score in enumerate([0.1, 0.6, 0.9, 0.7, 0.1]):
        over = stream.push(Snippet(t, t + 1, score))
        shown.append((stream.ringing, stream.current and stream.current.peak_s, len(over)))
    assert shown == [(False, None, 0), (True, None, 0), (True, 2, 0), (True, 2, 0), (False, None, 1)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 1.5}, "the threshold is 1.5, expected a score in"),
        ({"threshold": float("nan")}, "the threshold is nan"),
        ({"threshold": 0.5, "release": 0.0}, "the release is 0, expected a share of the threshold"),
        ({"threshold": 0.5, "shortest_s": -1.0}, "in seconds, at least 0"),
        ({"threshold": 0.5, "merge_gap_s": float("nan")}, "in seconds, at least 0"),
    ],
)
def test_a_rule_out_of_range_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AlarmRule(**values)


def test_the_example_of_the_docstring_runs() -> None:
    result = doctest.testmod(alarm_stream)
    assert result.attempted > 0
    assert result.failed == 0
