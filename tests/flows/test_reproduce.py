"""Published experiments from lists and arrays to figures, against the published protocols."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from dsanet.checkpoint import read_info
from dsanet.training.train import TEST_NOTE
from evaluate.annotations import read_annotation_file
from evaluate.report.metrics_file import read_metrics
from evaluate.scores import read_scores, score_path
from extract.errors import InputError, MissingFileError
from extract.store import feature_path, read_features
from flows.pipeline.reproduce import Experiment, reproduce
from flows.workspace.workspace import Workspace
from tests.dsanet.reference import Reference, belief_modulation
from tests.dsanet.test_released_weights import random_release, save
from tests.evaluate.oracle import published_map
from tests.evaluate.published import UCF_CLASSES
from tests.flows.commands import Dsanet
from tests.flows.published_experiment import SNIPPETS, frame_truth, segment_truth, write_experiment


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_experiment(folder)
    return folder


def experiment(folder: Path, **changes: object) -> Experiment:
    values = {"dataset": "ucf-crime", "features": folder / "features", "lists": folder / "lists"}
    return Experiment(**values | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights in the form of DSANet's release for UCF-Crime, random."""
    return save(random_release("ucf-crime"), tmp_path_factory.mktemp("weights") / "model_ucf.pth", False)


@pytest.fixture(scope="module")
def reproduced(published: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ws")
    settings = ["evaluate.bootstrap=20"]
    result = reproduce(experiment(published, weights=weights, settings=settings), out)
    assert [(figure.figure, figure.paper) for figure in result.figures[:3]] == [
        ("AUC", 89.44),
        ("AP", None),
        ("Ano-AUC", None),
    ]
    assert result.notes == []
    return out


def test_figures_are_those_of_the_published_protocol(
    published: Path, weights: Path, reproduced: Path
) -> None:
    """Scores by a rewrite of the authors' model with the same weights, figures by the published steps."""
    state = torch.load(weights, weights_only=True)
    texts = [name.lower() for name in UCF_CLASSES]
    reference = Reference(state, texts, window=8, adapter_layers=3, adapter_weight=0.1, release=True)
    padded = torch.zeros(len(SNIPPETS), 256, 512)
    for row, (name, snippets) in zip(padded, SNIPPETS.items(), strict=True):
        (path,) = (published / "features").rglob(f"{name}__5.npy")
        row[:snippets] = torch.from_numpy(np.load(path).astype(np.float32))
    output = reference.forward(padded, list(SNIPPETS.values()))
    anomaly, classes = [], []
    for video, snippets in enumerate(SNIPPETS.values()):
        logits, alignment = (output[key][video : video + 1, :snippets] for key in ("anomaly", "classes"))
        anomaly.append(torch.sigmoid(logits[0]).numpy())
        classes.append(belief_modulation(logits, alignment, 5.0)[0].numpy())
    truth = np.concatenate([frame_truth(name) for name in SNIPPETS])
    scores = np.repeat(np.concatenate(anomaly), 16)
    metrics = read_metrics(reproduced / "report" / "metrics.json")
    assert metrics["auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-5)
    assert metrics["ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-5)
    ours = [read_scores(score_path(reproduced / "scores", name)) for name in SNIPPETS]
    for one, expected in zip(ours, classes, strict=True):
        np.testing.assert_allclose(one.classes_TC, expected, atol=1e-5)
    segments = [segment_truth(name) for name in SNIPPETS]
    expected_map = published_map([one.classes_TC for one in ours], segments, UCF_CLASSES)
    assert list(metrics["map"]["published"]["per_iou"].values()) == pytest.approx(expected_map, abs=1e-9)
    assert metrics["paper"]["dataset"] == "UCF-Crime"
    assert "paper" in (reproduced / "report" / "index.html").read_text()


def test_the_ground_truth_is_cut_to_whole_snippets(reproduced: Path) -> None:
    found = read_annotation_file(reproduced / "features" / "manifest.annotations.csv")
    by_name = {path.stem: frames for path, frames in found.frames.items()}
    assert by_name.keys() == {"Fighting003_x264", "Arson011_x264"}
    assert found.segments[next(path for path in found.segments if path.stem == "Arson011_x264")] == [
        ("arson", 60, 150),
        ("arson", 250, 260),
    ]
    assert read_features(feature_path(reproduced / "features", "Abuse028_x264")).features.shape == (9, 1, 512)


def test_the_steps_one_by_one_give_the_same_scores(
    published: Path, weights: Path, reproduced: Path, tmp_path: Path, dsanet: Dsanet
) -> None:
    ws, lists = tmp_path / "ws", published / "lists"
    truth = lists / "Temporal_Anomaly_Annotation.txt"
    listed = ("--manifest", lists / "ucf_CLIP_rgb.csv", "--manifest", lists / "ucf_CLIP_rgbtest.csv")
    code, out, err = dsanet(
        "import-features", published / "features", *listed, "--annotations", truth, "--out", ws
    )
    assert (code, "9 videos imported, 0 missing" in out) == (0, True), err
    code, _, err = dsanet("import-weights", weights, "--preset", "ucf-crime", "--out", ws / "model")
    assert code == 0, err
    code, _, err = dsanet("infer", "--out", ws)
    assert code == 0, err
    for name in SNIPPETS:
        ours, theirs = (read_scores(score_path(folder / "scores", name)) for folder in (ws, reproduced))
        np.testing.assert_array_equal(ours.anomaly_T, theirs.anomaly_T)
    annotations = "features/manifest.annotations.csv"
    assert (ws / annotations).read_text() == (reproduced / annotations).read_text()


def test_missing_arrays_are_named_or_skipped_and_counted(
    published: Path, weights: Path, tmp_path: Path
) -> None:
    features = tmp_path / "features"
    features.mkdir()
    for path in sorted((published / "features").rglob("*__5.npy")):
        (features / path.name).symlink_to(path)
    (features / "Arson011_x264__5.npy").unlink()
    asked = experiment(published, features=features, weights=weights, settings=["evaluate.bootstrap=0"])
    with pytest.raises(InputError, match=r"Arson011_x264: no array Arson011_x264__5\.npy in or below"):
        reproduce(asked, tmp_path / "ws")
    asked = experiment(
        published, features=features, weights=weights, skip_missing=True, settings=asked.settings
    )
    result = reproduce(asked, tmp_path / "ws")
    expected = "1 of 5 listed videos lack valid arrays and are left out: Arson011_x264"
    assert result.notes == [expected]
    metrics = read_metrics(tmp_path / "ws" / "report" / "metrics.json")
    assert any("1 videos could not be read and are left out" in note for note in metrics["notes"])
    assert result.figures[0].paper == 89.44


@pytest.mark.slow
def test_a_training_is_judged_by_both_selections(published: Path, tmp_path: Path) -> None:
    settings = [
        "model.clip_weights=random",
        "model.bag_length=16",
        "model.layers=1",
        "model.decoder_layers=1",
        "train.epochs=2",
        "train.batch_size=2",
        "evaluate.bootstrap=0",
    ]
    asked = experiment(published, seeds=2, settings=settings)
    result = reproduce(asked, tmp_path / "ws")
    assert [len(reports) for reports in result.reports.values()] == [2, 2]
    auc = result.figures[0]
    assert auc.figure == "AUC"
    last, best = auc.ours["last update"], auc.ours["best on the test set"]
    assert last is not None
    assert best is not None
    assert best[0] >= last[0]
    assert last[1] is not None
    info = read_info(tmp_path / "ws" / "model")
    assert info.model.variant == "release"  # type: ignore[attr-defined]
    assert info.train is not None
    assert (info.train.optimizer, info.train.select_on) == ("release-pair", "none")
    assert TEST_NOTE not in info.notes
    selected = read_info(tmp_path / "ws" / "published-selection" / "model")
    assert selected.notes == (TEST_NOTE,)
    metrics = read_metrics(tmp_path / "ws" / "published-selection" / "report" / "metrics.json")
    assert metrics["auc"] == pytest.approx(selected.metrics["auc"], abs=1e-6)
    written = (tmp_path / "ws" / "model" / "model.json").stat().st_mtime_ns
    assert reproduce(asked, tmp_path / "ws").figures == result.figures
    assert (tmp_path / "ws" / "model" / "model.json").stat().st_mtime_ns == written


def test_what_is_missing_is_said_before_anything_is_written(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "ws"
    for changes, message in (
        ({"dataset": "shanghai"}, "no data set 'shanghai'; expected one of ucf-crime, xd-violence"),
        (
            {"detector": "mil-ranking"},
            "no published experiment with 'mil-ranking'; expected dsanet or vadclip",
        ),
        ({"lists": tmp_path}, "no ucf_CLIP_rgb.csv in"),
        ({"features": tmp_path / "none"}, "no folder .*none; expected the published arrays"),
        ({"dataset": "xd-violence"}, "no xd_CLIP_rgb.csv in"),
        ({"weights": tmp_path / "none.pth"}, "no weights at .*none.pth"),
        (
            {"weights": published / "lists" / "ucf_CLIP_rgb.csv", "seeds": 2},
            "several seeds are for trainings",
        ),
        ({"settings": ["model.clip_weights=/none.pt"]}, "no CLIP weights at /none.pt"),
    ):
        with pytest.raises(InputError, match=message):
            reproduce(experiment(published, **changes), out)
    lists = tmp_path / "lists"
    lists.mkdir()
    for path in (published / "lists").glob("*.csv"):
        (lists / path.name).write_bytes(path.read_bytes())
    with pytest.raises(MissingFileError, match=r"no annotations in .*; expected Temporal_Anomaly_Annotation"):
        reproduce(experiment(published, lists=lists), out)
    assert not Workspace(out).root.exists()


def test_another_experiment_of_a_workspace_is_not_overwritten(
    published: Path, weights: Path, reproduced: Path
) -> None:
    before = (reproduced / "model" / "model.json").read_bytes()
    for changes in ({"weights": weights, "detector": "vadclip"}, {"settings": ["model.clip_weights=random"]}):
        with pytest.raises(InputError, match="holds another experiment"):
            reproduce(experiment(published, **changes), reproduced)
    assert (reproduced / "model" / "model.json").read_bytes() == before
