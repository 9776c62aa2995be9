"""CLIP's frozen image tower: RGB frames in, one 512-dimensional embedding per crop out.

Shape suffixes: N frames, H height, W width, C = 3 channels (RGB), B images.
"""

import copy
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extract.config import FEATURE_DIM, EncoderFingerprint
from extract.errors import InputError
from extract.preprocess import PREPROCESSING, make_views, normalise, require_frames, resized_bytes
from extract.views import Views, standard_views

Precision = Literal["fp32", "fp16", "bf16"]
_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_CPU_BATCH = {"fp32": 2, "fp16": 2, "bf16": 4}
"""Measured images per second on 2 cores: float32 5.2 with batches of 1, 5.5 with 2, 5.7 with 8; bfloat16 17.7
with 1, 18.8 with 4, 19.4 with 8. Smaller batches waste less where a batch is filled up."""
_CPU_BATCH_AT_MOST = 32
"""A larger batch is not faster on a CPU, and one of 256 takes 1 GB more memory in bfloat16."""
_CUDA_BATCH = 256
LEAST_COSINE = 0.999
"""To the embeddings in float32, for a lower precision to be chosen on a CPU."""
_PREPROCESS_BYTES = 256_000_000
"""Limit of uint8 bytes resized at once: a whole batch of 4K frames would take 25 GB in float."""


class FrameEncoder(Protocol):
    """Interface between the extraction engine and an encoder; `Encoder` implements it."""

    @property
    def batch_size(self) -> int: ...

    @property
    def fingerprint(self) -> EncoderFingerprint: ...

    @property
    def device(self) -> torch.device: ...

    def preprocess(self, frames_NHWC: Tensor, views: Views) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, len(views.crops), 3, 224, 224) uint8 on the device."""

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, 224, 224) uint8 -> (B, 512) float32 on the device."""


class Encoder:
    """CLIP's image tower on one device in one precision; embeddings are not normalised, as by OpenAI."""

    def __init__(
        self, tower: torch.nn.Module, fingerprint: EncoderFingerprint, device: torch.device, batch_size: int
    ) -> None:
        self.fingerprint = fingerprint
        self.device = device
        self.batch_size = batch_size
        self._dtype = _DTYPES[fingerprint.precision]
        self._tower = tower.to(device, self._dtype)
        on_cuda = device.type == "cuda"
        self._copy_stream = torch.cuda.Stream(device) if on_cuda else None  # type: ignore[no-untyped-call]

    def encode(self, frames_NHWC: npt.NDArray[np.uint8] | Tensor, crops: int | Views = 1) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, crops, 512) float32 on the device.

        `crops` is 1, 5 or 10, in the order of `Views.crops`, or the views themselves. Raises ValueError for
        another number of crops, and for frames of another shape or dtype.
        """
        if not isinstance(crops, Views) and crops not in (1, 5, 10):
            raise ValueError(f"crops is {crops}, expected 1, 5 or 10")
        views = crops if isinstance(crops, Views) else standard_views(crops)
        if isinstance(frames_NHWC, np.ndarray):
            # torch rejects negative strides (BGR reversed to RGB, for example) and read-only arrays.
            frames_NHWC = torch.from_numpy(np.require(frames_NHWC, requirements=["C", "W"]))
        images = self.preprocess(frames_NHWC, views)
        return self.embed(images.flatten(0, 1)).view(-1, len(views.crops), FEATURE_DIM)

    def preprocess(self, frames_NHWC: Tensor, views: Views) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, len(views.crops), 3, 224, 224) uint8 on the device."""
        require_frames(frames_NHWC)
        height, width = frames_NHWC.shape[1:3]
        largest = max(frames_NHWC[0].numel(), resized_bytes(height, width, views.resize))
        at_once = max(1, _PREPROCESS_BYTES // largest)
        with single_torch_thread():
            return torch.cat(
                [make_views(self._to_device(part), views) for part in torch.split(frames_NHWC, at_once)]
            )

    def _to_device(self, frames_NHWC: Tensor) -> Tensor:
        if self._copy_stream is None:
            return frames_NHWC.to(self.device)
        # On a separate stream the copy does not wait for the batch being computed.
        with torch.cuda.stream(self._copy_stream):
            copied = frames_NHWC.pin_memory().to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copy_stream)
        copied.record_stream(computing)
        return copied

    @torch.inference_mode()
    def embed(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, 224, 224) uint8 -> (B, 512) float32 on the device; independent of the other images."""
        # Every batch has the same shape: matrix libraries select kernels by shape, and the last bit of an
        # embedding would otherwise depend on the number of images in its batch.
        padding = -len(images_BCHW) % self.batch_size
        filler = images_BCHW.new_zeros(padding, *images_BCHW.shape[1:])
        padded = torch.cat([images_BCHW, filler]) if padding else images_BCHW
        batches = padded.view(-1, self.batch_size, *images_BCHW.shape[1:])
        embeddings = [self._tower(normalise(batch, self._dtype)).float() for batch in batches]
        return torch.cat(embeddings)[: len(images_BCHW)]


def load_encoder(
    weights: str, device: str = "auto", precision: str = "auto", batch_size: int | None = None
) -> Encoder:
    """Load the frozen image tower of CLIP ViT-B/16.

    Args:
        weights: `openai` (downloaded once, then cached), `random` (trials) or the path of OpenAI's .pt file,
            a state dict or a safetensors file.
        device: `auto` (CUDA if available), `cpu`, `cuda`, `cuda:1`.
        precision: `fp32`, `fp16`, `bf16`, or `auto`: fp16 on CUDA, as OpenAI's code (cosine to fp32 0.9999);
            on a CPU with instructions for it bf16, if these weights then give the embeddings of fp32
            (`LEAST_COSINE`), else fp32.
        batch_size: Images per batch; by default 256 on CUDA, and on a CPU 2, in bf16 4, and at most 32.

    Returns:
        An encoder; `encode` takes (N, H, W, 3) uint8 RGB frames and returns (N, crops, 512) float32
        embeddings, not normalised.

    Raises:
        FileNotFoundError: The weights file does not exist, or the download fails.
        ValueError: The file is not a complete set of OpenAI's ViT-B/16 weights, the device is not usable, or
            the precision is unknown.

    Examples:
        >>> import numpy as np
        >>> from extract import load_encoder
        >>> encoder = load_encoder("random", device="cpu")
        >>> encoder.encode(np.zeros((2, 240, 320, 3), np.uint8), crops=5).shape
        torch.Size([2, 5, 512])
    """
    from extract.clip import ARCHITECTURE, build_clip  # here, because importing open_clip takes seconds

    target = resolve_device(device)
    on_cuda = target.type == "cuda"
    if precision not in ("auto", *_DTYPES):
        raise InputError(f"precision is {precision}, expected auto, {', '.join(_DTYPES)}")
    model, digest = build_clip(weights)
    resolved: Precision
    if precision == "auto":
        resolved = "fp16" if on_cuda else _cpu_precision(model.visual)
    else:
        resolved = cast(Precision, precision)
    fingerprint = EncoderFingerprint(
        architecture=ARCHITECTURE,
        weights_digest=digest,
        preprocessing=PREPROCESSING,
        precision=resolved,
    )
    if on_cuda:
        batch = batch_size or _CUDA_BATCH
    else:
        batch = min(batch_size or _CPU_BATCH[resolved], _CPU_BATCH_AT_MOST)
    return Encoder(model.visual, fingerprint, target, batch)


def _cpu_precision(tower: torch.nn.Module) -> Precision:
    """The fastest precision on this CPU whose embeddings are those of float32; `tower` is in float32."""
    return "bf16" if has_bf16_instructions() and agrees_in_bf16(tower) else "fp32"


def has_bf16_instructions() -> bool:
    """True if the CPU multiplies matrices in bfloat16: AVX512-BF16, AMX, or ARM's instructions.

    Elsewhere torch emulates bfloat16, which is slower than float32.
    """
    if platform.machine() in ("aarch64", "arm64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


@torch.inference_mode()
def agrees_in_bf16(tower: torch.nn.Module) -> bool:
    """True if the tower gives pictures the same embeddings in bfloat16 (cosine ≥ LEAST_COSINE)."""
    images = normalise(_sample_pictures(), torch.float32)
    exact = tower(images)
    low = copy.deepcopy(tower).to(torch.bfloat16)(images.to(torch.bfloat16)).float()
    return bool(torch.cosine_similarity(exact, low, dim=-1).min() >= LEAST_COSINE)


def _sample_pictures() -> Tensor:
    """(2, 3, 224, 224) uint8: a smooth picture and a detailed one, the same ones always."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 3, 224, 224, generator=generator)
    noise[0] = torch.nn.functional.interpolate(noise[:1, :, :7, :7], (224, 224), mode="bilinear")[0]
    return (noise * 255).to(torch.uint8)


def cuda_cards() -> int:
    """Number of CUDA cards that can be used."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def resolve_device(device: str) -> torch.device:
    """The torch device of a setting; `auto` is CUDA if available. Raises ValueError if it is not usable."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device} can't be used ({reason}); give auto, cpu or cuda") from error
    return resolved


@contextmanager
def single_torch_thread() -> Iterator[None]:
    """Limit torch to one thread, because decoder processes occupy the other cores.

    With several, resizing without antialiasing rounds some pixels differently.

    Waiting threads spin: where decoding is the bottleneck, two threads took 7.1 s of CPU time to prepare
    1,200 pictures, and one thread took 0.7 s.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
