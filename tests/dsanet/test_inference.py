"""Inference: windows, crops, score files; what is kept, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsanet.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from dsanet.detectors.config import InferConfig
from dsanet.detectors.dsanet.model import DSANet
from dsanet.inference import infer
from dsanet.layers.belief import belief_modulation
from evaluate.scores import VideoScores, read_provenance, read_scores, score_path
from extract.config import ExtractConfig
from tests.dsanet.helpers import CLASSES, ENCODER, small_config, small_model, write_video

LENGTHS = {"short": 5, "exact": 32, "long": 75}


class Place:
    """A checkpoint, features of three videos (5 crops) and a folder for scores."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.features, self.checkpoint, self.scores = root / "features", root / "model", root / "scores"
        random = np.random.default_rng(0)
        self.rows = {name: random.normal(size=(n, 5, 512)).astype(np.float16) for name, n in LENGTHS.items()}
        for name, rows in self.rows.items():
            write_video(self.features, name, rows)
        model = small_model(small_config(text_tuning="frozen", **changes))
        info = CheckpointInfo(model=model.config, encoder=ENCODER, extract=ExtractConfig(), notes=("note",))
        save_checkpoint(self.checkpoint, model, info)

    @property
    def model(self) -> DSANet:
        return load_checkpoint(self.checkpoint).model

    def infer(self, **config: Any) -> dict[str, VideoScores]:
        infer(list(LENGTHS), self.features, self.checkpoint, self.scores, InferConfig(**config), device="cpu")
        return {name: read_scores(score_path(self.scores, name)) for name in LENGTHS}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_a_long_video_is_cut_into_windows_and_put_together(variant: str, tmp_path: Path) -> None:
    place = Place(tmp_path, variant=variant)
    scores = place.infer(crop=2, beta=3.0)
    rows = torch.from_numpy(place.rows["long"][:, 2]).float()
    windows = torch.zeros(3, 32, 512)
    for window, part in zip(windows, rows.split(32), strict=True):
        window[: len(part)] = part
    with torch.no_grad():
        output = place.model(windows, torch.tensor([32, 32, 11]))
    anomaly = torch.sigmoid(output.anomaly_BT).flatten()[:75]
    np.testing.assert_allclose(scores["long"].anomaly_T, anomaly, atol=1e-5)
    classes = belief_modulation(output.anomaly_BT, output.classes_BTC, 3.0).flatten(0, 1)[:75]
    np.testing.assert_allclose(scores["long"].classes_TC, classes, atol=1e-5)
    weights = torch.tensor([32, 32, 11]) / 75
    event = (output.event_BC.softmax(-1) * weights[:, None]).sum(0)
    np.testing.assert_allclose(scores["long"].event_C, event, atol=1e-5)
    assert {name: len(s.anomaly_T) for name, s in scores.items()} == LENGTHS
    assert scores["short"].classes == CLASSES
    assert scores["short"].n_frames == 80


def test_crops_are_averaged_after_scoring(place: Place) -> None:
    single = [place.infer(crop=crop)["short"] for crop in range(5)]
    mean = place.infer(crop="mean")["short"]
    np.testing.assert_allclose(mean.anomaly_T, np.mean([s.anomaly_T for s in single], axis=0), atol=1e-6)
    np.testing.assert_allclose(mean.classes_TC, np.mean([s.classes_TC for s in single], axis=0), atol=1e-6)
    with pytest.raises(ValueError, match="short has 5 crops, there is no crop 5"):
        place.infer(crop=5)


def test_the_batch_of_windows_does_not_matter(place: Place) -> None:
    first = place.infer(batch_size=1)
    for path in place.scores.iterdir():
        path.unlink()
    second = place.infer(batch_size=7)
    for name in LENGTHS:
        np.testing.assert_allclose(first[name].classes_TC, second[name].classes_TC, atol=1e-5)


def test_only_what_changed_is_scored_again(place: Place) -> None:
    def run(**config: Any) -> tuple[list[str], list[str]]:
        calls: list[tuple[int, int]] = []
        result = infer(
            list(LENGTHS),
            place.features,
            place.checkpoint,
            place.scores,
            InferConfig(**config),
            on_progress=lambda done, total: calls.append((done, total)),
        )
        assert calls == [(1, 3), (2, 3), (3, 3)]
        return sorted(result.written), sorted(result.reused)

    everything = sorted(LENGTHS)
    assert run() == (everything, [])
    assert run(batch_size=2) == ([], everything)
    write_video(place.features, "short", place.rows["short"] + 1)
    assert run() == (["short"], ["exact", "long"])
    score_path(place.scores, "long").write_bytes(b"damaged")
    assert run() == (["long"], ["exact", "short"])
    assert run(beta=2.0) == (everything, [])
    assert read_provenance(score_path(place.scores, "long"))["notes"] == ["note"]


def test_extras_for_the_report_come_when_asked_for(place: Place) -> None:
    plain = place.infer()["long"]
    assert plain.learned_TD is None
    assert plain.normal_distance_T is None
    scores = place.infer(learned_features=True, normal_distance=True, crop=0)
    assert scores["long"].learned_TD.shape == (75, 512)
    assert scores["long"].normal_distance_T.shape == (75,)
    rows = torch.from_numpy(place.rows["short"][None, :, 0]).float()
    model, lengths = place.model, torch.tensor([5])
    with torch.no_grad():
        distance = model.normal_distance(model(rows, lengths), lengths)[0]
    np.testing.assert_allclose(scores["short"].normal_distance_T, distance, atol=1e-5)
    assert distance.min() >= 0


def test_features_of_another_fingerprint_are_refused(place: Place) -> None:
    other = ENCODER.model_copy(update={"weights_digest": "another"})
    write_video(place.features, "short", place.rows["short"], encoder=other)
    with pytest.raises(ValueError, match=r"short\.h5 holds features of another encoder .* extract the video"):
        place.infer()
    write_video(place.features, "short", place.rows["short"], snippet_length=8)
    with pytest.raises(ValueError, match="snippet_length = 8, expected 16"):
        place.infer()


def test_without_dcsa_there_are_no_prototypes(tmp_path: Path) -> None:
    scores = Place(tmp_path, disentangled_alignment=False).infer()["short"]
    assert scores.event_C is None
    assert scores.background_C is None
