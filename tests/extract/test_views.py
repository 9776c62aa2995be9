"""Views of a frame other than CLIP's own: against PIL, torch in float, and the definition of the crops."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from extract.config import EVERY_SETTING, ExtractConfig
from extract.preprocess import make_views
from extract.views import Views
from tests.extract.test_encoder import natural_picture

PICTURE = natural_picture(240, 320)
FRAMES = torch.from_numpy(PICTURE)[None]


def view(**settings) -> Tensor:
    """(3, 224, 224) uint8"""
    return make_views(FRAMES, ExtractConfig(**settings).views)[0, 0]


def pil_resized(width: int, height: int, resampling: Image.Resampling) -> Tensor:
    resized = Image.fromarray(PICTURE).resize((width, height), resampling)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def assert_close(got: Tensor, expected: Tensor) -> None:
    difference = (got.int() - expected.int()).abs()
    assert difference.max() <= 2
    assert difference.float().mean() < 0.3


def test_a_squashed_picture_is_the_whole_picture() -> None:
    assert_close(view(resize="squash"), pil_resized(224, 224, Image.Resampling.BICUBIC))
    bilinear = pil_resized(224, 224, Image.Resampling.BILINEAR)
    assert_close(view(resize="squash", resampling="bilinear"), bilinear)
    assert_close(view(resize="squash", resampling="bilinear", crop=5), bilinear.flip(-1))


def test_a_letterboxed_picture_has_black_bars() -> None:
    boxed = view(resize="letterbox")
    assert not boxed[:, :28].any()
    assert not boxed[:, 196:].any()
    assert_close(boxed[:, 28:196], pil_resized(224, 168, Image.Resampling.BICUBIC))
    upright = torch.from_numpy(natural_picture(500, 100))[None]
    assert not make_views(upright, Views(resize="letterbox"))[0, 0, :, :, :89].any()


@pytest.mark.parametrize("crop", range(10))
def test_crops_of_a_picture_of_340_by_256(crop: int) -> None:
    resized = pil_resized(
        340, 256, Image.Resampling.BILINEAR
    )  # larger than the frame: antialias has no effect
    y, x = [(16, 58), (0, 0), (0, 116), (32, 0), (32, 116)][crop % 5]
    expected = resized[:, y : y + 224, x : x + 224]
    got = view(resize="340x256", resampling="bilinear", antialias=False, crop=crop)
    assert_close(got, expected.flip(-1) if crop >= 5 else expected)


def test_the_shorter_side_can_be_256() -> None:
    resized = pil_resized(341, 256, Image.Resampling.BICUBIC)
    assert_close(view(resize="shorter-256", crop=4), resized[:, -224:, -224:])


@pytest.mark.parametrize("resampling", ["bicubic", "bilinear"])
def test_without_antialias_as_torch_in_float(resampling: str) -> None:
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)[None].float()
    expected = interpolate(pixels, (224, 224), mode=resampling, align_corners=False).clamp(0, 255).round()[0]
    got = view(resize="squash", resampling=resampling, antialias=False)
    assert (got.float() - expected).abs().max() <= 2


def test_nearest_takes_pixels_of_the_frame() -> None:
    assert set(view(resampling="nearest").unique().tolist()) <= set(FRAMES.unique().tolist())


def test_bgr_swaps_red_and_blue() -> None:
    assert torch.equal(view(colour="bgr"), view().flip(0))


def test_a_single_crop_is_that_crop_of_the_ten() -> None:
    ten = make_views(FRAMES, ExtractConfig(crops=10).views)[0]
    for crop in range(10):
        assert torch.equal(view(crop=crop), ten[crop])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crops": 5, "crop": 2}, "set crops = 1"),
        ({"resize": "squash", "crops": 10}, "keeps the whole picture"),
        ({"resize": "letterbox", "crop": 1}, "keeps the whole picture"),
        ({"crop": 10}, "crop"),
    ],
)
def test_crops_that_do_not_exist_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExtractConfig(**settings)


def test_later_settings_are_stored_only_where_they_are_not_the_default() -> None:
    first_settings = {
        "snippet_length",
        "frame_pick",
        "mean_frames",
        "keep_last",
        "crops",
        "weights",
        "precision",
    }
    assert ExtractConfig().model_dump().keys() == first_settings
    assert ExtractConfig(crop=5).model_dump(mode="json").keys() == {*first_settings, "crop"}
    assert ExtractConfig().model_dump(context=EVERY_SETTING).keys() == set(ExtractConfig.model_fields)
    changed = ExtractConfig(resize="squash", antialias=False, normalise=True)
    assert ExtractConfig.model_validate(changed.model_dump()) == changed
