"""Own checkpoints: what was saved comes back, without CLIP; damage and mismatches are named."""

import json
from pathlib import Path

import pytest
import torch

import dsanet.detectors.base
from dsanet.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    load_checkpoint,
    load_for_training,
    read_info,
    save_checkpoint,
    text_digest,
)
from dsanet.detectors.dsanet.model import DSANet
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
