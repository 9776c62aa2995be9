"""Own checkpoints: what was saved comes back, without CLIP; damage and mismatches are named."""

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import dsanet.detectors.base
from dsanet.checkpoint import (
    DRAFT,
    CheckpointError,
    CheckpointInfo,
    complete_save,
    load_checkpoint,
    load_for_training,
    read_info,
    save_checkpoint,
    text_digest,
)
from dsanet.detectors.dsanet.model import DSANet
from dsanet.detectors.registry import build_detector, detector_preset
from extract.config import ExtractConfig
from tests.dsanet.helpers import ENCODER, padded_bags, random_clip, small_config, small_model, weights_of


def save(folder: Path, model: DSANet) -> Path:
    info = CheckpointInfo(
        model=model.config,
        encoder=ENCODER,
        extract=ExtractConfig(),
        text_digest=text_digest(model),
        feature_digests={"a": "00"},
        notes=("note",),
    )
    return save_checkpoint(folder, model, info)


@pytest.mark.parametrize("mode", ["frozen", "learned", "adapter"])
@pytest.mark.parametrize("variant", ["paper", "release"])
def test_a_checkpoint_scores_as_the_model_did_and_without_clip(
    mode: str, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(small_config(text_tuning=mode, variant=variant))
    save(tmp_path, model)
    monkeypatch.delattr(dsanet.detectors.base, "build_clip")
    loaded, info = load_checkpoint(tmp_path)
    features, lengths = padded_bags([32, 5], 32)
    with torch.no_grad():
        expected, got = model(features, lengths), loaded(features, lengths)
    for name in ("anomaly_BT", "classes_BTC", "event_BC", "background_BC", "text_CD"):
        assert torch.equal(getattr(expected, name), getattr(got, name)), name
    assert not loaded.training
    assert info.model == model.config
    assert not [name for name in weights_of(tmp_path) if ".tower." in name]
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.json"}


def test_training_goes_on_with_the_text_tower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    save(tmp_path, model)
    monkeypatch.setattr(dsanet.detectors.base, "build_clip", lambda weights: (random_clip(), "random"))
    loaded, _ = load_for_training(tmp_path)
    assert torch.equal(model.text_embeddings(), loaded.text_embeddings())
    assert loaded.text_embeddings().requires_grad
    path = tmp_path / "model.json"
    info = json.loads(path.read_text()) | {"text_digest": "other"}
    path.write_text(json.dumps(info))
    with pytest.raises(CheckpointError, match="other CLIP text weights than 'random'"):
        load_for_training(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished checkpoint"):
        read_info(tmp_path)
    save(tmp_path, small_model())
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_checkpoint(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_checkpoint(tmp_path)
    info = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(info | {"schema_version": 99}))
    with pytest.raises(CheckpointError, match="schema 99"):
        read_info(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a checkpoint of schema 1"):
        read_info(tmp_path)


def entries(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


SWITCHING = """
import os, signal, sys
from pathlib import Path
import torch
from dsanet.checkpoint import DRAFT, load_checkpoint
from tests.dsanet.test_checkpoint import save_mil

torch.set_num_threads(1)  # forked processes have no other threads
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}

def kill_at(number):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in EVENTS and ".so" not in str(arguments[0]):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

root = Path(sys.argv[1])
for number in range(1, 100):
    folder = root / str(number)
    save_mil(folder, 1)
    (folder / "curves.csv").write_text("old")
    (folder / DRAFT).mkdir()
    (folder / DRAFT / "curves.csv").write_text("new")
    (folder / DRAFT / "resume.safetensors").write_text("state")
    if (child := os.fork()) == 0:
        kill_at(number)
        save_mil(folder, 2)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    print(number)
"""


def save_mil(folder: Path, value: float) -> Path:
    """A small checkpoint, all of whose weights are `value`."""
    config = detector_preset("mil-ranking", "small").model
    model = build_detector(config.model_copy(update={"classes": ("normal", "fire")}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(value)
    return save_checkpoint(
        folder,
        model,
        CheckpointInfo(model=model.config, encoder=ENCODER, extract=ExtractConfig(), run_id=f"{value}"),
    )


def value_of(folder: Path) -> float:
    """The weights of a checkpoint made by `save_mil`; its info must be that of the same checkpoint."""
    model, info = load_checkpoint(folder)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    (value,) = weights.unique().tolist()
    assert info.run_id == str(int(value))
    return float(value)


def test_a_save_killed_at_any_point_leaves_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SWITCHING, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    killed = [tmp_path / number for number in done.stdout.split()]
    assert len(killed) > 10
    values = [value_of(folder) for folder in killed]
    assert sorted(values) == values
    assert {1, 2} == set(values)
    for folder, value in zip(killed, values, strict=True):
        complete_save(folder)
        assert value_of(folder) == value
        if value == 2:
            assert entries(folder) - {".draft"} == {"model.safetensors", "model.json", "curves.csv"}
            assert (folder / "curves.csv").read_text() == "new"
        else:
            assert (folder / "curves.csv").read_text() == "old"
            assert (folder / DRAFT / "resume.safetensors").read_text() == "state"
            save_mil(folder, 2)
            assert value_of(folder) == 2


def test_a_checkpoint_can_be_read_while_it_is_replaced(tmp_path: Path) -> None:
    save_mil(tmp_path, 1)
    stop = threading.Event()

    def replace() -> None:
        for value in itertools.cycle((2, 1)):
            save_mil(tmp_path, value)
            if stop.is_set():
                return

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        values = [value_of(tmp_path) for _ in range(60)]
    finally:
        stop.set()
        writer.join()
    assert set(values) == {1, 2}
