"""Which pictures of 224 × 224 pixels are made of a frame: resizing, resampling, crops and colour order.

Pure data without torch, so that configs and feature files can be read quickly; `extract.preprocess` computes.
"""

from dataclasses import dataclass
from typing import Literal

Resize = Literal["shorter-224", "shorter-256", "340x256", "squash", "letterbox"]
Resampling = Literal["bicubic", "bilinear", "nearest"]
Colour = Literal["rgb", "bgr"]

CENTRE, MIRRORED_CENTRE = 0, 5
WHOLE_PICTURE: tuple[Resize, ...] = ("squash", "letterbox")
"""Ways of resizing after which nothing is left to crop."""


@dataclass(frozen=True)
class Views:
    """The views of one frame, in the order of `crops`."""

    crops: tuple[int, ...] = (CENTRE,)
    """Numbers of the crops: 0 centre, 1-4 corners (upper left, upper right, lower left, lower right), 5-9 the
    mirror images of 0-4. Of a whole picture 0 and 5 only."""
    resize: Resize = "shorter-224"
    resampling: Resampling = "bicubic"
    antialias: bool = True
    """Average over the source pixels when reducing, as PIL does; OpenCV and plain torch do not."""
    colour: Colour = "rgb"


def standard_views(crops: int) -> Views:
    """CLIP's own preprocessing with the first 1, 5 or 10 crops."""
    return Views(crops=tuple(range(crops)))
