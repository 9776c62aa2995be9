"""Manifests, and the official lists of UCF-Crime and XD-Violence."""

from pathlib import Path

import pytest

from extract.errors import InputError
from extract.manifest import (
    VideoRecord,
    import_ucf_crime,
    import_xd_violence,
    read_manifest,
    write_manifest,
)

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "sub/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text)
    return path


def test_a_manifest_is_read(folder: Path) -> None:
    path = manifest(
        folder,
        "path,labels,split,name,camera\na.mp4,Normal,train,,north\nb.mp4,Fighting|Car Accident,test,b,\n"
        "sub/a.mp4,fighting,val,other,\n",
    )
    assert read_manifest(path) == [
        VideoRecord("a", folder / "a.mp4", ("normal",), "train"),
        VideoRecord("b", folder / "b.mp4", ("fighting", "car accident"), "test"),
        VideoRecord("other", folder / "sub/a.mp4", ("fighting",), "val"),
    ]


def test_a_written_manifest_reads_back(folder: Path) -> None:
    records = [
        VideoRecord("a", folder / "a.mp4", ("normal",), "train"),
        VideoRecord("c", folder / "sub/a.mp4", ("riot", "abuse"), "test"),
    ]
    write_manifest(folder / "m.csv", records)
    assert read_manifest(folder / "m.csv") == records
    assert str(folder) not in (folder / "m.csv").read_text()


def test_a_failed_write_leaves_the_old_manifest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (VideoRecord(name, folder / f"{name}.mp4", ("normal",), "train") for name in "ab")
    write_manifest(folder / "m.csv", [old])

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_manifest(folder / "m.csv", [new])
    assert read_manifest(folder / "m.csv") == [old]
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labels\na.mp4,normal\n", "no column split among"),
        ("path,labels,split\n", "lists no videos"),
        ("path,labels,split\na.mp4,normal,train\nb.mp4,normal,dev\n", "line 3: split is 'dev'"),
        ("path,labels,split\nnone.mp4,normal,train\n", "line 2: no file at"),
        ("path,labels,split\n,normal,train\n", "line 2: path is empty"),
        ("path,labels,split\na.mp4,,train\n", "line 2: labels are ''"),
        ("path,labels,split\na.mp4,normal|riot,train\n", "excludes every other label"),
        ("path,labels,split\na.mp4,normal,train\nsub/a.mp4,normal,train\n", "line 3: a is already in line 2"),
        ("path,labels,split,name\na.mp4,normal,train,x\n./a.mp4,normal,train,y\n", "is already in line 2"),
        ("path,labels,split,name\na.mp4,normal,train,../x\n", "can't be a file name"),
        ("path,labels,split,name\na.mp4,normal,train,.x\n", "can't be a file name"),
        ("path,labels,split\n\n.a.mp4,normal,train\n", "line 3: name '.a' can't be a file name"),
        (
            'path,labels,split\na.mp4,"fire,train\nb.mp4,fire",train\n',
            "line 2: labels are .* a quote not closed",
        ),
        ("path,labels,split\na.mp4,fire,riot,train\n", "line 2: expected 3 values"),
        (
            'path,labels,split\na.mp4,"fire, riot",train\n',
            r"line 2: labels are 'fire, riot': join several .*`\|`",
        ),
        (
            "path,labels,split\nx.mp4,normal,train\na.mp4,normal,train\ny.mp4,normal,test\n",
            r"line 2: no file at .*x\.mp4 \(and 1 more rows without a file\); correct the path",
        ),
    ],
)
def test_an_invalid_manifest_is_refused_naming_the_row(folder: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_manifest(manifest(folder, text))


def test_files_may_be_missing_where_they_are_not_needed(folder: Path) -> None:
    path = manifest(
        folder, "path,labels,split\ngone.mp4,normal,train\na.mp4,fire,train\nlost.mp4,fire,test\n"
    )
    assert [r.name for r in read_manifest(path, needs_no_file=lambda r: True)] == ["gone", "a", "lost"]
    with pytest.raises(
        InputError, match=r"line 4: no file at .*lost\.mp4; correct the path, or delete the row"
    ):
        read_manifest(path, needs_no_file=lambda record: record.name == "gone")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_manifest_from_a_spreadsheet_is_read(folder: Path, encoding: str) -> None:
    path = folder / "manifest.csv"
    path.write_bytes("Path;Labels;Split\r\na.mp4;Normal;TRAIN\r\n;;\r\n".encode(encoding))
    assert read_manifest(path) == [VideoRecord("a", folder / "a.mp4", ("normal",), "train")]


def test_paths_written_on_windows_are_found(folder: Path) -> None:
    (folder / "odd\\name.mp4").touch()
    path = manifest(folder, "path,labels,split,name\nsub\\a.mp4,fire,train,\nodd\\name.mp4,fire,train,odd\n")
    assert [r.path for r in read_manifest(path)] == [folder / "sub" / "a.mp4", folder / "odd\\name.mp4"]


def test_a_path_that_is_no_utf8_is_named_and_the_old_manifest_stays(folder: Path) -> None:
    old = [VideoRecord("a", folder / "a.mp4", ("normal",), "train")]
    write_manifest(folder / "m.csv", old)
    with pytest.raises(InputError, match=r"the path of a video is not UTF-8 \('\\udcff'\); rename"):
        write_manifest(folder / "m.csv", [VideoRecord("b", folder / "b\udcff.mp4", ("fire",), "train")])
    assert read_manifest(folder / "m.csv") == old


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a CSV"):
        read_manifest(tmp_path / "none.csv")


def test_the_ucf_crime_lists(tmp_path: Path) -> None:
    (tmp_path / "Anomaly_Train.txt").write_text(
        "RoadAccidents/RoadAccidents003_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4\n"
    )
    (tmp_path / "Anomaly_Test.txt").write_text("Abuse/Abuse028_x264.mp4\n")
    video = tmp_path / "videos" / "deep" / "Normal_Videos001_x264.mp4"
    video.parent.mkdir(parents=True)
    video.touch()
    found = import_ucf_crime(tmp_path, tmp_path / "videos")
    assert found.records == [VideoRecord("Normal_Videos001_x264", video, ("normal",), "train")]
    assert found.missing == ["RoadAccidents003_x264", "Abuse028_x264"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared with the official lists")
def test_the_official_lists_in_full() -> None:
    ucf = import_ucf_crime(SHARED / "ucf-crime", SHARED / "footage")
    assert len(ucf.records) + len(ucf.missing) == 1900
    assert {r.labels for r in ucf.records} >= {("arson",), ("normal",), ("roadaccidents",)}
    assert all(record.split == "test" for record in ucf.records)
    xd = import_xd_violence(SHARED / "xd-violence", SHARED / "footage")
    assert len(xd.missing) == 4754


def test_the_xd_violence_lists(tmp_path: Path) -> None:
    names = {"train": "Movie__#1_label_B2-G-0", "test": "v=abc__#1_label_A"}
    for split, file_name in (("train", "xd_CLIP_rgb.csv"), ("test", "xd_CLIP_rgbtest.csv")):
        rows = [f"/far/away/{names[split]}__{crop}.npy,x" for crop in range(2)]
        (tmp_path / file_name).write_text("\n".join(["path,label", *rows]))
        (tmp_path / f"{names[split]}.mp4").touch()
    assert [(r.labels, r.split) for r in import_xd_violence(tmp_path, tmp_path).records] == [
        (("shooting", "explosion"), "train"),
        (("normal",), "test"),
    ]


def test_two_files_of_one_listed_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Anomaly_Train.txt").write_text("Abuse\\Abuse001_x264.mp4\n")
    (tmp_path / "Anomaly_Test.txt").write_text("Abuse/Abuse002_x264.mp4\nAbuse/Abuse002_x264.mp4\n")
    videos = tmp_path / "videos"
    for name in ("one/Abuse001_x264.mp4", "one/Abuse002_x264.mp4", "one/other.mp4", "two/other.mp4"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"")
    (videos / "two" / "Abuse001_x264.mkv").symlink_to(videos / "one" / "Abuse001_x264.mp4")
    records = import_ucf_crime(tmp_path, videos).records
    assert [(r.name, r.split) for r in records] == [("Abuse001_x264", "train"), ("Abuse002_x264", "test")]

    (videos / "two" / "Abuse002_x264.avi").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"one/Abuse002_x264\.mp4 and .*two/Abuse002_x264\.avi have the name"
    ):
        import_ucf_crime(tmp_path, videos)


@pytest.mark.parametrize(
    ("test_list", "message"),
    [
        (
            "Abuse/Abuse001_x264.mp4",
            r"Test\.txt, line 1: Abuse001_x264 has .* another split than in .*line 2",
        ),
        ("\nAbuse003_x264.mp4", r"Test\.txt, line 2: 'Abuse003_x264\.mp4' has no folder"),
    ],
)
def test_an_official_list_that_cannot_be_right_is_refused(
    tmp_path: Path, test_list: str, message: str
) -> None:
    (tmp_path / "Anomaly_Train.txt").write_text("\nAbuse/Abuse001_x264.mp4\n")
    (tmp_path / "Anomaly_Test.txt").write_text(test_list)
    with pytest.raises(InputError, match=message):
        import_ucf_crime(tmp_path, tmp_path)
