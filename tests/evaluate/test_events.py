"""Events found against false alarms: small cases by hand, and every threshold against the alarms of `score`.

The hand-computed cases have snippets of 16 frames at 16 frames a second: a snippet is one second.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from evaluate.annotations import Segment, VideoTruth
from evaluate.evaluated_videos import EvaluatedVideo
from evaluate.metrics.alarms import FalseAlarms, all_alarms
from evaluate.metrics.event_table import Event, EventTable, event_segments, event_table, matches_at
from evaluate.metrics.events import EventMetrics, OperatingPoint, event_metrics, shortest_decimal
from evaluate.predictions import anomalous_intervals, held_scores
from evaluate.scores import expand_to_frames
from evaluate.snippet_times import seconds_at
from extract.errors import InputError
from tests.evaluate.videos import CLASSES, video_scores


def video(
    scores: Sequence[float],
    *segments: Segment,
    name: str = "video",
    n_frames: int | None = None,
    **changes: Any,
) -> EvaluatedVideo:
    """A video of one-second snippets; anomalous if it has segments."""
    truth = VideoTruth(name, tuple(dict.fromkeys(s.label for s in segments)) or ("normal",), segments)
    n_frames = n_frames or 16 * len(scores)
    found = video_scores(name, n_frames, **{"anomaly_T": scores, "classes_TC": None, "fps": 16.0} | changes)
    frames = expand_to_frames(found.anomaly_T, found.snippet_length, n_frames)
    return EvaluatedVideo(found, truth, "normal", frames, truth.frame_labels(n_frames))


def table_of(*videos: EvaluatedVideo, release: float = 1.0) -> EventTable:
    table = event_table(videos, release)
    assert table is not None
    return table


def metrics_of(*videos: EvaluatedVideo) -> EventMetrics:
    found = event_metrics(table_of(*videos), CLASSES)
    assert found is not None
    return found


def point_at(rate: float, *videos: EvaluatedVideo) -> OperatingPoint:
    return next(point for point in metrics_of(*videos).points if point.rate == rate)


def seconds(label: str, start: float, end: float) -> Segment:
    return Segment(label, round(16 * start), round(16 * end))


def quiet(hours: float, *peaks: float) -> EvaluatedVideo:
    """Normal footage of score 0.1, with one snippet of each of the higher scores, 10 s apart."""
    scores = np.full(round(3600 * hours), 0.1)
    scores[5 : 5 + 10 * len(peaks) : 10] = peaks
    return video(scores.tolist(), name="quiet")


RIOT = video([0.2, 0.2, 0.9, 0.8, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2], seconds("riot", 1, 4), name="riot")
"""An event from second 1 to 4; at thresholds from 0.2 to 0.8, an alarm from second 2 to 4."""


def test_the_operating_point_has_at_most_the_rate_and_finds_what_is_above_it() -> None:
    found = metrics_of(RIOT, quiet(2, 0.95, 0.85, 0.7, 0.6))
    hours = 2 + 7 / 3600
    assert found.normal_hours == pytest.approx(hours)
    none, one, ten = found.points
    assert (none.threshold, none.false_alarms, none.figures.found) == (
        None,
        0,
        0,
    )  # 0.95 is in normal footage
    assert (one.false_alarms, one.false_alarms_per_hour) == (2, 2 / hours)  # of at most 2.0019
    assert one.threshold == 0.8  # the next lower score, 0.7, would be the third
    assert one.figures.found == one.figures.found_iou == 1
    assert (ten.false_alarms, ten.threshold) == (4, 0.2)  # at 0.1 the alarm would last two hours
    assert one.per_class == {"riot": one.figures}
    assert found.events == {"riot": 1}


def test_a_rate_that_is_met_exactly_is_kept_and_one_alarm_more_is_too_many() -> None:
    hour = video([0.1] * 5 + [0.9] + [0.1] * 3594, name="hour")
    loud = video([0.8] * 10, seconds("riot", 0, 10), name="loud")  # no normal footage
    point = point_at(1, loud, hour)
    assert (point.threshold, point.false_alarms, point.false_alarms_per_hour) == (0.8, 1, 1.0)
    two = video([0.1] * 5 + [0.9] + [0.1] * 5 + [0.85] + [0.1] * 3588, name="two")
    assert point_at(1, loud, two).threshold == 0.9
    assert point_at(1, loud, two).figures.found == 0


def test_a_lower_threshold_does_not_help_where_alarms_have_merged() -> None:
    """Three alarms become one of 50 s at a lower threshold; the operating point stays above the three."""
    merged = video([0.9, 0.5] * 25 + [0.1] * 3550, name="merged")
    event = video([0.1, 0.7, 0.1], seconds("riot", 1, 2), name="event")
    table = table_of(merged, event)
    assert table.false_alarms.counts_at(np.array([0.9, 0.7, 0.5], np.float32)).tolist() == [25, 25, 1]
    assert point_at(1, merged, event).threshold is None
    assert point_at(10, merged, event).figures.found == 0


def test_a_lasting_alarm_is_a_false_alarm_for_each_full_minute_of_normal_footage() -> None:
    event = seconds("riot", 200, 210)
    counts = []
    for scores in ([0.9] * 59, [0.9] * 119, [0.9] * 120, [0.9] * 121):
        table = table_of(video(scores, name="normal"))
        counts.append(int(table.false_alarms.counts_at(np.array([0.5]))[0]))
    assert counts == [1, 1, 2, 2]
    whole = table_of(video([0.9] * 400, event))  # 390 s of normal footage in an alarm that meets the event
    assert whole.false_alarms.counts_at(np.array([0.5])).tolist() == [6]
    short = table_of(video([0.1] * 150 + [0.9] * 100 + [0.1] * 50, event))  # 90 s of it
    assert short.false_alarms.counts_at(np.array([0.5])).tolist() == [1]
    near = table_of(video([0.1] * 150 + [0.9] * 65 + [0.1] * 50, event))  # 55 s of it
    assert near.false_alarms.counts_at(np.array([0.5])).tolist() == [0]


def test_normal_footage_of_anomalous_videos_counts_and_their_false_alarms_too() -> None:
    table = table_of(video([0.9] + [0.1] * 7 + [0.8, 0.1], seconds("fire", 8, 10)), release=0.9)
    found = event_metrics(table, CLASSES)
    assert found is not None
    assert found.release == 0.9
    assert found.normal_hours == pytest.approx(8 / 3600)
    assert [point.figures.found for point in found.points] == [0, 0, 0]
    assert found.curve.false_alarms_per_hour.tolist() == pytest.approx([450])  # one in 8 s
    assert found.curve.found.tolist() == [1]


def test_an_alarm_that_touches_the_event_with_one_frame_finds_it() -> None:
    scores = [0.1, 0.9, 0.1, 0.1]
    touched = table_of(video(scores, Segment("riot", 31, 64)))  # the alarm has the frames 16 to 31
    assert touched.events[0].delay_s(0.5) == 0
    assert touched.false_alarms.counts_at(np.array([0.5])).tolist() == [0]
    beside = table_of(video(scores, Segment("riot", 32, 64)))
    assert beside.events[0].delay_s(0.5) is None
    assert beside.false_alarms.counts_at(np.array([0.5])).tolist() == [1]
    before = table_of(video(scores, Segment("riot", 0, 16)))
    assert before.events[0].delay_s(0.5) is None


def test_the_delay_ends_with_the_first_alarm_and_is_zero_if_that_began_before() -> None:
    scores = [0.1, 0.6, 0.1, 0.7, 0.1, 0.9]
    (event,) = table_of(
        video(scores, Segment("riot", 20, 96))
    ).events  # starts 0.25 s into the second snippet
    assert event.delay_s(0.6) == 0
    assert event.delay_s(0.65) == pytest.approx(3 - 1.25)
    assert event.delay_s(0.8) == pytest.approx(5 - 1.25)
    assert event.delay_s(0.95) is None
    (start,) = table_of(video([0.9, 0.1], Segment("riot", 0, 32))).events
    assert start.delay_s(0.9) == 0
    (later,) = table_of(video([0.1, 0.9], Segment("riot", 0, 32))).events
    assert later.delay_s(0.9) == 1


def test_delays_are_times_of_the_recording_and_pauses_are_no_footage() -> None:
    times = {"start_s_T": [0, 2, 3602, 3604], "end_s_T": [2, 4, 3604, 3606]}  # an hour's pause, slow motion
    paused = video([0.1, 0.1, 0.1, 0.9], Segment("riot", 16, 64), **times)
    (event,) = table_of(paused).events
    assert event.delay_s(0.9) == pytest.approx(3604 - 2)
    normal = video([0.1] * 4, name="normal", **times)
    assert metrics_of(paused, normal).normal_hours == pytest.approx(10 / 3600)
    for alone in times:  # starts without ends say nothing about the length
        half = video([0.1] * 4, name="half", **{alone: times[alone]})
        assert table_of(half).false_alarms.hours_V.tolist() == pytest.approx([4 / 3600])


def test_an_alarm_ends_at_a_pause_and_another_begins_after_it() -> None:
    times = {
        **{"start_s_T": [0, 1, 101, 102], "end_s_T": [1, 2, 102, 103]},
        **{"frame_index_T": [8, 24, 40, 56], "time_s_T": [0.5, 1.5, 101.5, 102.5]},
    }
    paused = video([0.9] * 4, Segment("riot", 40, 64), **times)
    table = table_of(paused)
    assert table.false_alarms.counts_at(np.array([0.9])).tolist() == [1]  # the alarm before the pause
    assert table.events[0].delay_s(0.9) == 0
    whole = table_of(video([0.9] * 4, Segment("riot", 40, 64)))
    assert whole.false_alarms.counts_at(np.array([0.9])).tolist() == [0]


def test_percentiles_are_of_the_found_events_and_the_share_within_5_s_of_all() -> None:
    """Delays of 0, 2, 5 and 6 s, and one event that is never found."""
    videos = [
        video([0.1] * delay + [0.9] + [0.1] * (9 - delay), seconds("riot", 0, 10), name=f"riot{delay}")
        for delay in (0, 2, 5, 6)
    ]
    missed = video([0.2] * 10, seconds("fire", 0, 10), name="missed")
    point = point_at(10, *videos, missed, video([0.3] * 1200, name="normal"))
    assert point.figures.found == 0.8
    assert point.figures.found_within_5s == 0.6
    assert point.figures.delay_median_s == 3.5
    assert point.figures.delay_p90_s == pytest.approx(5.7)
    assert point.per_class["riot"].found == 1
    assert point.per_class["fire"].found == point.per_class["fire"].found_within_5s == 0
    assert point.per_class["fire"].delay_median_s is None
    assert point.figures.found_iou == 0  # alarms of one second
    half = video([0.1] * 5 + [0.9] * 5, seconds("riot", 0, 10), name="half")
    assert point_at(10, *videos, half, video([0.3] * 1200, name="normal")).figures.found_iou == 0.2


def test_one_alarm_finds_all_events_that_it_spans() -> None:
    spanning = video(
        [0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1], seconds("riot", 1, 3), seconds("fire", 4, 6), name="both"
    )
    point = point_at(1, spanning)
    assert (point.figures.found, point.false_alarms, point.threshold) == (1, 0, 0.1)
    assert matches_at(table_of(spanning).events, np.array([0.9])).tolist() == [2]  # 2 of 5 seconds each
    far = video([0.9] * 10, seconds("riot", 0, 2), seconds("fire", 8, 10), name="far")
    table = table_of(far)
    assert matches_at(table.events, np.array([0.9])).tolist() == [0]  # 2 of 10 seconds each
    assert [event.delay_s(0.9) for event in table.events] == [0, 0]


def test_iou_of_exactly_three_tenths_is_enough() -> None:
    scores = [0.9] * 3 + [0.1] * 7
    assert matches_at(table_of(video(scores, seconds("riot", 0, 10))).events, np.array([0.9])).tolist() == [1]
    longer = table_of(video([*scores, 0.1], seconds("riot", 0, 11)))
    assert matches_at(longer.events, np.array([0.9])).tolist() == [0]


def test_overlapping_segments_of_one_label_are_one_event() -> None:
    found = metrics_of(
        video([0.9] * 10 + [0.1], seconds("riot", 0, 4), seconds("riot", 3, 9), seconds("fire", 3, 6))
    )
    assert found.events == {"riot": 1, "fire": 1}


def test_an_event_beyond_the_last_frame_is_cut() -> None:
    """UCF-Crime's annotations exceed five videos by up to two frames."""
    cut = video([0.1, 0.1, 0.9], Segment("riot", 46, 50), n_frames=48)
    (event,) = table_of(cut).events
    assert event.delay_s(0.9) == 0
    assert matches_at([event], np.array([0.9])).tolist() == [0]  # 2 of 16 frames
    table = table_of(video([0.1, 0.9], Segment("riot", 45, 47), n_frames=47))  # in the tail without a snippet
    assert table.events[0].delay_s(0.9) == 0


def test_an_event_behind_the_last_frame_is_none() -> None:
    """Published ground truths of XD-Violence annotate frames that some feature files do not have."""
    beyond = [Segment("riot", 0, 40), Segment("riot", 48, 60), Segment("riot", 90, 95)]
    truth = VideoTruth("video", ("riot",), tuple(beyond))
    assert event_segments(truth, 48) == [Segment("riot", 0, 40)]
    assert event_segments(truth, 49) == [Segment("riot", 0, 40), Segment("riot", 48, 49)]
    frames_only = VideoTruth("video", ("riot",), (), frames=(Segment("riot", 0, 10),))
    assert event_segments(frames_only, 48) == [Segment("riot", 0, 10)]


def test_an_event_beside_a_pause_of_which_no_frame_is_certain_is_not_found() -> None:
    """The second snippet shows its frames 24 to 31; those before the pause inside it belong to no alarm."""
    paused = video(
        [0.9] * 3,
        Segment("riot", 17, 20),
        **{"start_s_T": [0, 1, 102], "end_s_T": [1, 102, 103]},
        **{"frame_index_T": [8, 24, 40], "time_s_T": [0.5, 101.5, 102.5]},
    )
    table = table_of(paused)
    assert table.events[0].delay_s(0.0) is None
    assert table.peaks.tolist() == [-1]
    assert matches_at(table.events, np.array([0.0])).tolist() == [0]
    assert table.false_alarms.counts_at(np.array([0.9])).tolist() == [2]


def test_the_curve_has_the_lowest_threshold_of_each_rate() -> None:
    """False alarms by falling score: 1 at 0.9, 2 at 0.7, 3 at 0.6, and one an hour and more at 0.1."""
    events = [
        video([0.2, 0.95, 0.2], seconds("riot", 0, 3), name="one"),  # IoU 1/3 from 0.95 on
        video([0.2, 0.7, 0.65, 0.2], seconds("riot", 0, 4), name="two"),  # IoU 1/2 from 0.65 on
    ]
    table = table_of(*events, quiet(1, 0.9, 0.7, 0.6))
    found = event_metrics(table, CLASSES)
    assert found is not None
    curve = found.curve
    assert curve.threshold.tolist() == pytest.approx([0.95, 0.9, 0.65, 0.2, 0.1])
    assert curve.false_alarms_per_hour.tolist() == pytest.approx([0, 1, 2, 3, 60])
    assert curve.found.tolist() == [0.5, 0.5, 1, 1, 1]
    assert curve.found_iou.tolist() == [0.5, 0.5, 1, 1, 1]
    assert [point.threshold for point in found.points] == [0.95, 0.9, 0.2]


def test_without_events_or_normal_footage_there_are_no_figures() -> None:
    assert event_metrics(table_of(quiet(0.1)), CLASSES) is None
    assert event_metrics(table_of(video([0.5] * 4, seconds("riot", 0, 4))), CLASSES) is None


def test_equal_scores_everywhere_are_no_way_to_find_events() -> None:
    """A detector that always alarms has 60 false alarms an hour."""
    same = [video([0.5] * 3600, seconds("riot", 0, 60), name="riot"), video([0.5] * 3600, name="normal")]
    found = metrics_of(*same)
    assert [(point.threshold, point.figures.found) for point in found.points] == [(None, 0)] * 3
    assert found.curve.false_alarms_per_hour.tolist() == pytest.approx([60.0], rel=0.01)
    assert found.curve.found.tolist() == [1]


@pytest.mark.parametrize("release", [1.0, 0.7])
def test_every_threshold_agrees_with_the_alarms_of_score(release: float) -> None:
    """Counts, found events, IoU and delays against a count over `anomalous_intervals`, one by one."""
    rng = np.random.default_rng(0)
    videos = []
    for index in range(6):
        length = int(rng.integers(1, 40))
        scores = rng.integers(0, 9, length) / 8 if index % 2 else rng.random(length)
        n_frames = 16 * length + int(rng.integers(0, 3)) * 5
        n_frames = min(n_frames, 16 * length) if index == 3 else n_frames
        starts = np.sort(rng.integers(0, n_frames, 3)) if index < 4 else []
        segments = [
            Segment(label, int(s), int(min(s + rng.integers(1, 200), n_frames)))
            for label, s in zip(("riot", "fire", "fire"), starts, strict=False)
        ]
        times = _paused_times(length, n_frames, rng) if index in (0, 1, 5) else {}
        name = f"video{index}"
        videos.append(video(scores.tolist(), *segments, name=name, n_frames=n_frames, fps=1.0, **times))
    table = table_of(*videos, release=release)
    thresholds = np.concatenate([table.score_D, [0.0, 0.33, 1.0]])
    counts = table.false_alarms.counts_at(thresholds.astype(np.float32))
    for threshold, count in zip(thresholds.tolist(), counts.tolist(), strict=True):
        expected = sum(
            _false_alarms(one, _own(table, index), threshold, release) for index, one in enumerate(videos)
        )
        assert count == expected
        for event in table.events:
            _check_event(event, threshold, release)


def _paused_times(length: int, n_frames: int, rng: np.random.Generator) -> dict[str, Any]:
    """Times of a recording with a frame a second and three pauses of 100 s, at any frames."""
    time_F = np.arange(n_frames, dtype=float)
    for pause in rng.integers(1, n_frames, 3):
        time_F[pause:] += 100
    first = 16 * np.arange(length)
    last = np.append(first[1:], n_frames) - 1
    middle = (first + last) // 2
    return {
        "frame_index_T": middle,
        "time_s_T": time_F[middle],
        "start_s_T": time_F[first],
        "end_s_T": time_F[last] + 1,
    }


def _own(table: EventTable, index: int) -> list[Event]:
    return [event for event in table.events if event.video == index]


def _false_alarms(one: EvaluatedVideo, events: Sequence[Event], threshold: float, release: float) -> int:
    total = 0
    for alarm in anomalous_intervals(one.scores, threshold, release):
        inside = set(range(alarm.start_frame, alarm.end_frame))
        covered = {
            frame for event in events for frame in range(event.segment.start_frame, event.segment.end_frame)
        }
        total += max(math.floor(len(inside - covered) / 60), 0 if inside & covered else 1)
    return total


def _check_event(event: Event, threshold: float, release: float) -> None:
    frames = set(range(event.segment.start_frame, event.segment.end_frame))
    alarms = anomalous_intervals(event.scores, threshold, release)
    meeting = [a for a in alarms if frames & set(range(a.start_frame, a.end_frame))]
    start_s = seconds_at(event.scores, event.segment.start_frame)
    assert event.delay_s(threshold) == (max(0, meeting[0].start_s - start_s) if meeting else None)
    matched = any(
        len(frames & set(range(a.start_frame, a.end_frame)))
        >= 0.3 * len(frames | set(range(a.start_frame, a.end_frame)))
        for a in alarms
    )
    assert matches_at([event], np.array([threshold]))[0] == matched


def test_all_alarms_are_the_runs_between_lower_scores() -> None:
    alarms = all_alarms(np.array([0.25, 0.75, 0.5, 0.5, 0.125, 0.5]))
    rows = sorted(zip(*(column.tolist() for column in alarms), strict=True))
    assert rows == [
        (0, 4, 0.125, 0.25),
        (0, 6, -1.0, 0.125),
        (1, 2, 0.5, 0.75),
        (1, 4, 0.25, 0.5),
        (5, 6, 0.125, 0.5),
    ]
    paused = all_alarms(np.array([0.25, 0.75, 0.75, 0.5]), [2])
    rows = sorted(zip(*(column.tolist() for column in paused), strict=True))
    assert rows == [(0, 2, -1.0, 0.25), (1, 2, 0.25, 0.75), (2, 3, 0.5, 0.75), (2, 4, -1.0, 0.5)]


def test_an_alarm_with_hysteresis_goes_on_until_the_score_is_below_the_release() -> None:
    scores = video_scores(n_frames=128, anomaly_T=[0.5, 0.8, 0.5, 0.6, 0.3, 0.5, 0.4, 0.9], classes_TC=None)
    assert held_scores(np.array([0.8, 0.5, 0.4]), 0.625).tolist() == pytest.approx([0.8, 0.8, 0.64])
    held = held_scores(scores.anomaly_T, 0.625)  # at 0.8 until below 0.5
    assert held.tolist() == pytest.approx([0.5, 0.8, 0.8, 0.8, 0.48, 0.5, 0.5, 0.9])
    for wrong in (0, -0.5, 1.01):
        with pytest.raises(InputError, match="expected a share of the threshold"):
            held_scores(scores.anomaly_T, wrong)
    found = anomalous_intervals(scores, 0.8, 0.625)
    assert [(one.start_frame, one.end_frame) for one in found] == [(16, 64), (112, 128)]
    assert [(i.start_frame, i.end_frame) for i in anomalous_intervals(scores, 0.8)] == [(16, 32), (112, 128)]


@pytest.mark.parametrize(
    ("above", "up_to", "expected"),
    [
        (0.5, 0.75, 0.7),
        (0.7, 0.8125, 0.8),
        (0.75, 0.8125, 0.8),
        (0.81, 0.8125, 0.812),
        (-1, 0.03, 0.0),
        (0.2, 0.3, 0.3),
        (0.81, 0.8168, 0.816),
        (0.816, 0.81678, 0.8167),
        (float(np.nextafter(np.float32(1), np.float32(0))), 1.0, 1.0),
    ],
)
def test_the_threshold_has_the_fewest_digits_that_keep_the_alarms(
    above: float, up_to: float, expected: float
) -> None:
    assert shortest_decimal(above, float(np.float32(up_to))) == expected


def test_weights_count_videos_as_often_as_they_say() -> None:
    """A bootstrap resample equals the evaluation of its videos, repeated."""
    rng = np.random.default_rng(3)
    videos = [
        video(
            rng.integers(0, 40, 30) / 40,
            *([seconds("riot", 5, 7), seconds("fire", 20, 22)] if index < 6 else []),
            name=f"v{index}",
        )
        for index in range(12)
    ]
    table = table_of(*videos)
    shares = set()
    for _ in range(20):
        weights = rng.multinomial(12, np.full(12, 1 / 12))
        drawn = [one for one, count in zip(videos, weights, strict=True) for _ in range(count)]
        repeated = table_of(*drawn)
        for rate in (50.0, 150.0, 300.0):
            share = table.found(rate, weights)
            found = repeated.thresholds(rate)
            counted = [event.delay_s(found[1] if found else 2) is not None for event in repeated.events]
            assert share == pytest.approx(np.mean(counted))
            shares.add(share)
    assert len(shares) > 10
    assert math.isnan(table.found(1.0, np.array([0] * 6 + [1] * 6)))


def test_an_event_of_the_score_that_gives_too_many_false_alarms_is_not_found() -> None:
    table = table_of(video([0.8] * 3, seconds("riot", 0, 3)), quiet(1, 0.8, 0.8))
    assert table.found(1.0, np.ones(2)) == 0
    assert table.found(2.0, np.ones(2)) == 1


@pytest.mark.parametrize("weighted", [False, True])
def test_the_bound_is_the_first_score_with_too_many_false_alarms(weighted: bool) -> None:
    """Against a count score by score, over more scores than the first blocks hold."""
    rng = np.random.default_rng(0)
    false_alarms = FalseAlarms(
        score_K=np.sort(rng.integers(0, 2048, 6000) / 2048)[::-1],
        change_K=rng.integers(-1, 3, 6000),
        video_K=rng.integers(0, 5, 6000),
        hours_V=np.array([1.0, 2.0, 0.5, 1.0, 0.5]),
    )
    weights = np.array([2, 0, 1, 3, 1]) if weighted else None
    counted = np.ones(5) if weights is None else weights
    hours = false_alarms.hours_V @ counted
    scores = np.unique(false_alarms.score_K)[::-1]
    changes = false_alarms.change_K * counted[false_alarms.video_K]
    counts = np.array([changes[false_alarms.score_K >= score].sum() for score in scores])
    for allowed in (0, 1, 7, 200, 900, 2000, 10_000, 100_000):
        over = np.flatnonzero(counts > allowed)
        expected = scores[over[0]] if len(over) else -1.0
        assert false_alarms.bound(allowed / hours, weights) == expected
    assert counts.max() > 2000
    if weights is None:
        assert false_alarms.counts_at(scores).tolist() == counts.tolist()
    assert FalseAlarms(*(np.array([]),) * 3, hours_V=np.ones(1)).bound(1.0) == -1
