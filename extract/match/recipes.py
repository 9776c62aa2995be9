"""Recipes: `ExtractConfig`s that are tried one after the other, in words and as settings.

Each list begins with the setting that `extract` has by default: of equals the first one is chosen.
"""

import json
from collections.abc import Iterable, Iterator
from shlex import quote
from typing import get_args

from extract.config import EVERY_SETTING, ExtractConfig
from extract.views import CENTRE, MIRRORED_CENTRE, WHOLE_PICTURE, Resize

CROPS = range(10)
CROP_NAMES = ("centre", "upper left", "upper right", "lower left", "lower right")
MEANS = (4, 16, 2, 8)
"""Numbers of frames of a snippet whose mean is tried."""
RESAMPLINGS = (
    ("bicubic", True),
    ("bilinear", True),
    ("bicubic", False),
    ("bilinear", False),
    ("nearest", False),
)
_RESIZED = {
    "shorter-224": "shorter side to 224",
    "shorter-256": "shorter side to 256",
    "340x256": "340 × 256",
    "squash": "whole picture squashed",
    "letterbox": "whole picture with black bars",
}
_COMPARED = (
    "snippet_length",
    "frame_pick",
    "mean_frames",
    "frame_offset",
    "keep_last",
    "resize",
    "resampling",
    "antialias",
    "colour",
    "crops",
    "crop",
    "normalise",
    "precision",
    "weights",
)


def changed(config: ExtractConfig, **settings: object) -> ExtractConfig:
    """The config with other settings, validated."""
    return ExtractConfig.model_validate(config.model_dump() | settings)


def geometries(config: ExtractConfig) -> list[ExtractConfig]:
    """Every way of resizing, with every crop that it has."""
    return [
        variant for resize in get_args(Resize) for variant in crops_of(changed(config, resize=resize, crop=0))
    ]


def crops_of(config: ExtractConfig) -> list[ExtractConfig]:
    """Every crop of one way of resizing."""
    crops = (CENTRE, MIRRORED_CENTRE) if config.resize in WHOLE_PICTURE else CROPS
    return [changed(config, crop=crop) for crop in crops]


def colours(config: ExtractConfig) -> list[ExtractConfig]:
    """Both orders of the colours."""
    return [changed(config, colour=colour) for colour in ("rgb", "bgr")]


def resamplings(config: ExtractConfig) -> list[ExtractConfig]:
    """Every interpolation, with and without antialiasing."""
    return [changed(config, resampling=name, antialias=antialias) for name, antialias in RESAMPLINGS]


def single_frame(config: ExtractConfig, frame: int) -> ExtractConfig:
    """One frame for each snippet, by its distance from the snippet's first frame; it may lie outside."""
    anchors = _anchors(config.snippet_length)
    nearest = min(anchors, key=lambda name: abs(anchors[name] - frame))
    pick = nearest if abs(anchors[nearest] - frame) <= 1 else "first"
    return changed(config, frame_pick=pick, mean_frames=4, frame_offset=frame - anchors[pick])


def same_frame(config: ExtractConfig) -> list[ExtractConfig]:
    """The other ways of taking this one frame of a whole snippet: from its middle, its start or its end."""
    if config.frame_pick == "mean":
        return []
    frame = frame_number(config)
    anchors = _anchors(config.snippet_length)
    return [changed(config, frame_pick=pick, frame_offset=frame - start) for pick, start in anchors.items()]


def frames_inside(config: ExtractConfig) -> list[ExtractConfig]:
    """At most 16 single frames of a snippet, the middle one first, then the means of several frames."""
    length = config.snippet_length
    numbers = sorted({i * length // 16 for i in range(16)} | {length - 1}, key=lambda i: abs(i - length // 2))
    means = [changed(config, frame_pick="mean", mean_frames=count, frame_offset=0) for count in MEANS]
    return [*(single_frame(config, number) for number in numbers), *means]


def frames_outside(config: ExtractConfig) -> list[ExtractConfig]:
    """Single frames of the neighbouring snippets, in steps of a quarter of a snippet."""
    length = config.snippet_length
    step = max(1, length // 4)
    return [single_frame(config, i) for i in (*range(-2 * length, 0, step), *range(length, 3 * length, step))]


def frames_near(config: ExtractConfig, reach: int) -> list[ExtractConfig]:
    """The config with its frames moved by up to `reach`."""
    return [changed(config, frame_offset=config.frame_offset + by) for by in range(-reach, reach + 1)]


def set_options(config: ExtractConfig) -> str:
    """The options of `dsanet extract` that make the same features; empty for the default."""
    default = ExtractConfig().model_dump(context=EVERY_SETTING)
    values = config.model_dump(mode="json", context=EVERY_SETTING)
    different = {name: values[name] for name in _COMPARED if values[name] != default[name]}
    return " ".join(
        f"--set extract.{name}={quote(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in different.items()
    )


def describe(config: ExtractConfig) -> str:
    """The recipe in words, without the crop: `frame 8 of 16, shorter side to 224, bicubic, RGB`."""
    return ", ".join(_words(config))


def _words(config: ExtractConfig) -> Iterator[str]:
    yield describe_frames(config)
    yield _RESIZED[config.resize]
    yield config.resampling + (
        "" if config.antialias or config.resampling == "nearest" else " without antialias"
    )
    yield config.colour.upper()
    yield "normalised" if config.normalise else "not normalised"
    if config.precision != "auto":
        yield config.precision
    if config.weights != "openai":
        yield f"weights {config.weights}"


def describe_frames(config: ExtractConfig) -> str:
    """`frame 8 of 16`, counted from 0, or `mean of 4 of 16 frames`."""
    length = config.snippet_length
    if config.frame_pick == "mean":
        count = min(config.mean_frames, length)
        moved = f" moved by {config.frame_offset:+}" if config.frame_offset else ""
        return f"mean of {'all' if count == length else f'{count} of'} {length} frames{moved}"
    return f"frame {frame_number(config)} of {length}"


def frame_number(config: ExtractConfig) -> int:
    """The single frame that is taken of a whole snippet, counted from its first one."""
    return _anchors(config.snippet_length)[config.frame_pick] + config.frame_offset


def _anchors(length: int) -> dict[str, int]:
    return {"middle": length // 2, "first": 0, "last": length - 1}


def crop_name(crop: int, *, whole: bool = False) -> str:
    """`centre` for 0, `upper left mirrored` for 6, `whole picture` where nothing is cropped."""
    name = "whole picture" if whole else CROP_NAMES[crop % 5]
    return f"{name} mirrored" if crop >= 5 else name


def as_ten(configs: Iterable[ExtractConfig]) -> ExtractConfig | None:
    """The config that makes all of these crops at once, if they are the first 1, 5 or 10 in order."""
    one_each = list(configs)
    crops = [config.crop for config in one_each]
    if len(crops) == 1:
        return one_each[0]
    if len(crops) not in (5, 10) or crops != list(range(len(crops))):
        return None
    return changed(one_each[0], crop=CENTRE, crops=len(crops))
