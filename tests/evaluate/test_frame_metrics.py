"""Frame-level metrics by their definitions; ranking, bootstrap and weighted mAP."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluate.metrics.bootstrap import (
    ConfidenceInterval,
    central,
    confidence_interval,
    draw_videos,
    weighted_map,
)
from evaluate.metrics.frames import frame_metrics
from evaluate.metrics.ranking import Ranking
from evaluate.metrics.segments import match_segments, summarise_matches

Array = NDArray[Any]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be slow


@st.composite
def frame_sets(draw: st.DrawFn) -> tuple[list[Array], list[Array]]:
    """Per-video frame scores with many ties, and their labels."""
    scores, labels = [], []
    for _ in range(draw(st.integers(1, 5))):
        length = draw(st.integers(1, 20))
        levels = st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])
        scores.append(np.array(draw(st.lists(levels, min_size=length, max_size=length))))
        labels.append(np.array(draw(st.lists(st.booleans(), min_size=length, max_size=length))))
    return scores, labels


@PATIENT
@given(frame_sets(), st.sampled_from([0.2, 0.5, 0.6]))
def test_metrics_equal_their_definitions(case: Any, threshold: float) -> None:
    scores, labels = case
    pooled, truth = np.concatenate(scores), np.concatenate(labels)
    assume(truth.any() and not truth.all())
    result = frame_metrics(scores, [found.astype(int) for found in labels], threshold)
    assert result.threshold == threshold
    assert result.auc == pytest.approx(pairs_won(pooled, truth))
    assert result.ap == pytest.approx(average_precision_score(truth, pooled))
    assert result.far == pytest.approx((pooled[~truth] >= threshold).mean())
    videos = list(zip(scores, labels, strict=True))
    inside = [np.concatenate(column) for column in zip(*(v for v in videos if v[1].any()), strict=True)]
    assert result.anomaly_auc == (None if inside[1].all() else pytest.approx(pairs_won(*inside)))
    normal = [values for values, found in videos if not found.any()]
    alarms = np.concatenate(normal) >= threshold if normal else None
    assert result.far_normal == (None if alarms is None else pytest.approx(alarms.mean()))


def pairs_won(scores: Array, labels: Array) -> float:
    """AUC by definition: share of pairs in which the anomalous frame scores higher; ties count half."""
    above = scores[labels][:, None] - scores[~labels][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def test_mappings_are_paired_by_name() -> None:
    scores = {"a": [0.1, 0.9], "b": [0.8, 0.2]}
    labels = {"b": [1, 0], "a": [0, 1]}
    result = frame_metrics(scores, labels)
    assert (result.auc, result.ap, result.anomaly_auc, result.far) == (1, 1, 1, 0)
    assert result.far_normal is None


def test_undefined_metrics_are_none() -> None:
    only_normal = frame_metrics([[0.1, 0.9]], [[0, 0]])
    assert (only_normal.auc, only_normal.ap, only_normal.anomaly_auc, only_normal.far) == (
        None,
        None,
        None,
        0.5,
    )
    only_anomalous = frame_metrics([[0.1, 0.9]], [[1, 1]])
    assert (only_anomalous.auc, only_anomalous.ap, only_anomalous.far) == (None, 1, None)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (
            {"a": [0.1, 0.2]},
            {"a": [0, 1, 1]},
            r"^a: scores of shape \(2,\), labels of shape \(3,\); both must have shape \(n_frames,\)$",
        ),
        ({"a": [0.1, np.nan]}, {"a": [0, 1]}, "a: scores contain NaN"),
        ({"a": np.zeros(9)}, {"a": np.arange(9)}, r"a: labels must be 0 or 1, found \[0, 1, 2, 3, 4\]$"),
        ({"a": [0.1]}, {"a": [0], "film": [1]}, "^film: no scores"),
        ({"a": [0.1], "film": [0.1]}, {"a": [0]}, "^film: no ground truth"),
        ({}, {"a": [0]}, "^a: no scores"),
        ([[0.1], [[0.2]]], [[0], [[1]]], "^video 1: scores of shape"),
        ([], [], "^no videos"),
    ],
)
def test_errors_name_the_video(scores: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_metrics(scores, labels)


@PATIENT
@given(frame_sets(), st.integers(0, 1000))
def test_ranking_equals_scikit_learn_under_video_weights(case: Any, seed: int) -> None:
    scores, labels = case
    weights_V = np.random.default_rng(seed).integers(0, 4, len(scores))
    pooled, truth = np.concatenate(scores), np.concatenate(labels)
    weights = np.repeat(weights_V, [len(values) for values in scores])
    ranking = Ranking.from_frames(scores, labels)
    if not weights[truth].any():
        assert np.isnan(ranking.average_precision(weights_V))
        assert np.isnan(ranking.auc(weights_V))
        return
    expected = average_precision_score(truth, pooled, sample_weight=weights)
    assert ranking.average_precision(weights_V) == pytest.approx(expected)
    if weights[~truth].any():
        expected = roc_auc_score(truth, pooled, sample_weight=weights)
        assert ranking.auc(weights_V) == pytest.approx(expected)


def test_areas_under_the_curves_equal_the_metrics() -> None:
    rng = np.random.default_rng(0)
    labels = [rng.random(50) < 0.4 for _ in range(4)]
    scores = [0.4 * found + 0.6 * rng.random(50).round(1) for found in labels]
    ranking = Ranking.from_frames(scores, labels)
    false, true = ranking.roc_curve()
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(ranking.auc())
    recall, precision = ranking.pr_curve()
    assert (np.diff(recall, prepend=0) * precision).sum() == pytest.approx(ranking.average_precision())


def test_curves_of_three_frames() -> None:
    """One normal and two anomalous frames, then one of each, by descending score."""
    ranking = Ranking.from_frames([np.array([0.9, 0.5, 0.1])], [np.array([True, False, True])])
    assert [column.tolist() for column in ranking.roc_curve()] == [[0, 0, 1, 1], [0, 0.5, 0.5, 1]]
    assert [column.tolist() for column in ranking.pr_curve()] == [[0.5, 0.5, 1], [1, 1 / 2, 2 / 3]]
    ranking = Ranking.from_frames([np.array([0.9, 0.5])], [np.array([True, False])])
    assert [column.tolist() for column in ranking.roc_curve()] == [[0, 0, 1], [0, 1, 1]]
    assert [column.tolist() for column in ranking.pr_curve()] == [[1, 1], [1, 0.5]]


def test_curves_without_frames_of_one_kind_are_zero() -> None:
    ranking = Ranking.from_frames([np.array([0.9, 0.5])], [np.array([False, False])])
    assert [column.tolist() for column in ranking.roc_curve()] == [[0, 0.5, 1], [0, 0, 0]]
    assert [column.tolist() for column in ranking.pr_curve()] == [[0, 0], [0, 0]]


def test_a_video_needs_a_label_for_each_score() -> None:
    with pytest.raises(ValueError, match="zip"):
        Ranking.from_frames([np.zeros(2), np.zeros(2)], [np.zeros(2, bool)])


def test_the_central_interval_has_equal_tails() -> None:
    assert central(0.9) == pytest.approx((0.05, 0.95))


def test_bootstrap_draws_videos_and_is_seeded() -> None:
    draws = draw_videos(7, 50, seed=3)
    assert draws.shape == (50, 7)
    assert (draws.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(draws, draw_videos(7, 50, seed=3))
    assert (draws != draw_videos(7, 50, seed=4)).any()


def test_coverage_of_the_intervals_is_close_to_the_confidence() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = rng.normal(5, 2, 60)
        found = confidence_interval(
            lambda w, v=values: float(w @ v / w.sum()), draw_videos(60, 400, trial), 0.9
        )
        assert found is not None
        covered += found.low <= 5 <= found.high
    # Expected 180, standard deviation 4.2; percentile intervals are slightly narrow.
    assert 165 <= covered <= 195


def test_intervals_leave_undefined_resamples_out() -> None:
    draws = draw_videos(3, 200, seed=0)
    found = confidence_interval(lambda w: float("nan") if w[0] else 2.0, draws, 0.95)
    assert found == ConfidenceInterval(2.0, 2.0)
    assert confidence_interval(lambda w: float("nan"), draws, 0.95) is None
    assert confidence_interval(lambda w: 1.0, draws[:0], 0.95) is None


def test_weighted_map_is_the_map_of_the_drawn_videos() -> None:
    rng = np.random.default_rng(1)
    classes = ("normal", "riot", "fire")
    scores = [rng.random((length, 3)) for length in (9, 14, 6, 11)]
    segments = [
        [("riot", 0, 60)],
        [("fire", 20, 90), ("riot", 100, 200)],
        [("normal", 0, 96)],
        [("fire", 64, 150)],
    ]
    for protocol in ("published", "corrected"):
        matches = match_segments(scores, segments, classes, protocol, 16)
        statistic = weighted_map(matches, protocol)
        assert statistic(np.array([1, 1, 1, 1])) == pytest.approx(
            summarise_matches(matches, protocol).average
        )
        assert statistic(np.array([2, 2, 2, 2])) == pytest.approx(
            summarise_matches(matches, protocol).average
        )
        drawn = match_segments(scores[1:], segments[1:], classes, protocol, 16)
        assert statistic(np.array([0, 1, 1, 1])) == pytest.approx(summarise_matches(drawn, protocol).average)


def test_weighted_map_where_a_class_has_no_proposals_or_no_segments() -> None:
    """riot is found in video 0 alone; fire has a segment in video 1, and a constant column: no proposal."""
    classes = ("normal", "riot", "fire")
    scores = [np.array([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5]]), np.array([[0.9, 0.2, 0.5], [0.1, 0.1, 0.5]])]
    segments = [[("riot", 0, 16), ("normal", 16, 32)], [("fire", 0, 16)]]
    both, first, second = np.array([1, 1]), np.array([1, 0]), np.array([0, 1])
    published = weighted_map(match_segments(scores, segments, classes, "published", 16), "published")
    assert [published(weights) for weights in (both, first)] == [0, 0]
    corrected = weighted_map(match_segments(scores, segments, classes, "corrected", 16), "corrected")
    assert [corrected(weights) for weights in (both, first, second)] == [50, 100, 0]
    assert np.isnan(corrected(np.array([0, 0])))


def test_weighted_map_counts_a_class_that_never_occurs_as_zero_in_the_published_protocol() -> None:
    scores, segments = [np.array([[0.1, 0.9], [0.9, 0.1]])], [[("riot", 0, 16)]]
    statistic = weighted_map(
        match_segments(scores, segments, ("normal", "riot"), "published", 16), "published"
    )
    assert statistic(np.array([1])) == 50
    assert statistic(np.array([0])) == 0  # without riot, normal alone is averaged
