"""Training, resuming and inference on a GPU: marked `gpu`, skipped for a card that the machine lacks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dsanet.checkpoint import DRAFT
from dsanet.detectors.config import InferConfig, TextConfig, TrainConfig
from dsanet.detectors.registry import DETECTORS, build_detector, detector_preset
from dsanet.inference import infer
from dsanet.training.bags import Batch
from dsanet.training.loop import TrainProgress, train_step
from dsanet.training.optim import build_optimizers
from dsanet.training.resume import read_progress
from dsanet.training.train import train
from evaluate.scores import read_scores, score_path
from tests.dsanet.helpers import (
    CLASSES,
    Footage,
    copies_of_random_clip,
    make_footage,
    padded_bags,
    weights_of,
)

pytestmark = pytest.mark.gpu

CONFIG = TrainConfig(epochs=6, batch_size=8, lr=2e-4)
"""1 step an epoch."""


@pytest.fixture(params=["cuda", "cuda:1"])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if (torch.device(name).index or 0) >= torch.cuda.device_count():
        pytest.skip(f"this machine has no {name}")
    return name


@pytest.fixture(scope="module", autouse=True)
def one_random_clip() -> Iterator[None]:
    with copies_of_random_clip():
        yield


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return make_footage(tmp_path_factory.mktemp("features"))


class KilledError(Exception):
    pass


class Run:
    """A training on one device; `losses` of each step that ran."""

    def __init__(self, footage: Footage, folder: Path, detector: str, device: str) -> None:
        self.footage, self.folder, self.device = footage, folder, device
        preset = detector_preset(detector, "small")
        text = {"clip_weights": "random"} if isinstance(preset.model, TextConfig) else {}
        # A GPU draws other random numbers than a CPU.
        dropout = {"dropout": 0.0} if hasattr(preset.model, "dropout") else {}
        self.model = preset.model.model_copy(update=text | dropout)
        self.losses: list[dict[str, float]] = []

    def train(self, stop_after: int | None = None, **changes: object) -> Path:
        def on_progress(progress: TrainProgress) -> None:
            self.losses.append(progress.losses)
            if progress.step == stop_after:
                raise KilledError

        config = CONFIG.model_copy(update=changes)
        records, features = self.footage.records, self.footage.features_dir
        return train(
            records, features, self.folder, self.model, config, device=self.device, on_progress=on_progress
        )


def anomaly_scores(footage: Footage, checkpoint: Path, scores: Path, device: str) -> dict[str, np.ndarray]:
    names = [record.name for record in footage.records if record.split == "test"]
    infer(names, footage.features_dir, checkpoint, scores, InferConfig(), device=device)
    return {name: read_scores(score_path(scores, name)).anomaly_T for name in names}


@pytest.mark.parametrize("detector", DETECTORS)
def test_training_and_scores_are_those_of_a_cpu(
    detector: str, device: str, footage: Footage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.functional.dropout", lambda values, *_, **__: values)
    monkeypatch.setattr("torch.randn_like", lambda values: torch.randn(values.shape).to(values.device))
    on_cpu, on_gpu = (
        Run(footage, tmp_path / "1", detector, "cpu"),
        Run(footage, tmp_path / "2", detector, device),
    )
    on_cpu.train(epochs=1)
    on_gpu.train(epochs=1)
    assert on_gpu.losses[0] == pytest.approx(on_cpu.losses[0], rel=1e-3, abs=1e-4)
    cpu = anomaly_scores(footage, on_gpu.folder, tmp_path / "scores-cpu", "cpu")
    gpu = anomaly_scores(footage, on_gpu.folder, tmp_path / "scores-gpu", device)
    for name, scores in cpu.items():
        np.testing.assert_allclose(gpu[name], scores, atol=1e-4)


def test_a_resumed_run_ends_as_an_uninterrupted_one(device: str, footage: Footage, tmp_path: Path) -> None:
    whole, parts = (Run(footage, tmp_path / name, "dsanet", device) for name in ("whole", "parts"))
    whole.train(save_every=2)
    with pytest.raises(KilledError):
        parts.train(stop_after=5, save_every=2)
    progress = read_progress(parts.folder / DRAFT)
    assert progress is not None
    assert progress["step"] == 4
    parts.train(save_every=2)
    assert len(parts.losses) == len(whole.losses) + 1  # step 5 ran twice
    assert parts.losses[-1] == pytest.approx(whole.losses[-1], rel=1e-3, abs=1e-4)
    expected, got = weights_of(whole.folder), weights_of(parts.folder)
    for name, weights in expected.items():
        torch.testing.assert_close(got[name], weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_on_a_gpu_in_either_precision(
    precision: str, device: str, footage: Footage, tmp_path: Path
) -> None:
    run = Run(footage, tmp_path / "model", "dsanet", device)
    checkpoint = run.train(epochs=30, precision=precision)
    scores = anomaly_scores(footage, checkpoint, tmp_path / "scores", device)
    truth = np.concatenate([footage.truth[name] for name in scores])
    assert roc_auc_score(truth, np.concatenate(list(scores.values()))) > 0.9


@pytest.mark.parametrize(
    ("detector", "optimizer"), [*((name, "adamw") for name in DETECTORS), ("dsanet", "release-pair")]
)
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_training_step_waits_for_nothing_but_its_losses(
    detector: str, optimizer: str, device: str, footage: Footage, tmp_path: Path
) -> None:
    config = TrainConfig(optimizer=optimizer)
    model = Run(footage, tmp_path, detector, device).model.model_copy(update={"classes": CLASSES})
    net = build_detector(model).to(device)
    optimizers = build_optimizers(net, config, 1)
    features_BTD, lengths_B = padded_bags([model.bag_length, 1, 9, 5], model.bag_length)
    batch = Batch(features_BTD, lengths_B, torch.eye(4), tuple("abcd"))
    losses = [train_step(net, batch, optimizers, config, 0)]  # starts libraries, which waits
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses += [train_step(net, batch, optimizers, config, step) for step in (1, 2)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite([loss["total"] for loss in losses]).all()


def test_another_card_stays_free(device: str, footage: Footage, tmp_path: Path) -> None:
    """`cuda:1` takes no memory on GPU 0: neither for buffers nor for the state of the random numbers."""
    if device == "cuda":
        pytest.skip("only with a second card")
    before = torch.cuda.memory_allocated(0)
    checkpoint = Run(footage, tmp_path / "model", "dsanet", device).train(epochs=1)
    anomaly_scores(footage, checkpoint, tmp_path / "scores", device)
    assert torch.cuda.memory_allocated(0) == before
