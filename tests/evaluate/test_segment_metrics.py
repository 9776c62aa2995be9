"""mAP@IoU: equality with literal implementations of both protocols, errors, speed on real ground truth."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluate.metrics.segments import IOU_THRESHOLDS, segment_map
from tests.evaluate.oracle import corrected_map, published_map
from tests.evaluate.published import PublishedSet, ucf_crime, xd_violence

CLASSES = ("normal", "riot", "fire")
Array = NDArray[Any]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be slow


@st.composite
def small_sets(draw: st.DrawFn) -> tuple[list[Array], list[list[tuple[str, int, int]]]]:
    """Small test sets with many equal scores, constant columns, negative values and overlapping segments."""
    levels = st.sampled_from([-0.5, 0.0, 0.25, 0.5, 0.75, 1.0])
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scores, segments = [], []
    for _ in range(draw(st.integers(1, 5))):
        length = draw(st.integers(1, 14))
        row = st.lists(levels, min_size=len(CLASSES), max_size=len(CLASSES))
        scores.append(np.array(draw(st.lists(row, min_size=length, max_size=length)), dtype=dtype))
        truths = []
        for _ in range(draw(st.integers(0, 3))):
            start = draw(st.integers(0, 16 * length - 1))
            truths.append(
                (draw(st.sampled_from(CLASSES)), start, draw(st.integers(start + 1, 16 * length + 2)))
            )
        segments.append(truths)
    return scores, segments


@settings(PATIENT, max_examples=300)
@given(small_sets())
def test_published_protocol_equals_its_literal_implementation(case: Any) -> None:
    scores, segments = case
    result = segment_map(scores, segments, CLASSES, "published")
    assert result.protocol == "published"
    assert list(result.per_iou) == list(IOU_THRESHOLDS)
    assert list(result.per_iou.values()) == pytest.approx(published_map(scores, segments, CLASSES), abs=1e-9)
    assert result.average == pytest.approx(np.mean(list(result.per_iou.values())))


@settings(PATIENT, max_examples=200)
@given(small_sets())
def test_corrected_protocol_equals_its_literal_implementation(case: Any) -> None:
    scores, segments = case
    result = segment_map(scores, segments, CLASSES, "corrected")
    expected = corrected_map(scores, segments, CLASSES)
    assert list(result.per_iou.values()) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_both_protocols_equal_literal_implementations_on_continuous_scores(seed: int, dtype: Any) -> None:
    """Scores of similar proposals: a wrong weight in a proposal's score would change their order."""
    rng = np.random.default_rng(seed)
    scores, segments = [], []
    for length in rng.integers(10, 40, size=25).tolist():
        scores.append(rng.random((length, 3)).astype(dtype) * rng.random(3).astype(dtype))
        starts = rng.integers(0, 16 * length - 40, size=rng.integers(0, 4)).tolist()
        labels = rng.choice(CLASSES, size=len(starts)).tolist()
        segments.append([(label, at, at + 40) for label, at in zip(labels, starts, strict=True)])
    found = segment_map(scores, segments, CLASSES, "published").per_iou.values()
    assert list(found) == pytest.approx(published_map(scores, segments, CLASSES), abs=1e-6)
    found = segment_map(scores, segments, CLASSES, "corrected").per_iou.values()
    assert list(found) == pytest.approx(corrected_map(scores, segments, CLASSES), abs=1e-6)


@settings(PATIENT, max_examples=100)
@given(small_sets(), st.randoms())
def test_corrected_protocol_ignores_the_normal_class(case: Any, random: Any) -> None:
    scores, segments = case
    result = segment_map(scores, segments, CLASSES, "corrected")
    other = [values.copy() for values in scores]
    for values in other:
        values[:, 0] = [random.random() for _ in values]
    kept = [[truth for truth in truths if truth[0] != "normal"] for truths in segments]
    changed = segment_map(other, kept, CLASSES, "corrected")
    assert list(changed.per_iou.values()) == pytest.approx(list(result.per_iou.values()), nan_ok=True)
    occurring = {truth[0] for truths in kept for truth in truths}
    assert set(result.per_class) == occurring
    assert np.isnan(result.average) == (not occurring)


def published_sets() -> list[Any]:
    return [pytest.param(ucf_crime, id="ucf-crime"), pytest.param(xd_violence, id="xd-violence")]


def arbitrary_scores(published: PublishedSet, seed: int) -> list[Array]:
    """Noise that is raised inside the segments: hits, misses and false alarms at all ranks."""
    rng = np.random.default_rng(seed)
    scores = []
    for length, truth in zip(published.snippets, perfect_scores(published), strict=True):
        noise = rng.random((length, len(published.classes)), dtype=np.float32)
        scores.append(np.maximum(0.4 * noise, truth.astype(np.float32) * rng.random(noise.shape, np.float32)))
    return scores


def perfect_scores(published: PublishedSet, least: float = 1 / 16) -> list[Array]:
    """1 where segments of the class cover at least `least` of a snippet; the normal column is 1 elsewhere."""
    scores = []
    for length, truths in zip(published.snippets, published.segments, strict=True):
        frames = np.zeros((16 * length, len(published.classes)))
        for label, start, end in truths:
            if label != "A":
                frames[int(start) : int(end), published.classes.index(label)] = 1
        values = (frames.reshape(length, 16, -1).mean(axis=1) >= least).astype(float)
        values[:, 0] = values[:, 1:].max(axis=1) == 0
        scores.append(values)
    return scores


@pytest.mark.parametrize("load", published_sets())
def test_real_ground_truth_takes_half_a_second(load: Any) -> None:
    published = load()
    scores = arbitrary_scores(published, seed=0)
    spent = []
    for protocol in ("published", "corrected", "published"):
        started = time.process_time()  # CPU time of this process, independent of the machine's load
        result = segment_map(scores, published.segments, published.classes, protocol)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.5
    assert 0 < result.average < 100


@pytest.mark.slow
@pytest.mark.parametrize("load", published_sets())
@pytest.mark.parametrize("seed", [1, 2])
def test_real_ground_truth_equals_the_literal_implementation(load: Any, seed: int) -> None:
    published = load()
    scores = arbitrary_scores(published, seed)
    result = segment_map(scores, published.segments, published.classes)
    expected = published_map(scores, published.segments, published.classes)
    assert list(result.per_iou.values()) == pytest.approx(expected, abs=1e-6)


def test_best_possible_score_on_ucf_crime_is_13_of_14() -> None:
    published = ucf_crime()
    result = segment_map(perfect_scores(published), published.segments, published.classes)
    assert result.average == pytest.approx(100 * 13 / 14)
    assert result.per_class["Normal"] == 0
    corrected = segment_map(perfect_scores(published), published.segments, published.classes, "corrected")
    assert corrected.average == pytest.approx(100)


def test_perfect_scores_do_not_reach_100_on_xd_violence() -> None:
    published = xd_violence()
    result = segment_map(perfect_scores(published, 0.5), published.segments, published.classes)
    assert 85 < result.average < 600 / 7
    assert result.per_class["A"] == 0  # a normal video's column is constant and never exceeds its threshold


def test_labels_of_xd_violence_may_be_names_or_codes() -> None:
    names = ("normal", "fighting", "shooting", "riot", "abuse", "car accident", "explosion")
    codes = ("A", "B1", "B2", "B4", "B5", "B6", "G")
    scores = [np.eye(7)[[3, 3, 5, 0, 0]], np.eye(7)[[0, 1, 2, 3, 4, 5, 6]]]
    segments = [[("B4", "0", "32"), ("B6", 32, 48)], [("A", 0, 112), ("Car-Accident", "80", 96)]]
    by_name = segment_map(scores, segments, names)
    recoded = [[segments[0][0], segments[0][1]], [segments[1][0], ("B6", 80, 96)]]
    by_code = segment_map(scores, recoded, codes)
    assert by_name.per_iou == by_code.per_iou
    assert list(by_name.per_class.values()) == list(by_code.per_class.values())
    assert by_name.per_class["car accident"] == 100


def test_a_class_without_proposals_zeroes_the_published_protocol_only() -> None:
    scores = [np.array([[0.2, 0.9, 0.5], [0.8, 0.1, 0.5]])]  # the last column is constant
    segments = [[("riot", 0, 16), ("fire", 16, 32)]]
    assert segment_map(scores, segments, CLASSES, "published").average == 0
    corrected = segment_map(scores, segments, CLASSES, "corrected")
    assert corrected.per_class == {"riot": 100, "fire": 0}
    assert corrected.average == 50


def test_a_column_without_positive_scores_has_no_proposals() -> None:
    scores = [np.array([[0.2, 0.9, -0.1], [0.8, 0.1, -0.9]])]
    corrected = segment_map(scores, [[("riot", 0, 16), ("fire", 0, 16)]], CLASSES, "corrected")
    assert corrected.per_class == {"riot": 100, "fire": 0}


def riot_map(riot: Any, segments: Any, snippet_length: int = 16) -> float:
    """Corrected mAP of the class riot from its scores per video and its segments (video, start, end)."""
    scores = [
        np.stack([np.zeros(len(column), dtype=column.dtype), column], 1) for column in map(np.array, riot)
    ]
    truths = [
        [("riot", start, end) for at, start, end in segments if at == video] for video in range(len(riot))
    ]
    return segment_map(scores, truths, ("normal", "riot"), "corrected", snippet_length).average


def test_a_run_takes_the_segment_of_highest_iou() -> None:
    column = [0.9, 0.9, 0.9, 0.9, 0.0, 0.8]
    # The first run overlaps both segments (IoU 0.25 and 0.5); the second run is left without one.
    assert riot_map([column], [(0, 0, 16), (0, 16, 96)]) == 50


def test_runs_of_one_frame_are_no_proposals() -> None:
    assert riot_map([[0, 0, 0, 0.9, 0.9, 0, 0, 0]], [(0, 3, 5)], snippet_length=1) == 100
    assert riot_map([[0, 0, 0, 0.9, 0.0, 0, 0, 0]], [(0, 3, 4)], snippet_length=1) == 0
    assert riot_map([[0, 0, 0, 0.9, 0.9, 0, 0, 0]], [(0, 5, 7)], snippet_length=1) == 0  # adjacent


def test_the_belief_of_a_short_video_is_its_highest_frame() -> None:
    """Scores 1.7 · 0.9 and 1.7 · 0.85; the mean of two frames would put the second video first."""
    assert riot_map([[0.9, 0.5, 0.0], [0.85, 0.85, 0.0]], [(0, 0, 2)], snippet_length=1) == 100


def test_equal_scores_keep_their_order_in_the_corrected_protocol() -> None:
    """Two scores by turns, which a sort that is not stable mixes; the hits are the earlier ones of 0.9."""
    one_video = [(0, 64 * index, 64 * index + 16) for index in range(25)]
    assert riot_map([[0.9, 0.0, 0.8, 0.0] * 50], one_video) == pytest.approx(100)
    videos = [(2 * index, 0, 16) for index in range(25)]
    assert riot_map([[0.9, 0.0], [0.8, 0.0]] * 50, videos) == pytest.approx(100)


def test_float32_scores_are_compared_in_float32() -> None:
    """As in the published code: equal scores 1.7 · 0.65 and 1.7 · (0.65 + 1 ulp) keep the videos' order."""
    low = np.float32(0.65)
    high = np.nextafter(low, np.float32(1))
    assert low + np.float32(0.7) * low == high + np.float32(0.7) * high
    for dtype, expected in ((np.float32, 100), (np.float64, 50)):
        assert riot_map([np.array([low, 0], dtype), np.array([high, 0], dtype)], [(0, 0, 16)]) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_scores_of_other_types_are_converted(dtype: Any) -> None:
    assert riot_map([np.array([0, 1, 0], dtype)], [(0, 16, 32)]) == 100


def test_the_published_label_of_normal_videos_is_ignored_where_it_is_no_class() -> None:
    scores, segments = [np.array([[0.1, 0.9], [0.9, 0.1]])], [[("A", 0, 32), ("arson", 0, 16)]]
    found = segment_map(scores, segments, ("Normal", "Arson"))
    assert found.per_class == {"Normal": 0, "Arson": 100}


def test_mappings_are_paired_by_name() -> None:
    scores = {
        "a": np.array([[0.1, 0.9, 0.3], [0.9, 0.1, 0.2]]),
        "b": np.array([[0.9, 0.1, 0.1], [0.1, 0.2, 0.9]]),
    }
    segments = {"b": [("fire", 16, 32)], "a": [("riot", 0, 16)]}
    assert segment_map(scores, segments, CLASSES, "corrected").average == 100


@pytest.mark.parametrize(
    ("scores", "segments", "message"),
    [
        ({"a": np.ones((2, 3))}, {"a": [("flood", 0, 9)]}, "a: unknown label 'flood'.* normal, riot, fire"),
        ({"a": np.ones((2, 3))}, {"a": [("B2", 0, 9)]}, "a: unknown label 'B2'"),  # shooting is no class here
        ({"a": np.ones((2, 3))}, {"a": [], "b": []}, "b: no scores"),
        ({"a": np.ones((2, 3)), "b": np.ones((2, 3))}, {"a": []}, "b: no ground truth"),
        ({"a": np.ones((2, 4))}, {"a": []}, r"a: class scores have shape \(2, 4\)"),
        ({"a": np.full((2, 3), np.nan)}, {"a": []}, "a: class scores contain NaN"),
        ([np.ones((2, 3)), np.ones((0, 3))], [[], []], "video 1: class scores have shape"),
        ({}, {}, "no videos"),
    ],
)
def test_errors_name_the_video(scores: Any, segments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segment_map(scores, segments, CLASSES)


def test_unknown_protocols_and_ambiguous_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="protocol must be one of published, corrected"):
        segment_map([np.ones((2, 3))], [[]], CLASSES, "official")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="differ in more than case"):
        segment_map([np.ones((2, 2))], [[]], ("Riot", "riot"))
