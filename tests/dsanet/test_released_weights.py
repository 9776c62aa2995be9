"""The authors' files: full-size weights made here under their names; scores and losses against a rewrite."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dsanet.checkpoint import import_release, import_weights, load_checkpoint, read_info
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.dsanet.losses import loss_terms
from dsanet.layers.belief import belief_modulation as our_belief_modulation
from extract.clip import visual_digest
from extract.errors import InputError
from tests.dsanet.helpers import padded_bags
from tests.dsanet.reference import Reference, belief_modulation, clip_shapes, losses, release_shapes

RELEASED_KEYS = Path(__file__).parents[1] / "released_keys"
"""Names and shapes of the tensors in the released files."""
LAYERS = {"ucf-crime": (2, 3), "xd-violence": (1, 1)}
COPIES = ("clipmodel.", "clip_adapter.clipmodel.")


def empty_release(preset_name: str) -> dict[str, Tensor]:
    """All names and shapes; every tensor is one number seen many times, so that the file is small."""
    shapes = release_shapes(*LAYERS[preset_name])
    shapes |= {copy + name: shape for copy in COPIES for name, shape in clip_shapes().items()}
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def random_release(preset_name: str) -> dict[str, Tensor]:
    """As a trained file, but CLIP's 12 text blocks are 2 in turn, and its image tower is empty."""
    generator = torch.Generator().manual_seed(0)
    state = empty_release(preset_name)
    for name, tensor in state.items():
        if name.startswith("clipmodel.") and not name.startswith("clipmodel.visual."):
            layer = name.split(".")[3] if ".resblocks." in name else "0"
            twin = name.replace(f"resblocks.{layer}.", f"resblocks.{int(layer) % 2}.")
            state[name] = state[twin] if twin != name else random_tensor(name, tensor.shape, generator)
        elif not name.startswith(COPIES):
            state[name] = random_tensor(name, tensor.shape, generator)
    return state | {COPIES[1] + name: state[COPIES[0] + name] for name in clip_shapes()}


def random_tensor(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator)
    is_scale = name.endswith("learn_scale") or (("ln_" in name or "norm" in name) and name.endswith("weight"))
    return 1 + 0.1 * values if is_scale else values * (shape[1:].numel() ** -0.5 if len(shape) > 1 else 0.1)


def save(state: dict[str, Tensor], path: Path, wrapped: bool) -> Path:
    torch.save({"model_state_dict": state, "epoch": 3} if wrapped else state, path)
    return path


@pytest.mark.parametrize("preset_name", ["ucf-crime", "xd-violence"])
def test_scores_and_all_seven_losses_are_the_authors(preset_name: str, tmp_path: Path) -> None:
    state = random_release(preset_name)
    model = import_release(save(state, tmp_path / "a.pth", wrapped=preset_name == "ucf-crime"), preset_name)
    config = model.config
    assert config.variant == "release"
    assert not model.training
    reference = Reference(
        state, config.texts, config.window, config.adapter_layers, config.adapter_weight, release=True
    )
    lengths = [256, 40]
    features, lengths_B = padded_bags(lengths, 256)
    labels = torch.zeros(2, len(config.classes))
    labels[0, 0] = labels[1, 2] = labels[1, 5] = 1
    with torch.no_grad():
        expected = reference.forward(features, lengths)
        scores = model(features, lengths_B)
        terms = loss_terms(model.train()(features, lengths_B, scores.text_CD), labels, lengths_B, "release")
    torch.testing.assert_close(scores.anomaly_BT, expected["anomaly"], atol=1e-4, rtol=0)
    torch.testing.assert_close(scores.classes_BTC, expected["classes"], atol=1e-4, rtol=0)
    beta = ModelConfig.preset(preset_name).infer.beta
    ours = our_belief_modulation(scores.anomaly_BT, scores.classes_BTC, beta)
    torch.testing.assert_close(ours, belief_modulation(*(expected[k] for k in ("anomaly", "classes")), beta))
    for name, value in losses(expected, labels, lengths, release=True).items():
        torch.testing.assert_close(terms[name], value, atol=1e-4, rtol=0, msg=name)
    # Not all alike, or the test could not fail.
    assert expected["anomaly"].std() > 0.01


@pytest.mark.parametrize("preset_name", ["ucf-crime", "xd-violence"])
def test_names_and_shapes_are_those_of_the_real_files(preset_name: str) -> None:
    short = preset_name.partition("-")[0]
    real = json.loads((RELEASED_KEYS / f"dsanet-{short}.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in empty_release(preset_name).items()} == real


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "gc1.residual.bias"), "gc1.residual.bias is missing"),
        (lambda s: without(s, "clipmodel.ln_final.weight"), "clipmodel.ln_final.weight is missing"),
        (lambda s: s | {"classifier.weight": torch.zeros(2, 512)}, r"classifier.weight has shape \(2, 512\)"),
        (lambda s: s | {"extra.bias": torch.zeros(1)}, r"tensor extra.bias .* is not part of"),
        (lambda s: {"epoch": 3}, "holds no state dict"),
    ],
    ids=["missing", "missing in CLIP", "misshapen", "extra", "no tensors"],
)
def test_a_wrong_tensor_is_named(change: object, message: str, tmp_path: Path) -> None:
    path = save(change(empty_release("xd-violence")), tmp_path / "wrong.pth", wrapped=True)
    with pytest.raises(ValueError, match=message):
        import_release(path, "xd-violence")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (Path("exploded"),)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(InputError, match="would run code"):
        import_release(tmp_path / "bomb.pth", "ucf-crime")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(InputError, match="damaged or in another format"):
        import_release(tmp_path / "text.pth", "ucf-crime")
    assert not (tmp_path / "exploded").exists()


def test_a_preset_without_a_release_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no released weights for preset 'small'"):
        import_release(tmp_path / "a.pth", "small")
    with pytest.raises(FileNotFoundError, match="give the authors'"):
        import_release(tmp_path / "a.pth", "ucf-crime")


def test_an_imported_checkpoint_scores_without_clip(tmp_path: Path) -> None:
    state = empty_release("xd-violence") | {"clipmodel.visual.proj": torch.ones(768, 512)}
    state |= {COPIES[1] + "visual.proj": torch.ones(768, 512), "classifier.bias": torch.tensor([0.25])}
    path = save(state, tmp_path / "xd.pth", wrapped=False)
    folder = import_weights(path, "xd-violence", tmp_path / "out")
    info = read_info(folder)
    assert info.model.classes == ModelConfig.preset("xd-violence").model.classes
    visual = {name: state[COPIES[1] + name] for name in clip_shapes()}
    assert info.encoder.weights_digest == visual_digest(visual)
    assert info.notes == ("released weights, imported from xd.pth",)
    model = load_checkpoint(folder).model
    assert not hasattr(model.text, "tower")
    assert model(*padded_bags([3], 256)).anomaly_BT[0, 0] == 0.25
