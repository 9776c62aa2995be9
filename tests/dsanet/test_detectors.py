"""All detectors by the one protocol: registry, padding, training, checkpoints, scores, what they learn."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import dsanet.detectors.base
from dsanet.checkpoint import DRAFT, load_checkpoint, load_for_training, read_info
from dsanet.detectors.base import Detector
from dsanet.detectors.config import PRESETS, DetectorConfig, InferConfig, TextConfig, TrainConfig
from dsanet.detectors.registry import DETECTORS, build_detector, config_class, detector_preset
from dsanet.inference import infer
from dsanet.training.feature_bags import segments
from dsanet.training.loop import TrainProgress
from dsanet.training.optim import milestone_rate, plateau_drops
from dsanet.training.resume import read_progress
from dsanet.training.train import train
from evaluate.annotations import Segment, VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.predictions import anomalous_intervals
from evaluate.report.metrics_file import read_metrics
from evaluate.report.png import save_timeline
from evaluate.report.write import write_report
from evaluate.scores import read_scores, score_path
from tests.dsanet.helpers import CLASSES, Footage, make_footage, padded_bags, random_clip, weights_of

OTHERS = [name for name in DETECTORS if name != "dsanet"]
KNOWS_CLASSES = {"vadclip", "vla-gated", "dsanet"}


@pytest.fixture(scope="module", autouse=True)
def one_random_clip() -> Iterator[None]:
    """The real random CLIP, the one that the helpers share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dsanet.detectors.base, "build_clip", cache(lambda weights: (random_clip(), "random")))
        yield


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return make_footage(tmp_path_factory.mktemp("features"))


def small(detector: str, **changes: Any) -> tuple[DetectorConfig, TrainConfig, InferConfig]:
    """The preset `small` with random CLIP weights; `changes` are of the training."""
    preset = detector_preset(detector, "small")
    text = {"clip_weights": "random"} if isinstance(preset.model, TextConfig) else {}
    model = preset.model.model_copy(update=text)
    return model, preset.train.model_copy(update=changes), preset.infer


def built(detector: str) -> Detector:
    torch.manual_seed(0)
    return build_detector(small(detector)[0].model_copy(update={"classes": CLASSES})).eval()


# --- registry and presets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_has_its_settings_of_every_preset_and_builds_itself(detector: str) -> None:
    for name in PRESETS:
        preset = detector_preset(detector, name)
        assert preset.model.detector == detector
        assert config_class(detector).model_validate_json(preset.model.model_dump_json()) == preset.model
    with pytest.raises(ValueError, match="unknown preset 'shanghai'; expected one of ucf-crime"):
        detector_preset(detector, "shanghai")
    net = built(detector)
    output = net(*padded_bags([4, 9], 16))
    terms = net.loss_terms(output, torch.eye(4)[:2], torch.tensor([4, 9]))
    assert tuple(terms) == net.terms
    assert net.total_loss(terms, TrainConfig()).isfinite()
    with pytest.raises(ValueError, match="classes are empty"):
        build_detector(config_class(detector)())


def test_an_unknown_detector_names_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="no detector 'rtfm'; expected one of mil-ranking, clip-tsa, vadclip"
    ):
        config_class("rtfm")


def test_the_sources_settings() -> None:
    ranking, tsa, gated = (detector_preset(d, "ucf-crime") for d in ("mil-ranking", "clip-tsa", "vla-gated"))
    assert (ranking.model.bag_length, ranking.train.batch_size, ranking.train.optimizer) == (
        32,
        30,
        "adagrad",
    )
    assert (tsa.model.bag_length, tsa.train.steps, tsa.train.lr) == (32, 4000, 1e-3)
    assert (gated.model.bag_length, gated.train.steps, gated.train.lr) == (200, 3000, 2e-4)
    assert config_class("clip-tsa").preset("xd-violence").model.model_dump()["nominated"] == 0.9


def test_schedules() -> None:
    config = TrainConfig(lr=1.0, milestones=(4, 8))
    assert [milestone_rate(epoch, config) for epoch in (0, 3, 4, 7, 8)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )
    losses = [3.0, 2.0, 2.5, 2.0, 1.9, 2.0, 1.9, 1.9, 1.9]
    assert [plateau_drops(losses[:n], 2) for n in (3, 4, 5, 7, 9)] == [0, 1, 1, 2, 3]
    assert plateau_drops(losses, None) == 0


def test_a_video_becomes_exactly_so_many_segments() -> None:
    rows = np.arange(5, dtype=np.float32)[:, None]
    assert segments(rows, 2)[:, 0].tolist() == [0.5, 3.0]
    assert segments(rows, 8)[:, 0].tolist() == [0, 0, 1, 1, 2, 3, 3, 4]


# --- the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_videos_scores_do_not_depend_on_padding_or_company(detector: str) -> None:
    net, infer_config = built(detector), InferConfig()
    features, lengths = padded_bags([16, 7, 3], 16)
    noise = torch.where(features == 0, torch.randn_like(features), features)  # beyond each length
    with torch.no_grad():
        together = net.scores(net(features, lengths), lengths, infer_config)
        noisy = net.scores(net(noise, lengths), lengths, infer_config)
        alone = net.scores(net(features[1:2, :7], lengths[1:2]), lengths[1:2], infer_config)
    assert ("classes" in together) == (detector in KNOWS_CLASSES)
    for name in together.keys() & {"anomaly", "classes"}:
        torch.testing.assert_close(together[name][1, :7], alone[name][0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together[name][1, :7], noisy[name][1, :7], atol=1e-5, rtol=0)
    if "classes" in together:
        torch.testing.assert_close(together["classes"].sum(-1), torch.ones(3, 16))
    assert together["anomaly"].std() > 0


@pytest.mark.parametrize("detector", DETECTORS)
def test_gradients_reach_every_trained_tensor_and_nothing_of_clip(detector: str) -> None:
    net = built(detector).train()
    features, lengths = padded_bags([16, 9, 16, 5], 16)
    terms = net.loss_terms(net(features, lengths), torch.eye(4), lengths)
    net.total_loss(terms, TrainConfig()).backward()
    for name, parameter in net.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached != name.startswith("text.tower."), name


# --- training, checkpoints, scores --------------------------------------------------------------------------


class KilledError(Exception):
    pass


@pytest.mark.parametrize("detector", ["mil-ranking", "clip-tsa", "vla-gated"])
def test_a_run_killed_and_resumed_ends_with_the_same_bits(
    detector: str, footage: Footage, tmp_path: Path
) -> None:
    """Dropout, the noise of the top-κ, batch statistics, the plateau: all go on where they were."""
    model, config, _ = small(detector, epochs=5, save_every=3, plateau=1)
    whole = train(footage.records, footage.features_dir, tmp_path / "whole", model, config)

    def kill(progress: TrainProgress) -> None:
        if progress.step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train(footage.records, footage.features_dir, tmp_path / "parts", model, config, on_progress=kill)
    assert read_progress(tmp_path / "parts" / DRAFT)["step"] == 3
    parts = train(footage.records, footage.features_dir, tmp_path / "parts", model, config)
    expected, got = weights_of(whole), weights_of(parts)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    for name in ("model.json", "curves.csv"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_steps_can_be_given_instead_of_epochs(footage: Footage, tmp_path: Path) -> None:
    model, config, _ = small("mil-ranking", steps=7, epochs=1)
    seen: list[TrainProgress] = []
    train(footage.records, footage.features_dir, tmp_path, model, config, on_progress=seen.append)
    assert [(p.step, p.steps) for p in seen] == [(step, 7) for step in range(1, 8)]
    assert seen[-1].epoch == seen[-1].epochs
    assert "val_auc" in read_info(tmp_path).metrics


@pytest.mark.parametrize("detector", OTHERS)
def test_a_checkpoint_scores_without_clip_and_can_be_trained_on(
    detector: str, footage: Footage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config, infer_config = small(detector, epochs=1)
    out = train(footage.records, footage.features_dir, tmp_path / "model", model, config, infer=infer_config)
    assert load_for_training(out).info.model.detector == detector
    train(footage.records, footage.features_dir, tmp_path / "on", model, config, start_from=out)
    monkeypatch.delattr(dsanet.detectors.base, "build_clip")
    net, info = load_checkpoint(out)
    assert not [name for name in net.state_dict() if ".tower." in name]
    assert info.model.classes == ("normal", "fire", "riot")
    assert info.parameters > 100_000
    names = [record.name for record in footage.records if record.split == "test"]
    infer(names, footage.features_dir, out, tmp_path / "scores", infer_config)
    scores = read_scores(score_path(tmp_path / "scores", names[0]))
    assert (scores.classes_TC is not None) == (detector in KNOWS_CLASSES)
    assert len(scores.anomaly_T) == len(footage.truth[names[0]])


def test_a_detector_without_classes_says_so_instead_of_guessing(footage: Footage, tmp_path: Path) -> None:
    model, config, infer_config = small("mil-ranking", epochs=1)
    out = train(footage.records, footage.features_dir, tmp_path / "model", model, config)
    assert "CLIP features in place of the C3D of Sultani et al." in read_info(out).notes
    tests = [record for record in footage.records if record.split == "test"]
    infer([r.name for r in tests], footage.features_dir, out, tmp_path / "scores", infer_config)
    evaluation = evaluate_scores(
        tmp_path / "scores", [truth_of(footage, r.name, r.labels) for r in tests], EvaluateConfig(bootstrap=5)
    )
    page = write_report(tmp_path / "report", evaluation, title="Ranking")
    metrics = read_metrics(tmp_path / "report" / "metrics.json")
    assert metrics["auc"] is not None
    assert metrics["map"] is None
    assert metrics["video"]["accuracy"] is None
    reason = "the detector separates only normal from anomalous and gives no class scores"
    for metric in ("map", "accuracy", "anomaly_accuracy"):
        assert metrics["missing"][metric] == reason
    assert metrics["per_class"][1]["accuracy"] is None
    assert metrics["per_class"][1]["detection_auc"] is not None
    assert reason in page.read_text()
    scores = read_scores(score_path(tmp_path / "scores", tests[1].name))
    intervals = anomalous_intervals(scores, 0.0)
    assert {interval.label for interval in intervals} == {"anomalous"}
    assert save_timeline(tmp_path / "timeline.png", scores, intervals).is_file()


def truth_of(footage: Footage, name: str, labels: tuple[str, ...]) -> VideoTruth:
    """The planted snippets as a segment."""
    anomalous = np.flatnonzero(footage.truth[name])
    if not len(anomalous):
        return VideoTruth(name, labels, ())
    return VideoTruth(
        name, labels, (Segment(labels[0], int(anomalous[0]) * 16, int(anomalous[-1] + 1) * 16),)
    )


# --- what they learn ----------------------------------------------------------------------------------------

EPOCHS = {"mil-ranking": 40, "clip-tsa": 30, "vla-gated": 8, "vadclip": 15}


def frame_auc(detector: str, footage: Footage, folder: Path, seed: int = 0) -> float:
    """AUC of snippets of the test videos, by a detector trained on the videos' labels."""
    model, config, infer_config = small(detector, epochs=EPOCHS[detector], seed=seed)
    out = train(footage.records, footage.features_dir, folder / "model", model, config)
    names = [record.name for record in footage.records if record.split == "test"]
    infer(names, footage.features_dir, out, folder / "scores", infer_config)
    rows = {name: footage.measured.get(name, slice(None)) for name in names}
    scores = [read_scores(score_path(folder / "scores", name)).anomaly_T[rows[name]] for name in names]
    truth = [footage.truth[name][rows[name]] for name in names]
    return float(roc_auc_score(np.concatenate(truth), np.concatenate(scores)))


@pytest.mark.parametrize(
    "detector", [*(d for d in OTHERS if d != "vadclip"), pytest.param("vadclip", marks=pytest.mark.slow)]
)
def test_it_learns_where_from_video_labels(detector: str, footage: Footage, tmp_path: Path) -> None:
    assert frame_auc(detector, footage, tmp_path) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("detector", OTHERS)
def test_shuffled_labels_show_no_skill(detector: str, tmp_path: Path) -> None:
    """Of the videos of each true label every other one is called normal, the rest by an anomaly's name.

    Then the others are: what little such labels agree with the truth by chance, these disagree. In normal
    videos something harmless happens, and only what happens is measured: that something stands out needs
    no labels, and detectors that go by the length of features see it without.
    """
    found = []
    for run in range(6):
        seed, called_normal = divmod(run, 2)
        footage = make_footage(tmp_path / f"features{run}", train=32, test=20, seed=seed, harmless=True)
        turn: dict[str, int] = {}
        records = []
        for record in footage.records:
            place = turn[record.labels[0]] = turn.get(record.labels[0], -1) + 1
            label = "normal" if place % 2 == called_normal else ("fire", "riot")[place // 2 % 2]
            labels = record.labels if record.split == "test" else (label,)
            records.append(type(record)(record.name, record.path, labels, record.split))
        planted = footage._replace(records=records)
        found.append(frame_auc(detector, planted, tmp_path / f"run{run}", seed))
    assert 0.25 <= np.mean(found) <= 0.75, found


def test_harmless_events_are_told_from_anomalies_by_labels_alone(tmp_path: Path) -> None:
    """The footage of the test above can be learned: what shuffled labels lack is the labels."""
    footage = make_footage(tmp_path / "features", train=32, test=20, harmless=True)
    assert frame_auc("mil-ranking", footage, tmp_path) >= 0.85
