"""VadCLIP: the authors' weights give the authors' scores (against a loop-by-loop rewrite); its own loss."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dsanet.checkpoint import import_release, import_weights, load_checkpoint, read_info
from dsanet.detectors.config import InferConfig
from dsanet.detectors.registry import detector_preset
from dsanet.detectors.vadclip import VadCLIP, VadCLIPConfig
from extract.clip import visual_digest
from tests.dsanet.helpers import padded_bags, random_clip, random_tower
from tests.dsanet.reference import clip_shapes
from tests.dsanet.vadclip_reference import VadCLIPReference, vadclip_shapes

RELEASED_KEYS = Path(__file__).parents[1] / "released_keys"
"""Names and shapes of the tensors in the released files."""
LAYERS = {"ucf-crime": 2, "xd-violence": 1}


def empty_release(preset: str) -> dict[str, Tensor]:
    """All names and shapes; every tensor is one number seen many times, so that the file is small."""
    shapes = vadclip_shapes(LAYERS[preset])
    shapes |= {f"clipmodel.{name}": shape for name, shape in clip_shapes().items()}
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


@cache
def random_release(preset: str) -> dict[str, Tensor]:
    """As a trained file: real random text tower, no image tower, every other tensor random."""
    generator = torch.Generator().manual_seed(0)
    state = empty_release(preset)
    clip = random_clip().state_dict()
    for name, tensor in state.items():
        if name.startswith("clipmodel.visual."):
            continue
        if name.startswith("clipmodel."):
            state[name] = clip[name.removeprefix("clipmodel.")]
        elif "ln_" in name and name.endswith("weight"):
            state[name] = 1 + 0.1 * torch.randn(tensor.shape, generator=generator)
        else:
            fan_in = tensor.shape[1:].numel() if tensor.dim() > 1 else 100
            state[name] = torch.randn(tensor.shape, generator=generator) * fan_in**-0.5
    return state


@pytest.mark.parametrize("preset", ["ucf-crime", "xd-violence"])
def test_scores_and_alignment_map_are_the_authors(preset: str, tmp_path: Path) -> None:
    state = random_release(preset)
    torch.save(state, tmp_path / "vadclip.pth")
    model = import_release(tmp_path / "vadclip.pth", preset, detector="vadclip")
    assert isinstance(model, VadCLIP)
    assert not model.training
    config = model.config
    reference = VadCLIPReference(state, config.texts, config.window, 0, 0.0, release=True)
    lengths = [256, 40]
    features, lengths_B = padded_bags(lengths, 256)
    with torch.no_grad():
        expected, got = reference.forward(features, lengths), model(features, lengths_B)
    torch.testing.assert_close(got.anomaly_BT, expected["anomaly"], atol=1e-4, rtol=0)
    torch.testing.assert_close(got.classes_BTC, expected["classes"], atol=2e-4, rtol=0)
    torch.testing.assert_close(got.text_CD, expected["text"], atol=1e-4, rtol=0)
    assert expected["anomaly"].std() > 0.01  # not all alike, or the test could not fail
    assert expected["classes"].std(dim=-1).min() > 1e-3
    fine = model.scores(got, lengths_B, InferConfig())["classes"]
    torch.testing.assert_close(fine, expected["classes"].softmax(-1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("preset", ["ucf-crime", "xd-violence"])
def test_names_and_shapes_are_those_of_the_real_files(preset: str) -> None:
    short = preset.partition("-")[0]
    real = json.loads((RELEASED_KEYS / f"vadclip-{short}.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in empty_release(preset).items()} == real


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_prompt_embeddings.weight": None}, "text_prompt_embeddings.weight is missing"),
        ({"clipmodel.ln_final.weight": None}, "clipmodel.ln_final.weight is missing"),
        ({"classifier.weight": torch.zeros(2, 512)}, r"classifier.weight has shape \(2, 512\)"),
        ({"extra.bias": torch.zeros(1)}, "extra.bias .* is not part of vadclip's xd-violence release"),
    ],
    ids=["missing", "missing in CLIP", "misshapen", "extra"],
)
def test_a_wrong_tensor_is_named(change: dict[str, Tensor | None], message: str, tmp_path: Path) -> None:
    state = empty_release("xd-violence") | change
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        import_release(tmp_path / "w.pth", "xd-violence", detector="vadclip")


def test_a_detector_without_released_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no released weights for detector 'clip-tsa'"):
        import_release(tmp_path / "w.pth", "ucf-crime", detector="clip-tsa")


def test_an_imported_checkpoint_scores_without_clip(tmp_path: Path) -> None:
    state = empty_release("xd-violence") | {"classifier.bias": torch.tensor([0.25])}
    torch.save(state, tmp_path / "xd.pth")
    folder = import_weights(tmp_path / "xd.pth", "xd-violence", tmp_path / "out", detector="vadclip")
    info = read_info(folder)
    assert info.model == detector_preset("vadclip", "xd-violence").model.model_copy(
        update={"mask_padding": False}
    )
    visual = {name: state[f"clipmodel.{name}"] for name in clip_shapes()}
    assert info.encoder.weights_digest == visual_digest(visual)
    model = load_checkpoint(folder).model
    assert not hasattr(model.text, "tower")
    assert model(*padded_bags([3], 256)).anomaly_BT[0, 0] == 0.25


def test_the_loss_weighs_the_separation_as_the_release_does() -> None:
    config = VadCLIPConfig(classes=("normal", "fire", "riot"), bag_length=16, layers=1, clip_weights="random")
    text = VadCLIP.text_module(config, random_tower())
    model, train = VadCLIP(config, text), detector_preset("vadclip", "ucf-crime").train
    output = model(*padded_bags([16, 9], 16))
    terms = model.loss_terms(output, torch.eye(3)[:2], torch.tensor([16, 9]))
    normal, fire, riot = torch.nn.functional.normalize(output.text_CD, dim=-1)
    separation = (abs(normal @ fire) + abs(normal @ riot)) / 2
    torch.testing.assert_close(terms["sep"], separation)
    torch.testing.assert_close(
        model.total_loss(terms, train), terms["det"] + terms["align"] + 0.1 * separation
    )
    assert train.milestones == (4, 8)
    assert detector_preset("vadclip", "xd-violence").train.milestones == (3, 6, 10)
