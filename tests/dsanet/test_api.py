"""The public API of `dsanet`: names, signatures, lazy imports, and the examples in the docstrings."""

import csv
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dsanet
from dsanet.detectors.config import InferConfig
from tests.dsanet.helpers import make_footage, write_video
from tests.dsanet.test_inference import Place
from tests.dsanet.test_released_weights import random_release

SIGNATURES = {
    "CausalScorer": "checkpoint, config=None, *, reuse=True",
    "DSANet": "config, text=None",
    "Scorer": "checkpoint, config=None",
    "belief_modulation": "anomaly_logits_BT, classes_BTC, beta",
    "build_detector": "config, text=None",
    "import_release": "path, preset, detector='dsanet'",
    "infer": "names, features_dir, checkpoint_dir, scores_dir, config, *, device='auto', causal=False, "
    "on_progress=None, score=None",
    "load_checkpoint": "checkpoint_dir, device='cpu'",
    "loss_terms": "output, labels_BC, lengths_B, variant",
    "train": "records, features_dir, out_dir, model, config, *, infer=None, device='auto', devices=(), "
    "start_from=None, on_progress=None, on_epoch=None",
}
IN_ORDER_OF_A_SESSION = (
    "belief_modulation",
    "build_detector",
    "DSANet",
    "loss_terms",
    "import_release",
    "train",
    "load_checkpoint",
    "infer",
    "Scorer",
    "CausalScorer",
)


def test_the_root_exports_these_names() -> None:
    assert dsanet.__all__ == sorted(SIGNATURES)
    assert set(SIGNATURES) <= set(dir(dsanet))
    with pytest.raises(AttributeError, match="module 'dsanet' has no attribute 'nothing'"):
        _ = dsanet.nothing


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_the_documented_ones(name: str) -> None:
    signature = inspect.signature(getattr(dsanet, name))
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(parameters)) == f"({SIGNATURES[name]})"


def test_importing_the_root_alone_loads_no_libraries() -> None:
    code = "import sys, dsanet; print({'torch', 'pydantic', 'numpy'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_an_imported_submodule_does_not_hide_an_exported_function() -> None:
    code = "import dsanet.inference; from dsanet import infer; print(infer.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "infer\n"


def test_the_examples_in_the_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(IN_ORDER_OF_A_SESSION) == sorted(SIGNATURES)
    monkeypatch.chdir(tmp_path)
    footage = make_footage(Path("ws/features"), train=8, test=2)
    (tmp_path / "ws/features/video009.h5").rename("ws/features/unused.h5")
    with Path("videos.csv").open("w", newline="") as file:
        rows = [(record.name, "|".join(record.labels), "train") for record in footage.records[:8]]
        csv.writer(file).writerows([("path", "labels", "split"), *rows])
    for record in footage.records:
        Path(record.name).touch()
    make_camera(Path("ws/features"))
    torch.save(random_release("xd-violence"), "model_xd.pth")
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name in IN_ORDER_OF_A_SESSION:
        [example] = finder.find(getattr(dsanet, name), name, globs={})
        assert example.examples, f"{name} has no example"
        runner.run(example)
    assert runner.summarize().failed == 0


def make_camera(folder: Path) -> None:
    """A feature file of the video that the examples score."""
    write_video(folder, "camera1", np.random.default_rng(0).normal(size=(20, 512)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def test_an_array_gets_the_scores_of_its_feature_file(place: Place) -> None:
    for config in (InferConfig(), InferConfig(crop=3, beta=2.0)):
        expected = place.infer(**config.model_dump())
        scorer = dsanet.Scorer(dsanet.load_checkpoint(str(place.checkpoint)), config)
        for name, features in place.rows.items():
            scores = scorer.score_array(features)
            np.testing.assert_allclose(scores.anomaly_T, expected[name].anomaly_T, atol=1e-6)
            np.testing.assert_allclose(scores.classes_TC, expected[name].classes_TC, atol=1e-6)


def test_one_crop_may_come_without_its_axis(place: Place) -> None:
    scorer = dsanet.Scorer(dsanet.load_checkpoint(place.checkpoint))
    features = place.rows["long"][:, :1]
    flat, with_axis = scorer.score_array(features[:, 0]), scorer.score_array(features)
    np.testing.assert_array_equal(flat.anomaly_T, with_axis.anomaly_T)


def test_an_array_that_is_no_features_is_refused(place: Place) -> None:
    scorer = dsanet.Scorer(dsanet.load_checkpoint(place.checkpoint))
    refused = {
        r"shape \(4, 768\), expected \(T, 512\) or \(T, crops, 512\)": np.zeros((4, 768)),
        r"shape \(0, 512\)": np.zeros((0, 512)),
        r"shape \(512,\)": np.zeros(512),
        "not finite": np.full((4, 512), np.nan),
    }
    for reason, features in refused.items():
        with pytest.raises(ValueError, match=reason):
            scorer.score_array(features)
