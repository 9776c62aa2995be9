"""Preprocessing and image tower against independent implementations of OpenAI's definitions."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from extract.clip import build_clip
from extract.config import EncoderFingerprint
from extract.encoder import (
    LEAST_COSINE,
    Encoder,
    agrees_in_bf16,
    has_bf16_instructions,
    load_encoder,
    resolve_device,
)
from extract.preprocess import normalise, resize_and_crop, resize_shorter_side
from extract.views import Views

# OpenAI's clip.py, `_transform(224)`
OPENAI_GEOMETRY = transforms.Compose(
    [
        transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.PILToTensor(),
    ]
)
OPENAI_NORMALISE = transforms.Normalize(
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
SIZES = [(240, 320), (1080, 1920), (224, 224), (300, 224), (223, 500), (96, 70), (16, 16), (1, 1), (7, 333)]


def natural_picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Large shapes and fine noise, as in a photograph."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(2, height // 9), max(2, width // 9), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return smooth // 2 + random.integers(0, 128, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("random", device="cpu", precision="fp32")


@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_equals_pil_within_two_of_255(size: tuple[int, int]) -> None:
    picture = natural_picture(*size)
    expected = OPENAI_GEOMETRY(Image.fromarray(picture)).int()
    difference = (resize_and_crop(torch.from_numpy(picture)[None], 1)[0, 0].int() - expected).abs()
    assert difference.max() <= 2
    assert difference.float().mean() < 0.01


@pytest.mark.parametrize("size", SIZES)
def test_the_gpu_code_path_gives_the_same(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs on the CPU: only `_on_cpu` selects the code path."""
    images = torch.from_numpy(natural_picture(*size))[None].permute(0, 3, 1, 2)
    on_cpu = resize_shorter_side(images)
    monkeypatch.setattr("extract.preprocess._on_cpu", lambda _: False)
    difference = (resize_shorter_side(images).int() - on_cpu.int()).abs()
    assert difference.max() <= 2
    assert difference.float().mean() < 0.01


def test_normalisation_equals_openais() -> None:
    image = torch.from_numpy(natural_picture(224, 224)).permute(2, 0, 1)
    torch.testing.assert_close(normalise(image[None], torch.float32)[0], OPENAI_NORMALISE(image / 255))


def test_crops_are_cut_from_one_resized_frame() -> None:
    frames = torch.from_numpy(natural_picture(300, 500))[None]
    whole = resize_shorter_side(frames.permute(0, 3, 1, 2))[0]
    centre, *corners = resize_and_crop(frames, 5)[0]
    assert torch.equal(centre, whole[:, :, 74:298])  # width 373: round(74.5) is 74, as torchvision's
    left, right = whole[:, :, :224], whole[:, :, -224:]
    assert all(torch.equal(got, want) for got, want in zip(corners, (left, right, left, right), strict=True))
    assert torch.equal(resize_and_crop(frames, 1)[0, 0], centre)
    ten = resize_and_crop(frames, 10)[0]
    assert torch.equal(ten[:5], resize_and_crop(frames, 5)[0])
    assert torch.equal(ten[5:], ten[:5].flip(-1))


@pytest.mark.parametrize(
    ("frames", "crops", "message"),
    [
        (torch.zeros(2, 8, 8, dtype=torch.uint8), 1, r"expected \(N, H, W, 3\) uint8"),
        (torch.zeros(2, 8, 8, 3), 1, "float32"),
        (torch.zeros(0, 8, 8, 3, dtype=torch.uint8), 1, r"frames are \(0, 8, 8, 3\)"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), 3, "crops is 3"),
    ],
)
def test_other_frames_are_refused(frames: Tensor, crops: int, message: str, encoder: Encoder) -> None:
    with pytest.raises(ValueError, match=message):
        resize_and_crop(frames, crops)
    with pytest.raises(ValueError, match=message):
        encoder.encode(frames, crops)


def openai_image_tower(state: dict[str, Tensor], pixels_B3HW: Tensor) -> Tensor:
    """OpenAI's VisionTransformer, from the published definition, on plain tensors."""

    def layer_norm(x: Tensor, name: str) -> Tensor:
        return nn.functional.layer_norm(x, (768,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    patches = nn.functional.conv2d(pixels_B3HW, state["visual.conv1.weight"], stride=16).flatten(2)
    x = patches.transpose(1, 2)
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], 1)
    x = layer_norm(x + state["visual.positional_embedding"], "visual.ln_pre")
    for block in range(12):
        name = f"visual.transformer.resblocks.{block}"
        y = layer_norm(x, f"{name}.ln_1")
        qkv = y @ state[f"{name}.attn.in_proj_weight"].T + state[f"{name}.attn.in_proj_bias"]
        q, k, v = (part.unflatten(-1, (12, 64)).transpose(1, 2) for part in qkv.chunk(3, -1))
        attention = (q @ k.transpose(-2, -1) / 8).softmax(-1) @ v
        x = x + linear(attention.transpose(1, 2).flatten(2), f"{name}.attn.out_proj")
        hidden = linear(layer_norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        x = x + linear(hidden * torch.sigmoid(1.702 * hidden), f"{name}.mlp.c_proj")
    return layer_norm(x[:, 0], "visual.ln_post") @ state["visual.proj"]


def test_an_embedding_equals_openais_definition(encoder: Encoder) -> None:
    state = build_clip("random")[0].state_dict()
    pictures = [natural_picture(*size, seed=seed) for seed, size in enumerate([(240, 320), (90, 60)])]
    for picture in pictures:
        image = OPENAI_NORMALISE(OPENAI_GEOMETRY(Image.fromarray(picture)) / 255)
        expected = openai_image_tower(state, image[None])[0]
        embedding = encoder.encode(picture[None])
        assert embedding.shape == (1, 1, 512)
        assert embedding.dtype == torch.float32
        assert torch.cosine_similarity(embedding[0, 0], expected, dim=0) > 0.9999


def test_an_embedding_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    """Bit for bit, because a resumed run fills its batches differently."""
    pictures = np.stack([natural_picture(64, 80, seed) for seed in range(4)])
    together = encoder.encode(pictures)
    assert torch.equal(encoder.encode(pictures[:1]), together[:1])
    assert torch.equal(encoder.encode(pictures[[2, 0, 3]]), together[[2, 0, 3]])


def test_crops_are_encoded_in_order(encoder: Encoder) -> None:
    picture = natural_picture(40, 60)
    crops = encoder.encode(picture[None], crops=5)
    assert crops.shape == (1, 5, 512)
    assert torch.equal(crops[:, :1], encoder.encode(picture[None]))


def test_reversed_and_read_only_arrays_are_accepted(encoder: Encoder) -> None:
    rgb = natural_picture(40, 60)[None]
    as_reversed_bgr = rgb[..., ::-1].copy()[..., ::-1]
    rgb.flags.writeable = False
    assert torch.equal(encoder.encode(as_reversed_bgr), encoder.encode(rgb))


def test_the_fingerprint_identifies_weights_and_precision(encoder: Encoder) -> None:
    fingerprint = encoder.fingerprint
    assert fingerprint.weights_digest.startswith("random-")
    assert fingerprint.precision == "fp32"
    assert fingerprint == load_encoder("random", device="cpu", precision="fp32").fingerprint
    half = EncoderFingerprint(**{**fingerprint.model_dump(), "precision": "fp16"})
    other = EncoderFingerprint(**{**fingerprint.model_dump(), "weights_digest": "0"})
    assert fingerprint.same_features_as(half)
    assert not fingerprint.same_features_as(other)
    assert len({f.digest for f in (fingerprint, half, other)}) == 3


def test_a_cpu_computes_in_bf16_where_it_can_and_where_that_changes_nothing(encoder: Encoder) -> None:
    if not has_bf16_instructions():
        assert load_encoder("random", device="cpu").fingerprint.precision == "fp32"
        pytest.skip("this processor has no instructions for bfloat16: fp32 is chosen")
    low = load_encoder("random", device="cpu")
    assert (low.fingerprint.precision, low.batch_size) == ("bf16", 4)
    assert low.fingerprint.same_features_as(encoder.fingerprint)
    pictures = np.stack([natural_picture(60, 80, seed) for seed in range(5)])
    ours, exact = (one.encode(pictures)[:, 0] for one in (low, encoder))
    assert torch.cosine_similarity(ours, exact, dim=-1).min() > LEAST_COSINE
    # An embedding does not depend on the other pictures of its batch.
    assert torch.equal(ours[4:], low.encode(pictures[4:])[:, 0])


def test_a_batch_on_a_cpu_is_bounded() -> None:
    assert load_encoder("random", "cpu", "fp32", batch_size=4096).batch_size == 32
    assert load_encoder("random", "cpu", "fp32", batch_size=8).batch_size == 8


def test_weights_that_lose_their_embeddings_in_bf16_stay_in_float32() -> None:
    class Tower(nn.Module):
        def __init__(self, offset: float) -> None:
            super().__init__()
            self.offset = nn.Parameter(torch.tensor(offset))

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :512] + self.offset - self.offset

    assert agrees_in_bf16(Tower(0.0))
    assert not agrees_in_bf16(Tower(4096.0))


def test_an_unusable_device_or_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="device nonsense can't be used"):
        resolve_device("nonsense")
    with pytest.raises(ValueError, match="precision is int8"):
        load_encoder("random", "cpu", "int8")


@pytest.mark.gpu
def test_a_gpu_gives_the_same_embeddings() -> None:
    pictures = np.stack([natural_picture(240, 320, seed) for seed in range(4)])
    on_cpu = load_encoder("random", "cpu").encode(pictures, crops=10)
    on_gpu = load_encoder("random", "cuda").encode(pictures, crops=10).cpu()
    assert torch.cosine_similarity(on_cpu, on_gpu, dim=-1).min() > 0.999


def test_pictures_do_not_depend_on_the_number_of_threads(encoder: Encoder) -> None:
    views = Views((5,), "340x256", "bilinear", False, "rgb")
    frames = torch.from_numpy(natural_picture(240, 320)[None])
    threads = torch.get_num_threads()
    try:
        pictures = []
        for count in (1, 2):
            torch.set_num_threads(count)
            pictures.append(encoder.preprocess(frames, views))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*pictures)
