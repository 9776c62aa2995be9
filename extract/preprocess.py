"""CLIP's preprocessing in batches: resize, crop, normalise; `Views` has other ways, to reproduce features.

By default within 2 of 255 equal to OpenAI's `Resize(224, BICUBIC)`, `CenterCrop(224)`, `ToTensor`,
`Normalize` on a PIL image. PIL's resize is bicubic with antialiasing, horizontal pass first, and rounds to 8
bits between the passes. torch's uint8 kernel on the CPU does the same; on other devices both passes run in
float, each clamped and rounded.

Shape suffixes: N images, H height, W width, C = 3 channels (RGB).
"""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from extract.views import CENTRE, MIRRORED_CENTRE, WHOLE_PICTURE, Resize, Views, standard_views

SIZE = 224
_LARGER = 256
_WIDE = (256, 340)
"""Height and width of `340x256`, the size at which I3D's and VadCLIP's ten crops are cut."""
PREPROCESSING = "openai-clip: shorter side 224 bicubic antialias, crops 224, mean/std v1"
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def resize_and_crop(frames_NHWC: Tensor, crops: int) -> Tensor:
    """(N, H, W, 3) uint8 RGB on any device -> (N, crops, 3, 224, 224) uint8; `crops` is 1, 5 or 10.

    CLIP's own preprocessing; the order of the crops is that of `Views.crops`. Raises ValueError for another
    shape, dtype or number of crops.
    """
    if crops not in (1, 5, 10):
        raise ValueError(f"crops is {crops}, expected 1, 5 or 10")
    return make_views(frames_NHWC, standard_views(crops))


def make_views(frames_NHWC: Tensor, views: Views) -> Tensor:
    """(N, H, W, 3) uint8 RGB on any device -> (N, len(views.crops), 3, 224, 224) uint8.

    Raises ValueError for frames of another shape or dtype.
    """
    require_frames(frames_NHWC)
    resized = _resize(frames_NHWC.permute(0, 3, 1, 2), views)
    pictures = torch.stack([_crop(resized, number) for number in views.crops], 1)
    return pictures.flip(2) if views.colour == "bgr" else pictures


def reduce_frames(frames_NHWC: Tensor, views: Views) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, h, w, 3): resized, and for a single crop cut out.

    `make_views` with `reduced_views(views)` makes the same views of them as of the frames with `views`.
    """
    resized = _resize(frames_NHWC.permute(0, 3, 1, 2), views)
    if len(views.crops) == 1:
        height, width = resized.shape[-2:]
        y, x = _corner(height, width, views.crops[0])
        resized = resized[..., y : y + SIZE, x : x + SIZE]
    return resized.permute(0, 2, 3, 1)


def reduced_views(views: Views) -> Views:
    """The views to make of `reduce_frames(…, views)`: a single crop is at most mirrored."""
    if len(views.crops) > 1:
        return views  # a resized picture is not resized again
    crop = MIRRORED_CENTRE if views.crops[0] >= MIRRORED_CENTRE else CENTRE
    return replace(views, crops=(crop,), resize="shorter-224")


def _crop(resized_NCHW: Tensor, number: int) -> Tensor:
    height, width = resized_NCHW.shape[-2:]
    y, x = _corner(height, width, number)
    view = resized_NCHW[..., y : y + SIZE, x : x + SIZE]
    return view.flip(-1) if number >= MIRRORED_CENTRE else view


def _corner(height: int, width: int, number: int) -> tuple[int, int]:
    """Upper left corner of a crop of a resized picture."""
    bottom, right = height - SIZE, width - SIZE
    # torchvision's CenterCrop rounds half to even, like `round`
    corners = ((round(bottom / 2), round(right / 2)), (0, 0), (0, right), (bottom, 0), (bottom, right))
    return corners[number % 5]


def crop_place(height: int, width: int, resize: Resize, number: int) -> tuple[int, int, bool]:
    """Equal for crops that are the same pixels: upper and lower corners of a wide frame, for example."""
    if resize in WHOLE_PICTURE:
        return 0, 0, number >= 5
    y, x = _corner(*_resized_size(height, width, resize), number)
    return y, x, number >= 5


def require_frames(frames_NHWC: Tensor) -> None:
    """Raise ValueError for an empty tensor, or another shape or dtype than (N, H, W, 3) uint8."""
    valid = frames_NHWC.ndim == 4 and frames_NHWC.shape[-1] == 3 and frames_NHWC.dtype == torch.uint8
    if not valid or not frames_NHWC.numel():
        got = f"{tuple(frames_NHWC.shape)} {frames_NHWC.dtype}"
        raise ValueError(f"frames are {got}, expected (N, H, W, 3) uint8 RGB")


def resize_shorter_side(images_NCHW: Tensor) -> Tensor:
    """Resize the shorter side to 224, the other to int(224 · long / short), as torchvision's Resize."""
    return _resize(images_NCHW, Views())


def _resize(images_NCHW: Tensor, views: Views) -> Tensor:
    """Resize as `views` says; both sides are then at least 224."""
    height, width = images_NCHW.shape[-2:]
    size = _resized_size(height, width, views.resize)
    resized = images_NCHW if size == (height, width) else _resample(images_NCHW, size, views)
    return _padded(resized) if views.resize == "letterbox" else resized


def _resample(images_NCHW: Tensor, size: tuple[int, int], views: Views) -> Tensor:
    if views.resampling == "nearest":
        return interpolate(images_NCHW, size, mode="nearest-exact")
    if not views.antialias:  # in float: torch's bicubic uint8 kernel differs from it by up to 12 of 255
        return _rounded(_interpolate(images_NCHW.float(), size, views)).to(torch.uint8)
    if _on_cpu(images_NCHW):
        # Keep the channels-last view: torch's fast uint8 kernel requires it.
        return _interpolate(images_NCHW, size, views)
    horizontal = _rounded(_interpolate(images_NCHW.float(), (images_NCHW.shape[-2], size[1]), views))
    return _rounded(_interpolate(horizontal, size, views)).to(torch.uint8)


def _rounded(images: Tensor) -> Tensor:
    return images.round_().clamp_(0, 255)


def _padded(images_NCHW: Tensor) -> Tensor:
    """The picture in the middle of a black square of 224 pixels."""
    height, width = images_NCHW.shape[-2:]
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    return pad(images_NCHW, (left, SIZE - width - left, top, SIZE - height - top))


def resized_bytes(height: int, width: int, resize: Resize = "shorter-224") -> int:
    """Bytes of one resized RGB image; large for an extreme aspect ratio."""
    new_height, new_width = _resized_size(height, width, resize)
    return 3 * new_height * new_width


def _resized_size(height: int, width: int, resize: Resize) -> tuple[int, int]:
    if resize == "340x256":
        return _WIDE
    if resize == "squash":
        return SIZE, SIZE
    if resize == "letterbox":
        scale = SIZE / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))
    short = _LARGER if resize == "shorter-256" else SIZE
    long = int(short * max(height, width) / min(height, width))
    return (short, long) if height <= width else (long, short)


def normalise(images_NCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, 3, H, W) uint8 -> CLIP's normalised values in `dtype`."""
    mean, std = _statistics(images_NCHW.device)
    return ((images_NCHW.float() / 255 - mean) / std).to(dtype)


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    # Copied to a GPU once: such a copy waits for the device, and so for the batch that it is computing.
    return torch.tensor(_MEAN, device=device).view(3, 1, 1), torch.tensor(_STD, device=device).view(3, 1, 1)


def _on_cpu(images: Tensor) -> bool:
    return images.device.type == "cpu"


def _interpolate(images: Tensor, size: tuple[int, int], views: Views) -> Tensor:
    return interpolate(images, size, mode=views.resampling, align_corners=False, antialias=views.antialias)
