"""Paired difference of two models: values, intervals narrower than unpaired ones, errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.metrics.paired_difference import paired_differences, whole_figures
from evaluate.scores import read_scores, score_path, write_scores
from tests.evaluate.videos import small_test_set, video_scores, write_run

QUANTILES = {"low": 0.05, "middle": 0.5, "resamples": 200, "seed": 0}
FIGURES = ("auc", "map_corrected", "video_auc")
ALL = (
    *("accuracy", "video_auc", "video_ap", "auc", "ap", "anomaly_auc", "far"),
    *("map_published", "map_corrected"),
)


def test_metrics_equal_those_of_each_evaluation(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "a", small_test_set(), seed=1)
    write_run(tmp_path / "b", small_test_set(), seed=2)
    # A snippet exactly at the threshold counts as a false alarm in both.
    scores = read_scores(score_path(tmp_path / "b", "quiet0"))
    raised = np.where(np.arange(len(scores.anomaly_T)) == 2, 0.5, scores.anomaly_T)
    write_scores(score_path(tmp_path / "b", "quiet0"), replace(scores, anomaly_T=raised), {})
    found = paired_differences(tmp_path / "a", tmp_path / "b", truths, ALL, **QUANTILES)
    assert found == paired_differences(tmp_path / "a", tmp_path / "b", truths, ALL, **QUANTILES)
    for folder, side in (("a", "first"), ("b", "second")):
        evaluation = evaluate_scores(tmp_path / folder, truths, EvaluateConfig(bootstrap=0))
        frame, video = evaluation.frame, evaluation.video
        assert frame is not None
        expected = {
            "accuracy": video.accuracy,
            "video_auc": video.auc,
            "video_ap": video.ap,
            **{name: getattr(frame, name) for name in ("auc", "ap", "anomaly_auc", "far")},
            **{f"map_{name}": one.average / 100 for name, one in evaluation.segments.items()},
        }
        assert {name: getattr(one, side) for name, one in found.items()} == pytest.approx(expected)
        assert whole_figures(tmp_path / folder, truths, ALL) == pytest.approx(expected)
    assert all(one.low <= one.middle <= one.high for one in found.values())


def test_undefined_and_unknown_figures_are_left_out(tmp_path: Path) -> None:
    truths = [truth for truth in write_run(tmp_path, small_test_set()) if truth.is_normal]
    assert set(whole_figures(tmp_path, truths, (*ALL, "auk"))) == {"accuracy", "far", "map_published"}


def test_a_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    truths = write_run(tmp_path, small_test_set())
    for one in paired_differences(tmp_path, tmp_path, truths, FIGURES, **QUANTILES).values():
        assert (one.low, one.middle, one.high) == (0, 0, 0)


def test_a_worse_model_is_detected_and_pairing_narrows_the_interval(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "good", small_test_set())
    rng = np.random.default_rng(0)
    for truth in truths:
        scores = read_scores(score_path(tmp_path / "good", truth.name))
        noisy = np.clip(scores.anomaly_T + rng.normal(0, 0.1, len(scores.anomaly_T)), 0, 1)
        write_scores(score_path(tmp_path / "near", truth.name), replace(scores, anomaly_T=noisy), {})
        write_scores(
            score_path(tmp_path / "blind", truth.name), video_scores(truth.name, scores.n_frames, seed=7), {}
        )
    blind = paired_differences(tmp_path / "good", tmp_path / "blind", truths, ("auc",), **QUANTILES)["auc"]
    assert blind.high < 0
    near = paired_differences(tmp_path / "good", tmp_path / "near", truths, ("auc",), **QUANTILES)["auc"]
    config = EvaluateConfig(bootstrap=200, confidence=0.9)
    alone = evaluate_scores(tmp_path / "near", truths, config).confidence["auc"]
    assert alone is not None
    assert near.high - near.low < alone.high - alone.low


def test_errors_give_the_reason_for_a_missing_metric(tmp_path: Path) -> None:
    truths = write_run(tmp_path, small_test_set())
    blurred = [replace(truth, segments=None) if truth.name == "fire" else truth for truth in truths]
    with pytest.raises(ValueError, match=r"no auc: 1 anomalous video.*without temporal annotations.*fire"):
        paired_differences(tmp_path, tmp_path, blurred, ("auc",), **QUANTILES)
    with pytest.raises(ValueError, match="no map_corrected: 1 anomalous video"):
        paired_differences(tmp_path, tmp_path, blurred, ("map_corrected",), **QUANTILES)
    normal = [truth for truth in truths if truth.is_normal]
    with pytest.raises(ValueError, match="no auc: all videos are normal, or all are anomalous"):
        paired_differences(tmp_path, tmp_path, normal, ("auc",), **QUANTILES)
    with pytest.raises(ValueError, match="no auk, mop: available: accuracy, video_auc, video_ap, auc"):
        paired_differences(tmp_path, tmp_path, truths, ("auk", "mop"), **QUANTILES)
