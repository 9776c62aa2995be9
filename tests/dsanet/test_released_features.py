"""The field's `.npy` folders as feature files."""

from pathlib import Path

import numpy as np
import pytest

from dsanet.released_features import PUBLISHED_ENCODER, import_features, read_list
from extract.manifest import read_manifest
from extract.store import feature_path, read_features

ROWS = np.random.default_rng(0).normal(size=(6, 512)).astype(np.float32)


def save_crops(folder: Path, name: str, crops: range) -> None:
    folder.mkdir(exist_ok=True)
    for crop in crops:
        np.save(folder / f"{name}__{crop}.npy", ROWS + crop)


def field_list(path: Path, *rows: str) -> Path:
    path.write_text("path,label\n" + "".join(f"/home/someone/{row}\n" for row in rows))
    return path


def test_a_folder_becomes_feature_files_and_a_manifest(tmp_path: Path) -> None:
    arrays = tmp_path / "arrays"
    save_crops(arrays, "RoadAccidents001_x264", range(10))
    (arrays / "deep").mkdir()
    save_crops(arrays / "deep", "Bad.Boys__#00-26_label_B2-G-0", range(5))
    listed = field_list(
        tmp_path / "list.csv",
        "RoadAccidents/RoadAccidents001_x264__0.npy,RoadAccidents",
        "RoadAccidents/RoadAccidents001_x264__1.npy,RoadAccidents",
        "Bad.Boys__#00-26_label_B2-G-0__0.npy,B2-G-0",
        "Normal_Videos_001__0.npy,Normal",
    )
    result = import_features(arrays, listed, tmp_path / "out", split="test")
    assert result.missing == ["Normal_Videos_001"]
    records = read_manifest(result.manifest)
    assert [(r.name, r.labels, r.split) for r in records] == [
        ("RoadAccidents001_x264", ("roadaccidents",), "test"),
        ("Bad.Boys__#00-26_label_B2-G-0", ("shooting", "explosion"), "test"),
    ]
    features = read_features(feature_path(tmp_path / "out", "RoadAccidents001_x264"))
    np.testing.assert_array_equal(features.features[:, 7], (ROWS + 7).astype(np.float16))
    assert features.meta.source.n_frames == 96
    assert features.meta.encoder == PUBLISHED_ENCODER
    assert features.frame_index.tolist() == [8, 24, 40, 56, 72, 88]


def test_a_manifest_of_ours_serves_without_its_videos(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,labels,split,name\ngone.mp4,fighting|riot,val,x\n")
    assert read_list(tmp_path / "m.csv", "train") == [("x", ("fighting", "riot"), "val")]


def test_real_lists_are_read(shared: Path) -> None:
    ucf = read_list(shared / "data" / "ucf-crime" / "ucf_CLIP_rgb.csv", "train")
    assert len(ucf) == 1610
    assert sum(labels == ("normal",) for _, labels, _ in ucf) == 800
    xd = read_list(shared / "data" / "xd-violence" / "xd_CLIP_rgb.csv", "train")
    assert len(xd) == 3954
    assert len({label for _, labels, _ in xd for label in labels}) == 7


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{"run": "me"}], dtype=object), "would run code"),
        (np.zeros((3, 768)), r"shape \(3, 768\), expected \(snippets, 512\)"),
        (np.zeros((0, 512)), r"shape \(0, 512\)"),
        (np.full((3, 512), 1e6), "not finite numbers in float16"),
    ],
)
def test_an_array_that_is_not_one_is_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v__0.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        import_features(tmp_path, field_list(tmp_path / "l.csv", "v__0.npy,Normal"), tmp_path / "out")


def test_crops_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    save_crops(tmp_path, "v", range(5))
    np.save(tmp_path / "v__3.npy", ROWS[:4])
    with pytest.raises(ValueError, match=r"v has 5 crops of \[4, 6\] snippets"):
        import_features(tmp_path, field_list(tmp_path / "l.csv", "v__0.npy,Normal"), tmp_path / "out")
    (tmp_path / "v__3.npy").unlink()
    with pytest.raises(ValueError, match="v has 4 crops"):
        import_features(tmp_path, field_list(tmp_path / "l.csv", "v__0.npy,Normal"), tmp_path / "out")


def test_a_bad_row_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label\n\na__0.npy,Normal\na__1.npy,Abuse\n")
    with pytest.raises(ValueError, match="line 4: a has other labels"):
        read_list(tmp_path / "l.csv", "train")


def test_a_list_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes("Path\tLabel\r\nä__0.npy\tRoadAccidents\r\n\t\r\n".encode("utf-16"))
    assert read_list(path, "train") == [("ä", ("roadaccidents",), "train")]


def test_a_crop_that_lies_in_two_folders_is_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_crops(tmp_path / folder, "v", range(5))
    with pytest.raises(ValueError, match=r"a/v__0\.npy and .*b/v__0\.npy are the same crop"):
        import_features(tmp_path, field_list(tmp_path / "l.csv", "v__0.npy,Normal"), tmp_path / "out")
