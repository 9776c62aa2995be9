"""How features were made: every recipe is found again, mixtures are not one, and their breaks are located."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from extract.config import ExtractConfig
from extract.decode.reader import read_frames
from extract.encoder import single_torch_thread
from extract.errors import InputError
from extract.match.footage import Footage
from extract.match.match import match_features
from extract.match.recipes import set_options
from extract.match.remarks import remarks, sparkline, verdict
from extract.match.result import MatchResult
from tests.extract.match_footage import (
    features_from,
    features_of,
    lively_picture,
    load_small,
    make_footage,
    write_arrays,
)
from tests.extract.numbered_clips import make_clip

Features = dict[str, np.ndarray]
FRAMES = {"a": 300, "b": 215}
"""Of both videos the last snippet is shorter."""


@pytest.fixture(scope="module", autouse=True)
def small_threads() -> Iterator[None]:
    with single_torch_thread():
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_footage(tmp_path_factory.mktemp("footage"), FRAMES)


@pytest.fixture(scope="module")
def made(videos: list[Path]) -> Callable[..., Features]:
    """Features of both videos with some settings, from pictures that are decoded once."""
    pictures = {
        path.stem: np.stack([picture for _, picture in read_frames(path, range(FRAMES[path.stem]))])
        for path in videos
    }
    return lambda **settings: features_from(pictures, **settings)


def match(folder: Path, features: Features, videos: list[Path], weights: str = "random") -> MatchResult:
    arrays = write_arrays(folder / "arrays", features)
    return match_features(arrays, videos, weights=weights.split(), load=load_small)


RECIPES: list[dict] = [
    {},
    {"frame_pick": "first"},
    {"frame_pick": "last"},
    {"frame_pick": "mean"},
    {"frame_pick": "mean", "mean_frames": 16},
    {"frame_offset": -5},
    {"frame_pick": "first", "frame_offset": -16},
    {"crop": 1},
    {"crop": 5},
    {"crop": 7},
    {"resize": "squash"},
    {"resize": "squash", "crop": 5},
    {"resize": "letterbox"},
    {"resize": "shorter-256", "crop": 2},
    {"resize": "340x256", "resampling": "bilinear", "antialias": False, "frame_pick": "first", "crop": 9},
    {"resampling": "bilinear"},
    {"antialias": False},
    {"resampling": "nearest", "antialias": False},
    {"colour": "bgr"},
    {"normalise": True},
    {"keep_last": False},
    {"snippet_length": 8},
    {"snippet_length": 30, "frame_pick": "first"},
    {"resize": "squash", "colour": "bgr", "frame_pick": "last", "resampling": "bilinear", "normalise": True},
]


@pytest.mark.parametrize("settings", RECIPES, ids=lambda one: ",".join(f"{k}={v}" for k, v in one.items()))
def test_each_recipe_is_identified(
    settings: dict, made: Callable[..., Features], videos: list[Path], tmp_path: Path
) -> None:
    result = match(tmp_path, made(**settings), videos)
    assert result.identified
    assert result.recipes[0].config == ExtractConfig.model_validate({"weights": "random", **settings})
    assert min(one.cosines.min() for one in result.arrays) > 0.99999
    assert verdict(result).startswith("identified: recipe 1")


def test_the_settings_make_the_same_features(made: Callable[..., Features], videos, tmp_path: Path) -> None:
    given = made(resize="340x256", colour="bgr", crop=5)
    options = set_options(match(tmp_path, given, videos).recipes[0].config)
    assert options == "--set extract.resize=340x256 --set extract.colour=bgr --set extract.crop=5 " + (
        "--set extract.weights=random"
    )
    settings = dict(option.removeprefix("extract.").split("=") for option in options.split(" ")[1::2])
    again = features_of(videos, tmp_path / "again", **{**settings, "crop": int(settings["crop"])})
    assert all((given[name] == again[name]).all() for name in given)


def test_ten_crops_are_numbered_as_ours(made: Callable[..., Features], videos, tmp_path: Path) -> None:
    result = match(tmp_path, made(crops=10), videos)
    assert result.identified
    assert [one.config.crop for one in result.arrays] == [*range(10)] * 2


def test_crops_in_another_order_are_told_apart(made: Callable[..., Features], videos, tmp_path: Path) -> None:
    ten = made(crops=10)
    result = match(tmp_path, {name: crops[:, [5, 0, 2]] for name, crops in ten.items()}, videos)
    assert result.identified
    assert [one.config.crop for one in result.arrays] == [5, 0, 2] * 2


def test_the_weights_are_told_apart(made: Callable[..., Features], videos, tmp_path: Path) -> None:
    result = match(tmp_path, made(weights="2"), videos, "random 2 3")
    assert result.identified
    assert result.recipes[0].config.weights == "2"


def test_feature_files_of_ours_are_compared_too(videos: list[Path], tmp_path: Path) -> None:
    features_of(videos, tmp_path / "features", frame_pick="first", crops=5)
    result = match_features(tmp_path / "features", videos, weights=["random"], load=load_small)
    assert result.identified
    assert result.recipes[0].config.frame_pick == "first"
    assert [one.config.crop for one in result.arrays] == [*range(5)] * 2


def test_rows_of_two_recipes(made: Callable[..., Features], videos: list[Path], tmp_path: Path) -> None:
    one, other = made(), made(resize="squash", colour="bgr")
    mixed = {name: np.concatenate([rows[:11], other[name][11:]]) for name, rows in one.items()}
    result = match(tmp_path, mixed, videos)
    assert not result.identified
    assert [[(p.first, p.stop) for p in found.parts] for found in result.arrays] == [
        [(0, 11), (11, 19)],
        [(0, 11), (11, 14)],
    ]
    settings = {(found.config.resize, found.config.colour) for found in result.recipes}
    assert settings == {("shorter-224", "rgb"), ("squash", "bgr")}
    assert "from frame 176 (0:05.87) on: made by recipe 2" in remarks(result)[0]
    assert verdict(result).startswith("not identified")


def test_videos_of_two_recipes(made: Callable[..., Features], videos: list[Path], tmp_path: Path) -> None:
    result = match(tmp_path, {"a": made()["a"], "b": made(resize="letterbox")["b"]}, videos)
    assert not result.identified
    assert [found.parts[0].recipe for found in result.arrays] == [0, 1]
    assert result.recipes[1].config.resize == "letterbox"


def test_rows_that_alternate(made: Callable[..., Features], videos: list[Path], tmp_path: Path) -> None:
    one, other = made(), made(crop=5)
    mixed = {n: np.where(np.arange(len(r))[:, None, None] % 2, r, other[n]) for n, r in one.items()}
    result = match(tmp_path, mixed, videos)
    assert not result.identified
    assert all(found.parts[0].mixed for found in result.arrays)
    assert {found.config.crop for found in result.recipes} == {0, 5}
    assert "alternate" in remarks(result)[0]


def test_rows_that_nothing_makes(made: Callable[..., Features], videos: list[Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=rows.shape).astype(np.float16) for name, rows in made().items()}
    result = match(tmp_path, features, videos)
    assert not result.identified
    assert "no recipe reaches a cosine of 0.99" in verdict(result)
    patched = {name: rows.copy() for name, rows in made().items()}
    patched["a"][6:10] = features["a"][6:10]
    result = match(tmp_path, patched, videos)
    assert [(p.first, p.stop, p.recipe) for p in result.arrays[0].parts] == [
        (0, 6, 0),
        (6, 10, None),
        (10, 19, 0),
    ]
    assert result.arrays[1].whole


def test_a_cut(videos: list[Path], tmp_path: Path) -> None:
    """The features are of a copy without the frames 100 to 147."""
    (tmp_path / "cut").mkdir()
    cut = make_clip(
        tmp_path / "cut/a.mp4",
        252,
        size=(192, 144),
        options={"crf": "12"},
        picture=lambda n, w, h: lively_picture(n if n < 100 else n + 48, w, h),
    )
    result = match(tmp_path, features_of([cut], tmp_path / "features"), videos[:1])
    assert [(p.first, p.stop, p.shift) for p in result.arrays[0].parts] == [(0, 6, 0), (6, 16, 48)]
    notes = remarks(result)
    assert "16 rows for 19 snippets: the features of 3 snippets are missing" in notes[0]
    assert "recipe 1 at frames 48 later: frames were cut or put in" in notes[1]


def converted(folder: Path, frames: int, rate: int) -> Path:
    """A copy, at another rate, of the footage of so many frames at 30 a second."""
    folder.mkdir()
    every = 30 / rate
    return make_clip(
        folder / "a.mp4",
        round(frames / every),
        size=(192, 144),
        rate=rate,
        options={"crf": "12"},
        picture=lambda n, w, h: lively_picture(round(n * every), w, h),
    )


def test_a_frame_rate_that_another_number_of_frames_a_row_makes_good(
    videos: list[Path], tmp_path: Path
) -> None:
    copy = converted(tmp_path / "copy", FRAMES["a"], 24)
    result = match(tmp_path, features_of([copy], tmp_path / "features"), videos[:1])
    assert result.identified
    assert result.recipes[0].config.snippet_length == 20
    assert remarks(result) == [
        "a row stands for 20 frames, as 16 frames of footage converted to 24 frames a second"
    ]
    assert "not bit by bit" in verdict(result)


def test_another_frame_rate(tmp_path: Path) -> None:
    video = make_footage(tmp_path / "video", {"a": 480})
    copy = converted(tmp_path / "copy", 480, 25)
    result = match(tmp_path, features_of([copy], tmp_path / "features"), video)
    assert not result.identified
    assert result.arrays[0].timing.stretch == pytest.approx(1.2)
    assert "the features are of footage at 25 frames a second, the video has 30" in remarks(result)[0]


@pytest.mark.parametrize("fill", ["last row", "zero"])
def test_padding(fill: str, made: Callable[..., Features], videos: list[Path], tmp_path: Path) -> None:
    padded = {
        name: np.concatenate([rows, np.repeat(rows[-1:] * (fill != "zero"), 9, 0)])
        for name, rows in made().items()
    }
    result = match(tmp_path, padded, videos)
    assert result.identified
    assert [one.padded for one in result.arrays] == [9, 9]
    assert remarks(result)[0].startswith("a: the last 9 rows are padding")


def test_missing_rows(made: Callable[..., Features], videos: list[Path], tmp_path: Path) -> None:
    result = match(tmp_path / "end", {name: rows[:-4] for name, rows in made().items()}, videos)
    assert "a: 15 rows for 19 snippets: the features of 4 snippets are missing" in remarks(result)


def test_a_video_that_cannot_be_decoded_is_named(
    made: Callable[..., Features], videos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "b.mp4"
    broken.write_bytes(b"no video")
    result = match(tmp_path, made(), [videos[0], broken])
    assert [one.array.video for one in result.arrays] == ["a"]
    assert list(result.failures) == ["b"]
    assert any(line.startswith("b: not compared, it can't be decoded") for line in remarks(result))


def test_short_videos(tmp_path: Path) -> None:
    videos = make_footage(tmp_path / "videos", {"two": 32, "one": 9})
    result = match(tmp_path, features_of(videos, tmp_path / "features", frame_pick="first"), videos)
    assert result.identified


def test_the_sparkline_shows_the_worst_of_each_place() -> None:
    assert sparkline(np.array([1.0, 0.995, 0.5])) == "█▄▁"
    assert sparkline(np.array([1.0, 1.0, 0.2, 1.0]), width=2) == "█▁"


def test_a_frame_that_cannot_be_decoded_names_its_video(videos: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "a.mp4"
    content = bytearray(videos[0].read_bytes())
    start = len(content) // 2
    content[start : start + 60_000] = b"\xff" * 60_000
    damaged.write_bytes(content)
    with (
        Footage({"a": damaged}) as footage,
        pytest.raises(InputError, match=r"a\.mp4: .*; leave this video out"),
    ):
        list(footage.pictures("a", range(300)))
