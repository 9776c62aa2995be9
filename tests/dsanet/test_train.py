"""Training: exact resume, the guard against non-finite losses, the chosen checkpoint, curves; it learns."""

import csv
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import dsanet.detectors.base
import dsanet.detectors.dsanet.model
from dsanet.checkpoint import DRAFT, INFO_FILE, load_checkpoint, read_info
from dsanet.detectors.config import InferConfig, TrainConfig
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.dsanet.losses import TERMS
from dsanet.detectors.registry import detector_preset
from dsanet.inference import infer
from dsanet.training.bags import Batch
from dsanet.training.curves import columns
from dsanet.training.loop import NonFiniteLossError, TrainProgress, train_step
from dsanet.training.optim import build_optimizers
from dsanet.training.resume import read_progress
from dsanet.training.selection import Best, better, split_records
from dsanet.training.train import NO_SELECTION_NOTE, TEST_NOTE, train
from evaluate.scores import read_scores, score_path
from tests.dsanet.helpers import (
    ENCODER,
    TRAINED,
    Footage,
    make_footage,
    small_config,
    weights_of,
    write_video,
)

CONFIG = TrainConfig(epochs=3, batch_size=4, lr=2e-4, save_every=2)  # 12 + 12 videos less 4: 2 steps an epoch

SMALL = ModelConfig.preset("small")._replace(
    model=ModelConfig.preset("small").model.model_copy(
        update={"clip_weights": "random", "text_tuning": "frozen"}
    )
)


@pytest.fixture(scope="module", autouse=True)
def one_random_clip() -> object:
    """The real random CLIP, built once: every training starts with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dsanet.detectors.base, "build_clip", cache(dsanet.detectors.base.build_clip))
        yield


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return make_footage(tmp_path_factory.mktemp("features"))


class KilledError(Exception):
    pass


def kill_after(step: int) -> object:
    def on_progress(progress: TrainProgress) -> None:
        if progress.step == step:
            raise KilledError

    return on_progress


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("release-pair", marks=pytest.mark.slow)])
def test_a_run_killed_at_any_step_ends_with_the_same_bits(
    optimizer: str, footage: Footage, tmp_path: Path
) -> None:
    model = small_config(**TRAINED)
    config = CONFIG.model_copy(update={"optimizer": optimizer})
    whole = train(footage.records, footage.features_dir, tmp_path / "whole", model, config)
    parts = tmp_path / "parts"
    for step in (1, 3, 4):  # before the first saved state, between two, and at one
        with pytest.raises(KilledError):
            train(footage.records, footage.features_dir, parts, model, config, on_progress=kill_after(step))
        assert not (parts / INFO_FILE).exists()
    assert read_progress(parts / DRAFT)["step"] == 4
    steps: list[int] = []
    train(
        footage.records,
        footage.features_dir,
        parts,
        model,
        config,
        on_progress=lambda p: steps.append(p.step),
    )
    assert steps == [5, 6]
    expected, got = weights_of(whole), weights_of(parts)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    for name in (INFO_FILE, "curves.csv"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert not (parts / DRAFT).exists()


def test_a_finished_run_is_not_repeated_and_another_config_is_another_run(
    footage: Footage, tmp_path: Path
) -> None:
    model, config = small_config(**TRAINED), CONFIG.model_copy(update={"epochs": 1})
    steps: list[TrainProgress] = []
    for seed in (0, 0, 1):
        config = config.model_copy(update={"seed": seed})
        train(footage.records, footage.features_dir, tmp_path, model, config, on_progress=steps.append)
    assert [(p.step, p.steps, p.epoch, p.epochs) for p in steps] == [(1, 2, 1, 1), (2, 2, 1, 1)] * 2
    assert steps[0].losses != steps[2].losses


def test_a_model_stays_in_service_until_its_successor_is_complete(footage: Footage, tmp_path: Path) -> None:
    model = detector_preset("mil-ranking", "small").model
    first, second = (CONFIG.model_copy(update={"epochs": 1, "seed": seed}) for seed in (0, 1))
    train(footage.records, footage.features_dir, tmp_path, model, first)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def check(progress: TrainProgress) -> None:
        load_checkpoint(tmp_path)
        assert {name: (tmp_path / name).read_bytes() for name in files} == files
        if progress.step == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(footage.records, footage.features_dir, tmp_path, model, second, on_progress=check)
    assert load_checkpoint(tmp_path).info.train == first
    train(footage.records, footage.features_dir, tmp_path, model, second)
    assert load_checkpoint(tmp_path).info.train == second
    assert {path.name for path in tmp_path.iterdir()} == files.keys()
    assert (tmp_path / "curves.csv").read_bytes() != files["curves.csv"]


def test_a_training_that_an_earlier_version_began_is_continued(footage: Footage, tmp_path: Path) -> None:
    """Earlier versions kept the state of an unfinished training beside the checkpoint."""
    model = detector_preset("mil-ranking", "small").model
    whole = train(footage.records, footage.features_dir, tmp_path / "whole", model, CONFIG)
    parts = tmp_path / "parts"
    with pytest.raises(KilledError):
        train(footage.records, footage.features_dir, parts, model, CONFIG, on_progress=kill_after(4))
    for path in (parts / DRAFT).iterdir():
        path.rename(parts / path.name)
    steps: list[int] = []
    train(
        footage.records,
        footage.features_dir,
        parts,
        model,
        CONFIG,
        on_progress=lambda progress: steps.append(progress.step),
    )
    assert steps == [5, 6]
    for path in whole.iterdir():
        assert path.read_bytes() == (parts / path.name).read_bytes()


def test_curves_and_info_say_what_happened(footage: Footage, tmp_path: Path) -> None:
    train(footage.records, footage.features_dir, tmp_path, small_config(**TRAINED), CONFIG)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == columns(TERMS)
    assert [(row["epoch"], row["step"]) for row in rows] == [(str(s // 2 + 1), str(s + 1)) for s in range(6)]
    assert [bool(row["val_auc"]) for row in rows] == [False, True] * 3
    terms = ("det", "consist", "compact", "event", "bkg", "sep")
    total = sum(float(rows[0][name]) for name in terms) + CONFIG.align_weight * float(rows[0]["align"])
    assert float(rows[0]["total"]) == pytest.approx(total, rel=1e-5)
    info = read_info(tmp_path)
    assert info.model.classes == ("normal", "fire", "riot")
    assert info.train == CONFIG
    assert info.notes == ("random CLIP weights: for trials only",)
    assert len(info.feature_digests) == 20  # of 24 training videos 4 were held out
    chosen = rows[info.step - 1]
    assert float(chosen["val_auc"]) == info.metrics["val_auc"]
    assert info.metrics["val_auc"] == max(float(row["val_auc"]) for row in rows if row["val_auc"])


def test_the_better_checkpoint_has_the_higher_auc_then_the_lower_loss() -> None:
    best = Best({"val_auc": 0.9, "val_loss": 1.0}, 1, {})
    assert better({"val_auc": 0.9, "val_loss": 2.0}, None)
    assert better({"val_auc": 0.95, "val_loss": 2.0}, best)
    assert better({"val_auc": 0.9, "val_loss": 0.5}, best)
    assert not better({"val_auc": 0.8, "val_loss": 0.1}, best)
    assert not better({"val_auc": 0.9, "val_loss": 1.0}, best)


def test_selecting_on_the_test_split_is_marked(footage: Footage, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 1, "select_on": "test"})
    train(footage.records, footage.features_dir, tmp_path, small_config(**TRAINED), config)
    assert TEST_NOTE in read_info(tmp_path).notes
    chosen = split_records(footage.records, config)
    assert [len(part) for part in chosen] == [24, 10]
    assert {record.split for record in chosen[1]} == {"test"}
    with pytest.raises(ValueError, match="no test videos"):
        split_records(chosen[0], config)


def test_two_videos_are_enough_and_say_that_nothing_was_selected(footage: Footage, tmp_path: Path) -> None:
    train(footage.records[:2], footage.features_dir, tmp_path, small_config(**TRAINED), CONFIG)
    info = read_info(tmp_path)
    assert NO_SELECTION_NOTE in info.notes
    assert info.step == 3


def a_batch(model: ModelConfig, value: float = 0.1) -> Batch:
    labels = torch.eye(len(model.classes))[[0, 1]]
    return Batch(torch.full((2, 8, 512), value), torch.tensor([8, 5]), labels, ("calm", "loud"))


def test_a_non_finite_loss_stops_before_anything_is_updated() -> None:
    model = small_config()
    net = dsanet.detectors.dsanet.model.DSANet(model)
    before = net.own_state()
    optimizers = build_optimizers(net, CONFIG, 1)
    with pytest.raises(NonFiniteLossError, match=r"loss term det, .* not finite at step 8; .*: calm, loud"):
        train_step(net, a_batch(model, float("inf")), optimizers, CONFIG, 7)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.own_state().items())
    assert not optimizers[0].optimizer.state
    train_step(net, a_batch(model), optimizers, CONFIG, 7)
    assert not torch.equal(before["classifier.weight"], net.own_state()["classifier.weight"])


def test_a_step_in_bf16_gives_finite_losses_near_those_in_float32() -> None:
    model = small_config()
    losses = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        net = dsanet.detectors.dsanet.model.DSANet(model)
        config = CONFIG.model_copy(update={"precision": precision})
        losses[precision] = train_step(net, a_batch(model), build_optimizers(net, config, 1), config, 0)
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05, abs=0.05)
    assert losses["bf16"] != losses["fp32"]


def test_training_goes_on_from_a_checkpoint_of_the_same_model_only(footage: Footage, tmp_path: Path) -> None:
    model, config = small_config(**TRAINED), CONFIG.model_copy(update={"epochs": 1})
    first = train(footage.records, footage.features_dir, tmp_path / "first", model, config)
    losses: list[float] = []
    second = train(
        footage.records,
        footage.features_dir,
        tmp_path / "second",
        model,
        config,
        start_from=first,
        on_progress=lambda progress: losses.append(progress.losses["total"]),
    )
    with (first / "curves.csv").open() as file:
        assert losses[0] < float(next(csv.DictReader(file))["total"])
    assert read_info(second).run_id != read_info(first).run_id
    other = model.model_copy(update={"classes": ("normal", "fire", "flood", "riot")})
    with pytest.raises(ValueError, match="another model config or other classes"):
        train(footage.records, footage.features_dir, tmp_path / "x", other, config, start_from=first)


def test_features_of_another_encoder_are_not_mixed_in(footage: Footage, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    other = ENCODER.model_copy(update={"preprocessing": "other"})
    for i, record in enumerate(footage.records[:8]):
        write_video(folder, record.name, np.ones((3, 512)), **({"encoder": other} if i == 7 else {}))
    with pytest.raises(ValueError, match=r"\.h5 holds features of another encoder"):
        train(footage.records[:8], folder, tmp_path / "out", small_config(**TRAINED), CONFIG)


def frame_auc(footage: Footage, features_dir: Path, checkpoint: Path, scores_dir: Path) -> float:
    names = [record.name for record in footage.records if record.split == "test"]
    infer(names, features_dir, checkpoint, scores_dir, InferConfig())
    scores = np.concatenate([read_scores(score_path(scores_dir, name)).anomaly_T for name in names])
    return float(roc_auc_score(np.concatenate([footage.truth[name] for name in names]), scores))


def test_it_learns_where_and_what_from_video_labels(footage: Footage, tmp_path: Path) -> None:
    model, config = SMALL.model, SMALL.train.model_copy(update={"epochs": 20})
    out = train(footage.records, footage.features_dir, tmp_path / "model", model, config)
    assert frame_auc(footage, footage.features_dir, out, tmp_path / "scores") >= 0.85
    hits = []
    for record in footage.records:
        if record.split == "test" and record.labels != ("normal",):
            scores = read_scores(score_path(tmp_path / "scores", record.name))
            hits.append(scores.classes[1 + scores.classes_TC[:, 1:].sum(0).argmax()] == record.labels[0])
    assert np.mean(hits) >= 0.8


@pytest.mark.slow
def test_shuffled_labels_show_no_skill(tmp_path: Path) -> None:
    """Videos scored by models trained on labels that mean nothing: the AUC scatters around 0.5."""
    footage = make_footage(tmp_path / "features", train=24, test=30)
    aucs = []
    for seed in range(6):
        shuffled = np.random.default_rng(seed).permutation(24)
        labels = [footage.records[i].labels for i in shuffled]
        records = [
            type(record)(record.name, record.path, label, record.split)
            for record, label in zip(footage.records, labels, strict=False)
        ]
        config = SMALL.train.model_copy(update={"epochs": 20, "seed": seed})
        out = train(records, footage.features_dir, tmp_path / f"model{seed}", SMALL.model, config)
        scores = tmp_path / f"scores{seed}"
        infer([r.name for r in footage.records[24:]], footage.features_dir, out, scores, InferConfig())
        top = [read_scores(score_path(scores, r.name)).anomaly_T.max() for r in footage.records[24:]]
        aucs.append(roc_auc_score([r.labels != ("normal",) for r in footage.records[24:]], top))
    assert 0.25 < np.mean(aucs) < 0.75
    assert min(aucs) < 0.5 < max(aucs)


KILLED_RUN = """
import sys
from pathlib import Path
from tests.dsanet.helpers import TRAINED, small_config, make_footage
from dsanet.detectors.config import TrainConfig
from dsanet.training.train import train
footage = make_footage(Path(sys.argv[1]))
config = TrainConfig(epochs=3, batch_size=4, lr=2e-4, save_every=2)
train(footage.records, footage.features_dir, Path(sys.argv[2]), small_config(**TRAINED), config,
      on_progress=lambda progress: print(progress.step, flush=True))
"""


@pytest.mark.slow
def test_a_process_killed_outright_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def start(out: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", KILLED_RUN, str(tmp_path / "features"), str(tmp_path / out)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])

    whole = start("whole")
    assert whole.communicate()[0].split() == ["1", "2", "3", "4", "5", "6"]
    for step in ("1", "3", "5"):
        process = start("parts")
        while process.stdout.readline().strip() != step:
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert start("parts").communicate()[0].split() == ["5", "6"]
    expected, got = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def kept_denormals() -> list[bool]:
    """For 16 blocks of rows of a product: True if its denormal values (about 5e-40) were kept, not set to 0.

    Torch divides the rows among its threads, so that both threads compute some of the blocks.
    """
    product = torch.full((1024, 512), 1e-22) @ torch.full((512, 1024), 1e-20)
    return (product.view(torch.int32) != 0).all(1).view(16, -1).all(1).tolist()


@pytest.mark.parametrize("before", [True, False], ids=["after other work", "first"])
def test_denormal_numbers_are_flushed_in_all_threads_and_only_while_it_trains(before: bool) -> None:
    """Training before and after torch has started its threads, which it does at the first large product.

    Each case runs in a new process, where no test has started them yet.
    """
    script = f"""
import torch
from dsanet.training.seeding import run_seeded
from tests.dsanet.test_train import kept_denormals
torch.set_num_threads(2)
assert not {before} or all(kept_denormals())
assert not any(run_seeded(0, lambda interrupted: kept_denormals()))
assert all(kept_denormals())
torch.set_flush_denormal(True)  # a caller's own setting
assert not any(run_seeded(0, lambda interrupted: kept_denormals()))
assert torch.tensor(1e-40) * 1 == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_an_interrupted_training_ends_after_its_step(footage: Footage, tmp_path: Path) -> None:
    model = detector_preset("mil-ranking", "small").model
    steps: list[int] = []
    config = CONFIG.model_copy(update={"epochs": 500_000})

    def interrupt(progress: TrainProgress) -> None:
        steps.append(progress.step)
        if progress.step == 20:
            os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(footage.records, footage.features_dir, tmp_path, model, config, on_progress=interrupt)
    assert time.monotonic() - began < 30
    assert read_progress(tmp_path / DRAFT)["step"] >= 20
    assert not (tmp_path / INFO_FILE).exists()


def test_the_state_is_saved_by_steps_not_by_epochs(footage: Footage, tmp_path: Path) -> None:
    model, config = detector_preset("mil-ranking", "small").model, CONFIG.model_copy(update={"save_every": 3})
    for step, saved in ((2, None), (5, 3)):  # two steps are an epoch
        with pytest.raises(KilledError):
            train(
                footage.records, footage.features_dir, tmp_path, model, config, on_progress=kill_after(step)
            )
        progress = read_progress(tmp_path / DRAFT)
        assert (progress and progress["step"]) == saved
