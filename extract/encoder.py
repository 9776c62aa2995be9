"""Frozen CLIP image tower: frames in, one embedding a crop out; and its batches across videos."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extract.config import FEATURE_DIM, EncoderFingerprint
from extract.preprocess import PREPROCESSING, crops_of, normalise, resized_bytes

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_CPU_BATCH = 2
"""Within 2 % of the rate at 8 (measured: 2.77 and 2.83 images a second and core; 2.60 at 1)."""
_CUDA_BATCH = 256
_PREPROCESS_BYTES = 256_000_000
"""Pictures resized at once, in bytes of uint8: a batch of 4K frames would take 25 GB in float."""


class FrameEncoder(Protocol):
    """What the engine needs of an encoder; `Encoder` is the real one."""

    @property
    def batch_size(self) -> int: ...

    @property
    def fingerprint(self) -> EncoderFingerprint: ...

    def preprocess(self, frames_NHWC: Tensor, crops: int) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, crops, 3, 224, 224) uint8 on the device."""

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, 224, 224) uint8 -> (B, 512) float32 on the device."""


class Encoder:
    """CLIP's image tower on one device, in one precision. Embeddings are not normalised, as OpenAI's."""

    def __init__(
        self, tower: torch.nn.Module, fingerprint: EncoderFingerprint, device: torch.device, batch_size: int
    ) -> None:
        self.fingerprint = fingerprint
        self.device = device
        self.batch_size = batch_size
        self._dtype = _DTYPES[fingerprint.precision]
        self._tower = tower.to(device, self._dtype)
        on_cuda = device.type == "cuda"
        self._copies = torch.cuda.Stream(device) if on_cuda else None  # type: ignore[no-untyped-call]

    def encode(self, frames_NHWC: npt.NDArray[np.uint8] | Tensor, crops: int = 1) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, crops, 512) float32 on the device; crop order as in `crops_of`."""
        if isinstance(frames_NHWC, np.ndarray):  # of any strides; a reversed view of BGR, say
            frames_NHWC = torch.from_numpy(np.require(frames_NHWC, requirements=["C", "W"]))
        images = self.preprocess(frames_NHWC, crops)
        return self.embed(images.flatten(0, 1)).view(-1, crops, FEATURE_DIM)

    def preprocess(self, frames_NHWC: Tensor, crops: int) -> Tensor:
        largest = max(frames_NHWC[0].numel(), resized_bytes(*frames_NHWC.shape[1:3]))
        at_once = max(1, _PREPROCESS_BYTES // largest)
        return torch.cat(
            [crops_of(self._on_device(part), crops) for part in torch.split(frames_NHWC, at_once)]
        )

    def _on_device(self, frames: Tensor) -> Tensor:
        if self._copies is None:
            return frames.to(self.device)
        # On a stream of its own the copy does not wait for the batch that is being computed.
        with torch.cuda.stream(self._copies):
            copied = frames.pin_memory().to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._copies)
        copied.record_stream(computing)
        return copied

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        # Always the same batch shape: matrix libraries choose their kernels by it, and a row's last
        # bit would otherwise depend on how many others happened to be computed beside it.
        padding = -len(images) % self.batch_size
        padded = torch.cat([images, images.new_zeros(padding, *images.shape[1:])]) if padding else images
        batches = padded.view(-1, self.batch_size, *images.shape[1:])
        rows = [self._tower(normalise(batch, self._dtype)).float() for batch in batches]
        return torch.cat(rows)[: len(images)]


def load_encoder(
    weights: str, device: str = "auto", precision: str = "auto", batch_size: int | None = None
) -> Encoder:
    """CLIP ViT-B/16's image tower with `weights` (see `build_clip`), on `device`.

    Precision `auto` is fp16 on CUDA, OpenAI's own (cosine to fp32 0.9999), and fp32 on a CPU.
    Raises FileNotFoundError and ValueError as `build_clip`, and ValueError for an unusable device.
    """
    from extract.clip import ARCHITECTURE, build_clip  # open_clip takes seconds to import

    place = resolve_device(device)
    on_cuda = place.type == "cuda"
    exact = ("fp16" if on_cuda else "fp32") if precision == "auto" else precision
    if exact not in _DTYPES:
        raise ValueError(f"precision is {precision}, expected auto, {', '.join(_DTYPES)}")
    model, digest = build_clip(weights)
    fingerprint = EncoderFingerprint(
        architecture=ARCHITECTURE,
        weights_digest=digest,
        preprocessing=PREPROCESSING,
        precision=exact,
    )
    return Encoder(model.visual, fingerprint, place, batch_size or (_CUDA_BATCH if on_cuda else _CPU_BATCH))


def resolve_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises ValueError for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device} can't be used ({reason}); give auto, cpu or cuda") from error
    return place


Owner = TypeVar("Owner")
Pixels = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]


class Batches(Generic[Owner]):
    """Pictures of any size and video in, embeddings out, each with its owner.

    Results are fetched one batch late: while a GPU works on one, the next is gathered, copied, started.
    """

    def __init__(self, encoder: FrameEncoder, crops: int) -> None:
        self._encoder = encoder
        self._crops = crops
        self._pictures = max(1, encoder.batch_size // crops)
        self._pending: list[tuple[Owner, Pixels]] = []
        self._started: deque[tuple[list[Owner], Callable[[], Embeddings]]] = deque()

    def add(self, owner: Owner, pixels: Pixels) -> bool:
        """Add one (H, W, 3) RGB picture; True if that filled a batch, to be started."""
        self._pending.append((owner, pixels))
        return len(self._pending) >= self._pictures

    def start(self) -> None:
        """Start what is pending, a whole batch or less, on the device."""
        by_size: dict[tuple[int, ...], list[tuple[Owner, Pixels]]] = {}
        for owner, pixels in self._pending:
            by_size.setdefault(pixels.shape, []).append((owner, pixels))
        self._pending = []
        if not by_size:
            return
        owners = [owner for group in by_size.values() for owner, _ in group]
        with _one_thread():
            images = [
                self._encoder.preprocess(
                    torch.from_numpy(np.stack([pixels for _, pixels in group])), self._crops
                )
                for group in by_size.values()
            ]
            batch = torch.cat(images).flatten(0, 1) if len(images) > 1 else images[0].flatten(0, 1)
        self._started.append((owners, _begin_fetch(self._encoder.embed(batch))))

    def results(self, *, leave: int) -> Iterator[tuple[Owner, Embeddings]]:
        """(owner, (crops, 512) embedding) of the batches started, but for the last `leave`."""
        while len(self._started) > leave:
            owners, fetch = self._started.popleft()
            yield from zip(owners, fetch().reshape(len(owners), self._crops, FEATURE_DIM), strict=True)


def _begin_fetch(embeddings: Tensor) -> Callable[[], Embeddings]:
    """Start copying to the host; the function returned waits for this copy, not for later batches."""
    if embeddings.device.type != "cuda":
        return embeddings.numpy
    on_host = torch.empty(embeddings.shape, pin_memory=True)
    on_host.copy_(embeddings, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(embeddings.device))

    def fetch() -> Embeddings:
        copied.synchronize()
        return on_host.numpy()

    return fetch


@contextmanager
def _one_thread() -> Iterator[None]:
    """Decoder processes have the other cores: torch's threads, waiting for each other there, only spin.

    Where decoding bounds, two threads took 7.1 s of CPU time to prepare 1,200 pictures, one 0.7 s.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
