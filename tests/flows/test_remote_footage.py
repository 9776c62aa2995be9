"""Footage in an object store for the commands and the library: inboxes, manifests, videos to score."""

import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from evaluate.scores import read_scores
from extract.errors import MissingFileError
from extract.manifest import VideoRecord
from extract.remote.cache import cache_folder
from extract.remote.listings import one_listing
from extract.remote.path import RemotePath
from extract.remote.store import Store, StoreError
from extract.source import file_digest
from flows.demo.footage import ClipPlan, write_clip
from flows.library.inbox import check_inboxes, scan
from flows.library.library import Library
from flows.library.problems import recheck
from flows.library.records import find_video
from flows.pipeline.checks import check_run
from flows.pipeline.stages.evaluate import ground_truth
from flows.pipeline.thumbnails import thumbnails
from flows.workspace.inputs import configure_workspace
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace
from tests.flows.commands import Dsanet
from tests.flows.tiny import run_arguments
from tests.object_store import ACCESS, S3Server

SECRET = ACCESS["AWS_SECRET_ACCESS_KEY"].encode()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSANET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, ClipPlan("clip", "train", "normal", 8, None, 0))
    return path


def copies() -> list[Path]:
    return list((cache_folder() / "videos").rglob("*.mp4"))


def test_an_inbox_is_scanned_by_one_listing_and_new_videos_are_fetched_once(
    bucket: str, store_requests: Counter[str], clip: Path, tmp_path: Path
) -> None:
    store, inbox = Store(f"{bucket}/in box"), RemotePath(f"{bucket}/in box")
    for key in ("a.mp4", "camera 2//b #1%.mp4", ".hidden/c.mp4", "notes.txt"):
        store.upload(clip, key)
    store.write("broken.mp4", b"no video at all" * 50)
    store.write("empty.mp4", b"")
    Store(bucket).upload(clip, "in boxes/no.mp4")
    with Library.open(tmp_path / "ws") as library:
        store_requests.clear()
        first = scan(library, [inbox], 0)
        assert first.new == ["a"]
        assert first.known == [RemotePath(f"{bucket}/in box/camera 2//b #1%.mp4")]
        assert list(first.unreadable) == [RemotePath(f"{bucket}/in box/broken.mp4")]
        assert first.deferred == [RemotePath(f"{bucket}/in box/empty.mp4")]
        assert store_requests["ListObjectsV2"] == 1
        assert store_requests["GetObject"] == 3
        assert copies() == []
        video = find_video(library.videos(), f"{bucket}/in box/a.mp4")
        assert video.digest == file_digest(clip)
        assert find_video(library.videos(), "b #1%.mp4") == video
        assert library.find(f"{bucket}/in box/camera 2//b #1%.mp4") == video
        store_requests.clear()
        assert len(scan(library, [inbox], 0).known) == 3
        assert store_requests["GetObject"] == 0
        assert scan(library, [inbox], 3600).deferred
        time.sleep(1.1)
        store.upload(clip, "broken.mp4")
        assert scan(library, [inbox], 0).known[1] == RemotePath(f"{bucket}/in box/broken.mp4")


def test_a_video_of_a_store_is_tried_again(bucket: str, clip: Path, tmp_path: Path) -> None:
    Store(bucket).write("in/broken.mp4", b"no video at all" * 50)
    Store(bucket).write("in/gone.mp4", b"none, too" * 50)
    with Library.open(tmp_path / "ws") as library, one_listing():
        scan(library, [RemotePath(f"{bucket}/in")], 0)
        Store(bucket).delete("in/gone.mp4")
        again = recheck(library, library.videos())
    assert [video.name for video, _ in again.unreadable] == ["broken"]
    assert [video.name for video in again.missing] == ["gone"]


def test_a_missing_bucket_is_no_inbox(s3: S3Server) -> None:
    with pytest.raises(MissingFileError, match="no bucket for the inbox s3://no-such-bucket-here/in"):
        check_inboxes([RemotePath("s3://no-such-bucket-here/in")])


def test_a_store_that_goes_away_during_a_scan_loses_nothing(
    bucket: str, s3: S3Server, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "patience_s", 0.5)
    for number in range(3):
        (tmp_path / "clip.mp4").write_bytes(clip.read_bytes() + bytes(number))
        Store(bucket).upload(tmp_path / "clip.mp4", f"{number}.mp4")
    read = []

    def digest_of(path: object) -> str:
        read.append(path)
        if len(read) == 2:
            s3.stop()
        return f"{len(read):064d}"

    with Library.open(tmp_path / "ws") as library:
        try:
            with pytest.raises(StoreError, match="has not answered"):
                scan(library, [RemotePath(bucket)], 0, digest_of)
        finally:
            s3.start()
        assert [video.name for video in library.videos()] == ["0", "1"]


def test_the_report_has_pictures_of_videos_in_a_store(bucket: str, clip: Path) -> None:
    Store(bucket).upload(clip, "a.mp4")
    Store(bucket).upload(clip, "b.mp4")
    records = [
        VideoRecord(n, RemotePath(f"{bucket}/{n}.mp4"), ("normal",), "test") for n in ("a", "b", "gone")
    ]
    with thumbnails(records, 20) as picture:
        assert picture("a", 1)
        assert len(copies()) == 1
        assert picture("a", 2)
        assert picture("b", 1)
        assert len(copies()) == 1
        assert picture("gone", 1) is None
    assert copies() == []


def test_a_manifest_and_annotations_in_a_store_are_those_of_a_run(
    bucket: str, footage: Path, tmp_path: Path
) -> None:
    for path in footage.parent.iterdir():
        Store(f"{bucket}/data").upload(path, path.name)
    configure_workspace(tmp_path / "ws", RemotePath(f"{bucket}/data/manifest.csv"))
    inputs = json.loads((tmp_path / "ws/workspace.json").read_text())
    assert inputs["manifest"] == f"{bucket}/data/manifest.csv"
    assert inputs["annotations"] == f"{bucket}/data/manifest.annotations.csv"
    run = Run.load(tmp_path / "ws")
    check_run(run)
    assert str(run.records[0].path) == f"{bucket}/data/train-calm.mp4"
    tests = [record for record in run.records if record.split == "test"]
    configure_workspace(tmp_path / "local", footage)
    local = Run.load(tmp_path / "local")
    of_local = [record for record in local.records if record.split == "test"]
    assert ground_truth(run, tests).truths == ground_truth(local, of_local).truths
    with pytest.raises(MissingFileError, match=f"no file {bucket}/data/none.csv; give --manifest"):
        configure_workspace(tmp_path / "ws2", RemotePath(f"{bucket}/data/none.csv"))


@pytest.mark.slow
def test_a_run_on_a_manifest_in_a_store_ends_with_the_results_of_a_local_one(
    bucket: str, store_requests: Counter[str], footage: Path, dsanet: Dsanet, tmp_path: Path
) -> None:
    """The whole pipeline, its repetition, and the scoring of a video at an address."""
    store = Store(f"{bucket}/data")
    for path in footage.parent.iterdir():
        store.upload(path, path.name)
    local, remote = tmp_path / "local", tmp_path / "remote"
    shutil.copytree(footage.parent, tmp_path / "clips")
    assert dsanet(*run_arguments(tmp_path / "clips/manifest.csv", local))[0] == 0
    arguments = run_arguments(tmp_path, remote)
    arguments[arguments.index("--manifest") + 1] = f"{bucket}/data/manifest.csv"
    code, out, error = dsanet(*arguments)
    assert (code, error.count("Traceback")) == (0, 0), error
    inputs = json.loads((remote / "workspace.json").read_text())
    assert inputs["manifest"] == f"{bucket}/data/manifest.csv"
    assert inputs["annotations"] == f"{bucket}/data/manifest.annotations.csv"
    scores = [sorted((place / "scores").glob("*.h5")) for place in (local, remote)]
    assert [path.name for path in scores[0]] == [path.name for path in scores[1]] != []
    for one, other in zip(*scores, strict=True):
        assert (read_scores(one).anomaly_T == read_scores(other).anomaly_T).all()
    figures = [json.loads((place / "report/metrics.json").read_text()) for place in (local, remote)]
    for one in figures:
        del one["digests"]  # feature files have the times of their videos
    assert figures[0] == figures[1]
    assert copies() == []

    store_requests.clear()
    code, out, _ = dsanet("run", "--out", remote)
    assert code == 0
    assert store_requests["ListObjectsV2"] == 1
    # Manifest and annotations are read, and no video is copied: that asks for the object's state at the end.
    assert store_requests.keys() == {"ListObjectsV2", "GetObject"}

    video = f"{bucket}/data/test-burns.mp4"
    code, out, error = dsanet("score", video, "--model", remote, "--out", tmp_path / "scored")
    assert (code, "test-burns" in out) == (0, True), error
    code, _, error = dsanet("score", f"{bucket}/data/none.mp4", "--model", remote, "--out", tmp_path / "s")
    assert (code, error) == (2, f"dsanet: no video at {bucket}/data/none.mp4\n")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET not in path.read_bytes(), path


def test_an_inbox_at_an_address_is_kept_in_the_workspace(
    bucket: str, footage: Path, dsanet: Dsanet, tmp_path: Path
) -> None:
    configure_workspace(tmp_path / "ws", footage, settings=[f'retrain.inboxes=["{bucket}//in"]'])
    assert Workspace(tmp_path / "ws").read_inputs().config.retrain.inboxes == (RemotePath(f"{bucket}//in"),)
    code, out, error = dsanet("config", "--out", tmp_path / "ws")
    assert code == 0, error
    assert f'retrain.inboxes=["{bucket}//in"]' in out
    code, _, error = dsanet("retrain", "--out", tmp_path / "ws", "--inbox", "https://host/in")
    assert code == 2
    assert "https://host/in is no address of an object store" in re.sub(r"[│\s]+", " ", error)
