"""The promotion rule and drift: which challengers are promoted, which footage causes a warning."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate.annotations import VideoTruth
from evaluate.scores import score_path, write_scores
from flows.library.records import Video
from flows.retraining import drift
from flows.retraining.drift import drift_charts, feature_drift, score_drift
from flows.retraining.model_versions import newly_labelled
from flows.retraining.promotion import Audit, check_gate, decide_promotion, gate_fingerprint
from flows.retraining.steps import summarise
from flows.workspace.retrain_config import DriftConfig, GateConfig
from flows.workspace.versions import TrainingVideo
from tests.evaluate.videos import informed_scores, small_test_set, write_run

Truths = list[VideoTruth]


def write_scores_of(folder: Path, skill: float) -> Truths:
    """Write scores that follow the annotations with `skill` 1, ignore them with 0, invert them with -1."""
    videos = small_test_set()
    for index, (truth, n_frames) in enumerate(videos):
        scores = informed_scores(truth, n_frames, seed=index)
        anomaly = np.clip(0.5 + skill * (scores.anomaly_T - 0.45), 0, 1)
        write_scores(score_path(folder, truth.name), replace(scores, anomaly_T=anomaly), {})
    return [truth for truth, _ in videos]


@pytest.mark.parametrize(("skill", "promoted"), [(1.0, True), (0.5, True), (0.0, False), (-1.0, False)])
def test_only_a_challenger_that_is_not_worse_is_promoted(
    skill: float, promoted: bool, tmp_path: Path
) -> None:
    write_scores_of(tmp_path / "champion", 1.0)
    truths = write_scores_of(tmp_path / "challenger", skill)
    decision = decide_promotion("key", tmp_path / "champion", tmp_path / "challenger", truths, GateConfig())
    assert decision.promoted is promoted
    assert set(decision.figures) == {"auc", "map_corrected"}
    assert ("not worse" in decision.reason) is promoted
    assert decision.gate_fingerprint == gate_fingerprint(truths, GateConfig())
    assert (decision.audit, decision.audit_fingerprint) == ({}, "")  # without an audit split


def test_a_lower_quantile_is_harder_to_pass(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "champion", small_test_set(), seed=1)
    write_run(tmp_path / "challenger", small_test_set(), seed=2)
    places = (tmp_path / "champion", tmp_path / "challenger", truths)
    lenient, strict = (
        decide_promotion("key", *places, GateConfig(margins={"auc": 0.05}, quantile=quantile)).figures["auc"]
        for quantile in (0.5, 0.05)
    )
    assert strict.difference == strict.low < lenient.difference
    assert (strict.champion, strict.challenger) == (lenient.champion, lenient.challenger)


def test_the_fingerprint_depends_on_the_test_split_and_the_settings(tmp_path: Path) -> None:
    truths = [truth for truth, _ in small_test_set()]
    fingerprint = gate_fingerprint(truths, GateConfig())
    assert fingerprint == gate_fingerprint(truths, GateConfig())
    assert len(fingerprint) == 16  # as in stored decisions
    assert fingerprint != gate_fingerprint(truths[1:], GateConfig())
    assert fingerprint != gate_fingerprint(truths, GateConfig(margins={"auc": 0.005}))


def test_without_annotations_the_gate_takes_video_level_figures_only() -> None:
    blurred = [replace(truth, segments=None) for truth, _ in small_test_set() if not truth.is_normal]
    with pytest.raises(ValueError, match=r"auc, map_corrected, which need temporal annotations"):
        check_gate(blurred, GateConfig())
    check_gate(blurred, GateConfig(margins={"video_auc": 0.01}))


def test_the_gate_may_judge_the_events_found_at_a_rate_of_false_alarms(tmp_path: Path) -> None:
    """The champion's alarms follow the events; the challenger's are in normal footage."""
    truths = write_scores_of(tmp_path / "champion", 1.0)
    write_scores_of(tmp_path / "challenger", -1.0)
    gate = GateConfig(margins={"events_at_0.1": 0.02, "events_at_1": 0.02, "events_at_10": 0.1})
    decision = decide_promotion("key", tmp_path / "champion", tmp_path / "challenger", truths, gate)
    assert not decision.promoted
    for name, one in decision.figures.items():
        assert (one.champion, one.challenger, one.holds) == (1.0, 0.0, False)
        assert f"{name} {one.difference:+.4f} (margin {one.margin:g})" in decision.reason
    same = decide_promotion("key", tmp_path / "champion", tmp_path / "champion", truths, gate)
    assert same.promoted
    blurred = [replace(truth, segments=None) for truth in truths if not truth.is_normal]
    with pytest.raises(ValueError, match="the gate needs events_at_1, which need temporal annotations"):
        check_gate(blurred, GateConfig(margins={"events_at_1": 0.02}))


def test_the_audit_split_shows_the_figures_that_it_allows(tmp_path: Path) -> None:
    champion, challenger = tmp_path / "champion", tmp_path / "challenger"
    truths = write_scores_of(champion, 1.0)
    write_scores_of(challenger, -1.0)
    gate = GateConfig(margins={"auc": 0.005, "video_auc": 0.005}, resamples=20)
    # Without temporal annotations there is no frame AUC.
    blurred = [truth if truth.is_normal else replace(truth, segments=None) for truth in truths]
    decision = decide_promotion(
        "key", champion, challenger, truths, gate, audit=Audit(champion, challenger, blurred)
    )
    assert set(decision.audit) == {"video_auc"}
    assert decision.audit["video_auc"].champion == decision.figures["video_auc"].champion
    assert decision.audit["video_auc"].challenger == decision.figures["video_auc"].challenger
    assert decision.audit_fingerprint == gate_fingerprint(blurred, gate)


def around(centre: np.ndarray, spread: float, count: int, seed: int) -> np.ndarray:
    """(V, D) mean features of videos scattered around a scene."""
    return centre + spread * np.random.default_rng(seed).normal(size=(count, 512))


def test_only_footage_of_another_place_is_a_feature_drift() -> None:
    here, elsewhere = np.random.default_rng(0).normal(size=(2, 512))
    training = around(here, 0.3, 30, 1)
    config = DriftConfig()
    found = {
        "same": feature_drift(training, around(here, 0.3, 12, 2), config),
        "near": feature_drift(training, around(here, 0.05, 12, 3), config),
        "other": feature_drift(training, around(elsewhere, 0.3, 12, 4), config),
    }
    assert [name for name, drift in found.items() if drift and drift.warns] == ["other"]
    assert found["other"] is not None
    assert found["other"].distance == 1
    histograms, curves = drift_charts(found["other"], config)
    assert "cosine distance" in histograms
    assert "threshold, ± 0.3" in curves
    assert feature_drift(training, training[:0], config) is None
    few = feature_drift(training[:2], training[2:3], config)
    assert few is not None
    assert few.training_V[0] == pytest.approx(few.training_V[1])  # each is the other's only neighbour


def test_of_very_many_videos_a_sample_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distances are those of the same videos in a comparison of all."""
    centre = np.random.default_rng(0).normal(size=512)
    training, new = around(centre, 0.3, 40, 1), around(centre, 0.4, 30, 2)
    training[7] = training[8]  # the nearest other video may be the same picture
    everything = feature_drift(training, new, DriftConfig())
    monkeypatch.setattr(drift, "MOST_COMPARED", 20)
    sampled = feature_drift(training, new, DriftConfig())
    assert everything is not None
    assert sampled is not None
    assert (len(sampled.training_V), len(sampled.new_V)) == (20, 20)
    for some, of_all in ((sampled.training_V, everything.training_V), (sampled.new_V, everything.new_V)):
        assert np.abs(some[:, None] - of_all).min(axis=1).max() < 1e-9
    again = feature_drift(training, new, DriftConfig())
    assert again is not None
    assert np.array_equal(again.training_V, sampled.training_V)


def test_some_thousand_videos_give_a_p_value_without_a_warning() -> None:
    """SciPy's exact p-value overflows there; tests treat warnings as errors."""
    random = np.random.default_rng(0)
    found = drift._two_sample_test(random.random(5000), random.random(1000), "greater")
    assert 0 < found.pvalue < 1


def test_different_scores_are_a_drift_if_they_are_significant() -> None:
    random = np.random.default_rng(0)
    training = random.uniform(0, 0.3, 50).tolist()
    config = DriftConfig()
    for new, warns in (
        (random.uniform(0, 0.3, 20), False),
        (random.uniform(0.3, 0.9, 20), True),
        (np.array([0.9]), False),  # a large distance, but a single video
    ):
        drift = score_drift(training, new.tolist(), config)
        assert drift is not None
        assert drift.warns is warns
    assert score_drift(training, [], config) is None


def test_the_entropy_is_highest_for_equal_class_probabilities() -> None:
    (truth, n_frames), *_ = small_test_set()
    scores = informed_scores(truth, n_frames, seed=0)
    length = len(scores.anomaly_T)
    sure = replace(scores, classes_TC=np.tile([0.98, 0.01, 0.01], (length, 1)))
    torn = replace(scores, classes_TC=np.tile([1 / 3, 1 / 3, 1 / 3], (length, 1)))
    assert summarise(torn).entropy == pytest.approx(np.log2(3))
    assert summarise(sure).entropy < 0.2
    assert summarise(torn).anomaly == summarise(sure).anomaly


def test_newly_labelled_videos_are_those_not_trained_on_with_these_labels() -> None:
    def video(name: str, labels: tuple[str, ...] | None, split: str = "train") -> Video:
        return Video(name, name, split, labels, "", (Path(name),))

    training = [TrainingVideo(digest=n, labels=("normal",), split="train") for n in ("old", "relabelled")]
    videos = [
        video("old", ("normal",)),
        video("relabelled", ("fire",)),
        video("new", ("normal",)),
        video("unlabelled", None),
        video("test", ("fire",), "test"),
    ]
    assert [one.name for one in newly_labelled(videos, training)] == ["relabelled", "new"]
