"""CLIP's preprocessing in batches: resize the shorter side to 224, crop, normalise.

Within 2 of 255 equal to OpenAI's `Resize(224, BICUBIC)`, `CenterCrop(224)`, `ToTensor`, `Normalize` on a PIL
image. PIL's resize is bicubic with antialiasing, horizontal pass first, and rounds to 8 bits between the
passes. torch's uint8 kernel on the CPU does the same; on other devices both passes run in float, each clamped
and rounded.

Shape suffixes: N images, H height, W width, C = 3 channels (RGB).
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIZE = 224
PREPROCESSING = "openai-clip: shorter side 224 bicubic antialias, crops 224, mean/std v1"
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def resize_and_crop(frames_NHWC: Tensor, crops: int) -> Tensor:
    """(N, H, W, 3) uint8 RGB on any device -> (N, crops, 3, 224, 224) uint8; `crops` is 1, 5 or 10.

    Order: 0 centre, 1-4 corners (upper left, upper right, lower left, lower right), 5-9 mirror images of 0-4.
    Raises ValueError for another shape, dtype or number of crops.
    """
    require_frames(frames_NHWC)
    if crops not in (1, 5, 10):
        raise ValueError(f"crops is {crops}, expected 1, 5 or 10")
    resized = resize_shorter_side(frames_NHWC.permute(0, 3, 1, 2))
    height, width = resized.shape[-2:]
    bottom, right = height - SIZE, width - SIZE
    # torchvision's CenterCrop rounds half to even, like `round`
    corners = [(round(bottom / 2), round(right / 2)), (0, 0), (0, right), (bottom, 0), (bottom, right)]
    views = [resized[..., y : y + SIZE, x : x + SIZE] for y, x in corners[: min(crops, 5)]]
    if crops == 10:
        views += [view.flip(-1) for view in views]
    return torch.stack(views, 1)


def require_frames(frames_NHWC: Tensor) -> None:
    """Raise ValueError for an empty tensor, or another shape or dtype than (N, H, W, 3) uint8."""
    valid = frames_NHWC.ndim == 4 and frames_NHWC.shape[-1] == 3 and frames_NHWC.dtype == torch.uint8
    if not valid or not frames_NHWC.numel():
        got = f"{tuple(frames_NHWC.shape)} {frames_NHWC.dtype}"
        raise ValueError(f"frames are {got}, expected (N, H, W, 3) uint8 RGB")


def resize_shorter_side(images_NCHW: Tensor) -> Tensor:
    """Resize the shorter side to 224, the other to int(224 · long / short), as torchvision's Resize."""
    height, width = images_NCHW.shape[-2:]
    new_height, new_width = _resized_size(height, width)
    if (new_height, new_width) == (height, width):
        return images_NCHW
    if _on_cpu(images_NCHW):
        # Keep the channels-last view: torch's fast uint8 kernel requires it.
        return _bicubic(images_NCHW, new_height, new_width)
    horizontal = _bicubic(images_NCHW.float(), height, new_width).round_().clamp_(0, 255)
    return _bicubic(horizontal, new_height, new_width).round_().clamp_(0, 255).to(torch.uint8)


def resized_bytes(height: int, width: int) -> int:
    """Bytes of one resized RGB image; large for an extreme aspect ratio."""
    new_height, new_width = _resized_size(height, width)
    return 3 * new_height * new_width


def _resized_size(height: int, width: int) -> tuple[int, int]:
    long = int(SIZE * max(height, width) / min(height, width))
    return (SIZE, long) if height <= width else (long, SIZE)


def normalise(images_NCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, 3, H, W) uint8 -> CLIP's normalised values in `dtype`."""
    mean = torch.tensor(_MEAN, device=images_NCHW.device).view(3, 1, 1)
    std = torch.tensor(_STD, device=images_NCHW.device).view(3, 1, 1)
    return ((images_NCHW.float() / 255 - mean) / std).to(dtype)


def _on_cpu(images: Tensor) -> bool:
    return images.device.type == "cpu"


def _bicubic(images: Tensor, height: int, width: int) -> Tensor:
    return interpolate(images, (height, width), mode="bicubic", align_corners=False, antialias=True)
