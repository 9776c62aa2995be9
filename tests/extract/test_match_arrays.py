"""Files of features and videos are paired by name, and files that are something else are refused by name."""

from pathlib import Path

import numpy as np
import pytest

from extract.errors import InputError, MissingFileError
from extract.match.arrays import find_videos, pair_with_videos, read_arrays

ROWS = np.ones((3, 512), np.float32)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def save(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, ROWS)


def test_names_are_paired_in_any_folder(tmp_path: Path) -> None:
    save(
        *(tmp_path / f"f/Abuse/Abuse028_x264__{crop}.npy" for crop in (0, 10, 2)), tmp_path / "f/other__0.npy"
    )
    touch(tmp_path / "v/x/Abuse028_x264.mp4", tmp_path / "v/nobody.mkv", tmp_path / "v/notes.txt")
    pairing = pair_with_videos(tmp_path / "f", [tmp_path / "v"])
    [(video, files)] = pairing.pairs.items()
    assert video == tmp_path / "v/x/Abuse028_x264.mp4"
    assert [path.stem for path in files] == [f"Abuse028_x264__{crop}" for crop in (0, 2, 10)]
    assert pairing.features_without_video == ["other"]
    assert pairing.videos_without_features == [tmp_path / "v/nobody.mkv"]


@pytest.mark.parametrize("name", ["abuse028_X264", "Abuse028"])
def test_case_and_the_data_sets_ending_do_not_matter(name: str, tmp_path: Path) -> None:
    save(tmp_path / "f/Abuse028_x264__5.npy", tmp_path / "f/b.npy")
    touch(tmp_path / f"v/{name}.mp4")
    assert list(pair_with_videos(tmp_path / "f", [tmp_path / "v"]).pairs) == [tmp_path / f"v/{name}.mp4"]


def test_one_file_and_one_video_belong_together(tmp_path: Path) -> None:
    save(tmp_path / "features.npy")
    touch(tmp_path / "camera.mp4")
    assert pair_with_videos(tmp_path / "features.npy", [tmp_path / "camera.mp4"]).pairs


def test_without_a_common_name(tmp_path: Path) -> None:
    save(tmp_path / "f/a.npy", tmp_path / "f/b.npy")
    touch(tmp_path / "c.mp4")
    with pytest.raises(InputError, match=r"features of a, b; videos c\.mp4"):
        pair_with_videos(tmp_path / "f", [tmp_path / "c.mp4"])


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no features at"):
        pair_with_videos(tmp_path / "none", [])
    with pytest.raises(MissingFileError, match=r"no \.npy or \.h5 file in"):
        pair_with_videos(tmp_path, [])
    with pytest.raises(MissingFileError, match="no video or folder at"):
        find_videos([tmp_path / "none.mp4"])
    with pytest.raises(MissingFileError, match="no video below"):
        find_videos([tmp_path])


def test_two_videos_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path / "x/a.mp4", tmp_path / "y/a.mkv")
    with pytest.raises(InputError, match="two videos of one name"):
        find_videos([tmp_path])
    assert find_videos([tmp_path / "x", tmp_path / "x/a.mp4"]) == [tmp_path / "x/a.mp4"]


@pytest.mark.parametrize("shape", [(7, 512), (7, 1, 512), (7, 10, 512), (10, 7, 512), (1, 7, 512)])
def test_shapes(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "a__3.npy", np.ones(shape, np.float16))
    arrays = read_arrays([tmp_path / "a__3.npy"], "a")
    assert {array.rows_TD.shape for array in arrays} == {(7, 512)}
    assert [array.crop for array in arrays] == ([*range(10)] if 10 in shape else [3])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((7, 1024)), r"shape \(7, 1024\); expected \(snippets, 512\) of CLIP ViT-B/16"),
        (np.ones((0, 512)), r"shape \(0, 512\)"),
        (np.ones((7, 3, 512)), "1, 5 or 10 crops"),
        (np.full((7, 512), np.nan), "not finite"),
        (np.array(["a"]), "not one array of numbers"),
        (np.array([{}]), "would run code"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=message):
        read_arrays([tmp_path / "a.npy"], "a")


def test_a_file_that_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"text")
    with pytest.raises(InputError, match=r"a\.npy"):
        read_arrays([tmp_path / "a.npy"], "a")
