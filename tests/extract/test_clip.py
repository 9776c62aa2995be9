"""OpenAI's weights in each file format, and the refusal of incomplete or foreign weights."""

import json
import warnings
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from extract.clip import build_clip, read_weights, require_quick_gelu, validated_state, visual_digest

RELEASED_KEYS = Path(__file__).parents[1] / "released_keys" / "openai-clip-vit-b16.json"


@pytest.fixture(scope="module")
def half_weights() -> dict[str, Tensor]:
    """A complete state dict with OpenAI's tensor names, in float16 as OpenAI's file."""
    model, digest = build_clip("random", seed=3)
    assert digest.startswith("random-")
    return {name: tensor.half() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("form", ["plain", "state_dict", "safetensors", "torchscript"])
def test_every_format_gives_the_stored_tensors(
    form: str, half_weights: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / ("ViT-B-16.safetensors" if form == "safetensors" else "ViT-B-16.pt")
    visual = {name: tensor for name, tensor in half_weights.items() if name.startswith("visual.ln")}
    if form == "plain":
        torch.save(visual, path)
    elif form == "state_dict":
        torch.save({"state_dict": visual}, path)
    elif form == "safetensors":
        safetensors.torch.save_file(visual, path)
    else:
        save_torchscript(visual, path)
    read = read_weights(path)
    assert read.keys() == visual.keys()
    assert all(torch.equal(read[name], stored) for name, stored in visual.items())


def test_a_model_is_built_from_a_file_and_frozen(half_weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-16.pt"
    torch.save(half_weights, path)
    model, digest = build_clip(str(path))
    assert digest == visual_digest(half_weights)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    state = model.state_dict()
    assert all(torch.equal(state[name], stored.float()) for name, stored in half_weights.items())


def save_torchscript(state: dict[str, Tensor], path: Path) -> None:
    """An archive like OpenAI's: the tensors as buffers of nested modules, and three scalars."""
    root = nn.Module()
    scalars = {
        "input_resolution": torch.tensor(224),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    for name, tensor in {**state, **scalars}.items():
        *modules, last = name.split(".")
        at = root
        for module in modules:
            if not hasattr(at, module):
                at.add_module(module, nn.Module())
            at = getattr(at, module)
        at.register_buffer(last, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(root), str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("visual.proj"), r"tensor visual\.proj is missing"),
        (
            lambda s: s.update({"visual.proj": torch.zeros(768, 4)}),
            r"visual\.proj has shape \(768, 4\), expected \(768, 512\)",
        ),
        (lambda s: s.update({"visual.extra": torch.zeros(1)}), r"visual\.extra is not part of OpenAI's"),
        (
            lambda s: s.update({"visual.proj": torch.full((768, 512), float("nan"))}),
            r"visual\.proj has values that are not finite",
        ),
    ],
)
def test_incomplete_weights_are_refused_naming_the_tensor(
    change, message: str, half_weights: dict[str, Tensor]
) -> None:
    state = dict(half_weights)
    change(state)
    with pytest.raises(ValueError, match=message):
        validated_state(state, half_weights, Path("weights.pt"))


def test_a_file_with_too_few_tensors_does_not_become_a_random_model(tmp_path: Path) -> None:
    torch.save({"visual.proj": torch.zeros(768, 512)}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="is missing"):
        build_clip(str(tmp_path / "weights.pt"))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"visual.proj": Harm()}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="would run code"):
        build_clip(str(tmp_path / "weights.pt"))
    assert not (tmp_path / "harm").exists()


def test_files_without_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(ValueError, match="damaged or in another format"):
        read_weights(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="contains no state dict"):
        read_weights(tmp_path / "list.pt")


def test_the_error_for_missing_weights_lists_the_options(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`openai`.*safetensors.*`random`"):
        build_clip(str(tmp_path / "none.pt"))


def test_openai_without_network_or_cache_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="are not cached and can't be downloaded"):
        build_clip("openai")


def test_random_weights_are_seeded_and_have_marked_digests() -> None:
    assert build_clip("random")[1] == build_clip("random")[1] != build_clip("random", seed=1)[1]


def test_random_weights_do_not_advance_the_global_generator() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    build_clip("random")
    assert torch.equal(torch.rand(1), expected)


def test_a_model_with_gelu_is_refused() -> None:
    plain = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16"))
    with pytest.raises(ValueError, match="QuickGELU"):
        require_quick_gelu(plain)


def test_names_and_shapes_equal_those_of_openais_file(half_weights: dict[str, Tensor]) -> None:
    listed = {name: tuple(shape) for name, shape in json.loads(RELEASED_KEYS.read_text()).items()}
    assert {name: tuple(tensor.shape) for name, tensor in half_weights.items()} == listed
