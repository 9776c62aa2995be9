"""The field's `.npy` folders as feature files."""

from pathlib import Path

import numpy as np
import pytest

from dsanet.feature_lists import read_lists
from dsanet.released_features import PUBLISHED_ENCODER, import_features
from extract.config import ExtractConfig
from extract.engine import extract_videos
from extract.manifest import read_manifest
from extract.store import feature_path, read_features

ROWS = np.random.default_rng(0).normal(size=(6, 512)).astype(np.float32)


def save_crops(folder: Path, name: str, crops: range) -> None:
    folder.mkdir(exist_ok=True)
    for crop in crops:
        np.save(folder / f"{name}__{crop}.npy", (ROWS + crop).astype(np.float16))


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
        *(f"RoadAccidents/RoadAccidents001_x264__{crop}.npy,RoadAccidents" for crop in range(10)),
        "Bad.Boys__#00-26_label_B2-G-0__3.npy,B2-G-0",
        "Normal_Videos_001__0.npy,Normal",
    )
    result = import_features(arrays, [listed], tmp_path / "out", split="test")
    assert result.missing == {"Normal_Videos_001": "no array Normal_Videos_001__0.npy"}
    records = read_manifest(result.manifest, needs_no_file=lambda record: True)
    assert [(r.name, r.labels, r.split) for r in records] == [
        ("RoadAccidents001_x264", ("roadaccidents",), "test"),
        ("Bad.Boys__#00-26_label_B2-G-0", ("shooting", "explosion"), "test"),
    ]
    features = read_features(feature_path(tmp_path / "out", "RoadAccidents001_x264"))
    np.testing.assert_array_equal(features.features[:, 7], (ROWS + 7).astype(np.float16))
    assert features.meta.source.n_frames == 96
    assert features.meta.encoder == PUBLISHED_ENCODER
    assert features.frame_index.tolist() == [8, 24, 40, 56, 72, 88]
    features = read_features(feature_path(tmp_path / "out", "Bad.Boys__#00-26_label_B2-G-0"))
    np.testing.assert_array_equal(features.features, (ROWS + 3).astype(np.float16)[:, None])


def test_a_manifest_of_ours_serves_without_its_videos(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,labels,split,name\ngone.mp4,fighting|riot,val,x\n")
    (video,) = read_lists([tmp_path / "m.csv"])
    assert (video.name, video.labels, video.split, video.arrays) == ("x", ("fighting", "riot"), "val", ())


def test_real_lists_are_read(shared: Path) -> None:
    data = shared / "data"
    ucf = read_lists([data / "ucf-crime" / f"ucf_CLIP_rgb{part}.csv" for part in ("", "test")])
    train, test = ([video for video in ucf if video.split == split] for split in ("train", "test"))
    assert (len(train), len(test)) == (1610, 290)
    assert sum(video.labels == ("normal",) for video in train) == 800
    assert {len(video.arrays) for video in train} == {10}
    assert {path.stem[-3:] for video in test for path in video.arrays} == {"__5"}
    xd = read_lists([data / "xd-violence" / f"xd_CLIP_rgb{part}.csv" for part in ("", "test")])
    assert [sum(video.split == split for video in xd) for split in ("train", "test")] == [3954, 800]
    assert len({label for video in xd for label in video.labels}) == 7
    assert {path.stem[-3:] for video in xd if video.split == "test" for path in video.arrays} == {"__0"}


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
        import_features(tmp_path, [field_list(tmp_path / "l.csv", "v__0.npy,Normal")], tmp_path / "out")


def test_crops_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    save_crops(tmp_path, "v", range(5))
    np.save(tmp_path / "v__3.npy", ROWS[:4])
    listed = field_list(tmp_path / "l.csv", *(f"v__{crop}.npy,Normal" for crop in range(5)))
    with pytest.raises(ValueError, match=r"v has 5 crops of \[4, 6\] snippets"):
        import_features(tmp_path, [listed], tmp_path / "out")
    listed = field_list(tmp_path / "l.csv", *(f"v__{crop}.npy,Normal" for crop in range(3)))
    with pytest.raises(ValueError, match="v has 3 crops"):
        import_features(tmp_path, [listed], tmp_path / "out")


def test_a_bad_row_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label\n\na__0.npy,Normal\na__1.npy,Abuse\n")
    with pytest.raises(ValueError, match=r"line 4: a is abuse of split train, but normal of split"):
        read_lists([tmp_path / "l.csv"])
    field_list(tmp_path / "train.csv", "b__0.npy,Normal")
    field_list(tmp_path / "test.csv", "b__0.npy,Normal")
    with pytest.raises(ValueError, match=r"test\.csv, line 2: b is normal of split test, but"):
        read_lists([tmp_path / "train.csv", tmp_path / "test.csv"])


def test_a_list_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes("Path\tLabel\r\nä__0.npy\tRoadAccidents\r\n\t\r\n".encode("utf-16"))
    (video,) = read_lists([path])
    assert (video.name, video.labels, video.split) == ("ä", ("roadaccidents",), "train")


def test_of_arrays_of_one_name_the_one_in_the_listed_folder_is_taken(tmp_path: Path) -> None:
    for number, folder in enumerate(("Train", "Test")):
        save_crops(tmp_path / folder, "v", range(number, number + 1))
    (tmp_path / "Test" / "v__1.npy").rename(tmp_path / "Test" / "v__0.npy")
    listed = field_list(tmp_path / "l.csv", "Features/Test/v__0.npy,Normal")
    import_features(tmp_path, [listed], tmp_path / "out")
    features = read_features(feature_path(tmp_path / "out", "v"))
    np.testing.assert_array_equal(features.features[:, 0], (ROWS + 1).astype(np.float16))
    listed = field_list(tmp_path / "l.csv", "Features/v__0.npy,Normal")
    with pytest.raises(ValueError, match=r"Test/v__0\.npy and .*Train/v__0\.npy are the same crop"):
        import_features(tmp_path, [listed], tmp_path / "out")


def test_several_lists_make_one_manifest(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save_crops(tmp_path / "arrays", name, range(5))
    train = field_list(tmp_path / "list.csv", *(f"{v}__{c}.npy,Abuse" for v in "ab" for c in range(5)))
    test = field_list(tmp_path / "listtest.csv", "c__2.npy,Abuse")
    import_features(tmp_path / "arrays", [train], tmp_path / "one")
    written = feature_path(tmp_path / "one", "a").stat().st_mtime_ns
    import_features(tmp_path / "arrays", [test, train], tmp_path / "one")
    assert feature_path(tmp_path / "one", "a").stat().st_mtime_ns == written
    import_features(tmp_path / "arrays", [train, test], tmp_path / "both")
    for folder in ("one", "both"):
        records = read_manifest(tmp_path / folder / "manifest.csv", needs_no_file=lambda record: True)
        assert [(r.name, r.split) for r in records] == [("a", "train"), ("b", "train"), ("c", "test")]
        assert read_features(feature_path(tmp_path / folder, "c")).features.shape == (6, 1, 512)


def test_missing_and_invalid_arrays_are_skipped_and_counted(tmp_path: Path) -> None:
    save_crops(tmp_path / "arrays", "good", range(1))
    np.save(tmp_path / "arrays" / "bad__0.npy", ROWS[:, :8])
    listed = field_list(tmp_path / "l.csv", *(f"{v}__0.npy,Abuse" for v in ("gone", "bad", "good")))
    with pytest.raises(ValueError, match=r"gone: no array gone__0\.npy .*\(1 of 3 listed videos lack"):
        import_features(tmp_path / "arrays", [listed], tmp_path / "out", missing="raise")
    assert not (tmp_path / "out").exists()
    result = import_features(tmp_path / "arrays", [listed], tmp_path / "out", missing="skip")
    assert result.imported == ["good"]
    assert result.missing["gone"] == "no array gone__0.npy"
    assert "has shape (6, 8), expected (snippets, 512)" in result.missing["bad"]
    records = read_manifest(result.manifest, needs_no_file=lambda record: True)
    assert [record.name for record in records] == ["gone", "bad", "good"]


def test_values_that_float16_would_round_are_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "v__0.npy", ROWS)
    np.save(tmp_path / "w__0.npy", ROWS.astype(np.float16).astype(np.float64))
    listed = field_list(tmp_path / "l.csv", "v__0.npy,Normal", "w__0.npy,Normal")
    import_features(tmp_path, [listed], tmp_path / "out")
    features = read_features(feature_path(tmp_path / "out", "v")).features
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features[:, 0], ROWS)
    assert read_features(feature_path(tmp_path / "out", "w")).features.dtype == np.float16


def test_arrays_behind_a_link_to_a_folder_are_found(tmp_path: Path) -> None:
    save_crops(tmp_path / "disk", "v", range(1))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "link").symlink_to(tmp_path / "disk")
    listed = field_list(tmp_path / "l.csv", "v__0.npy,Normal")
    assert import_features(tmp_path / "features", [listed], tmp_path / "out").imported == ["v"]


def test_imported_features_go_with_every_encoder_and_need_no_weights(tmp_path: Path) -> None:
    save_crops(tmp_path, "v", range(1))
    listed = field_list(tmp_path / "l.csv", "v__0.npy,Normal")
    manifest = import_features(tmp_path, [listed], tmp_path / "out").manifest
    other = PUBLISHED_ENCODER.model_copy(update={"weights_digest": "abc"})
    assert other.same_features_as(PUBLISHED_ENCODER)
    assert not other.same_features_as(PUBLISHED_ENCODER.model_copy(update={"weights_digest": "def"}))
    records = read_manifest(manifest, needs_no_file=lambda record: True)
    result = extract_videos(records, tmp_path / "out", ExtractConfig(weights="/no/weights.pt"))
    assert (result.extracted, result.reused, result.failures) == ([], ["v"], [])
