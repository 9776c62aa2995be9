"""CLIP's preprocessing in batches: resize the shorter side to 224, crop, normalise.

Equal to OpenAI's `Resize(224, BICUBIC)`, `CenterCrop(224)`, `ToTensor`, `Normalize` on a PIL image, to
within 2 of 255: PIL's resize is bicubic *with antialiasing*, horizontally first, and rounds to
8 bits between its two passes. On a CPU torch's uint8 kernel does the same; elsewhere the two
passes run in float, each clamped and rounded.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIZE = 224
PREPROCESSING = "openai-clip: shorter side 224 bicubic antialias, crops 224, mean/std v1"
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def crops_of(frames_NHWC: Tensor, crops: int) -> Tensor:
    """(N, H, W, 3) uint8 RGB on any device -> (N, crops, 3, 224, 224) uint8, all cut from one resized frame.

    Order: 0 the centre, 1-4 the corners (upper left, upper right, lower left, lower right), 5-9 the
    same mirrored. Raises ValueError for another shape, type or number of crops.
    """
    if frames_NHWC.ndim != 4 or frames_NHWC.shape[-1] != 3 or frames_NHWC.dtype != torch.uint8:
        got = f"{tuple(frames_NHWC.shape)} {frames_NHWC.dtype}"
        raise ValueError(f"frames are {got}, expected (N, H, W, 3) uint8 RGB")
    if crops not in (1, 5, 10):
        raise ValueError(f"crops is {crops}, expected 1, 5 or 10")
    resized = resize_shorter_side(frames_NHWC.permute(0, 3, 1, 2))
    height, width = resized.shape[-2:]
    bottom, right = height - SIZE, width - SIZE
    # torchvision's CenterCrop rounds half to even, as Python does
    corners = [(round(bottom / 2), round(right / 2)), (0, 0), (0, right), (bottom, 0), (bottom, right)]
    views = [resized[..., y : y + SIZE, x : x + SIZE] for y, x in corners[: min(crops, 5)]]
    if crops == 10:
        views += [view.flip(-1) for view in views]
    return torch.stack(views, 1)


def resize_shorter_side(images_NCHW: Tensor) -> Tensor:
    """Shorter side to 224, the other to int(224 · long / short), as torchvision's Resize."""
    height, width = images_NCHW.shape[-2:]
    new_height, new_width = _resized_size(height, width)
    if (new_height, new_width) == (height, width):
        return images_NCHW
    if _on_cpu(images_NCHW):
        # A channels-last view, not a copy: the fast kernel wants it.
        return _bicubic(images_NCHW, new_height, new_width)
    wide = _bicubic(images_NCHW.float(), height, new_width).round_().clamp_(0, 255)
    return _bicubic(wide, new_height, new_width).round_().clamp_(0, 255).to(torch.uint8)


def resized_bytes(height: int, width: int) -> int:
    """Size of one resized RGB picture: large for an extreme aspect ratio."""
    new_height, new_width = _resized_size(height, width)
    return 3 * new_height * new_width


def _resized_size(height: int, width: int) -> tuple[int, int]:
    long = int(SIZE * max(height, width) / min(height, width))
    return (SIZE, long) if height <= width else (long, SIZE)


def normalise(images_NCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 in [0, 255] -> CLIP's normalised values, in `dtype`."""
    mean = torch.tensor(_MEAN, device=images_NCHW.device).view(3, 1, 1)
    std = torch.tensor(_STD, device=images_NCHW.device).view(3, 1, 1)
    return ((images_NCHW.float() / 255 - mean) / std).to(dtype)


def _on_cpu(images: Tensor) -> bool:
    return images.device.type == "cpu"


def _bicubic(images: Tensor, height: int, width: int) -> Tensor:
    return interpolate(images, (height, width), mode="bicubic", align_corners=False, antialias=True)
