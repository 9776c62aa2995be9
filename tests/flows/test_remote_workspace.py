"""A workspace at `s3://…` in flows and commands: the files and figures of one in a folder, on any machine."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from extract.manifest import read_manifest
from extract.remote.store import Store
from flows.pipeline.parameters import check_parameters
from flows.pipeline.prefect_flows import evaluate, extract_train_eval
from flows.workspace import working_copy
from flows.workspace.inputs import configure_workspace
from flows.workspace.locks import BusyError
from flows.workspace.model_reference import checkpoint_folder
from flows.workspace.remote_lock import LOCK_KEY
from flows.workspace.run import Run
from tests.flows.commands import Dsanet
from tests.flows.test_remote_lock import other_lock, write_lock
from tests.flows.tiny import OPTIONS, SETTINGS
from tests.object_store import S3Server

STAGES = ("extract", "train", "infer", "evaluate")


@pytest.fixture(scope="module")
def finished(s3: S3Server, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The address of a workspace after a whole run, and the cache folder of the machine that did it."""
    place, cache = f"s3://{s3.new_bucket()}/site/ws", tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSANET_CACHE", str(cache))
        configure_workspace(Path(place), footage, preset="small", weights="random", settings=SETTINGS)
        extract_train_eval(Path(place))
    return place, cache


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Continue as a machine with an empty cache folder, which is returned."""

    def change() -> Path:
        cache = tmp_path / f"cache-{len(list(tmp_path.iterdir()))}"
        cache.mkdir()
        monkeypatch.setenv("DSANET_CACHE", str(cache))
        return cache

    monkeypatch.setattr(working_copy, "FRESH_S", 0.0)
    return change


def contents(place: str) -> dict[str, bytes]:
    store = Store(place)
    return {key: store.read(key) for key in store.list()}


def test_a_run_has_the_files_of_one_in_a_folder(
    finished: tuple[str, Path], footage: Path, tmp_path: Path
) -> None:
    place, _ = finished
    configure_workspace(tmp_path / "ws", footage, preset="small", weights="random", settings=SETTINGS)
    extract_train_eval(tmp_path / "ws")
    there = contents(place)
    here = {
        path.relative_to(tmp_path / "ws").as_posix(): path.read_bytes()
        for path in (tmp_path / "ws").rglob("*")
        if path.is_file() and not path.name.startswith((".lock", ".index"))
    }
    copies = {f"inputs/{name}" for name in ("manifest.csv", "manifest.annotations.csv")}
    assert there.keys() - here.keys() == copies | {f"{copy}.folder" for copy in copies}
    assert here.keys() <= there.keys()
    own = ("workspace.json", ".cache/")  # paths of the manifest, times of the records
    differing = [key for key in here if here[key] != there[key] and not key.startswith(own)]
    assert differing == []
    assert there["inputs/manifest.csv"] == footage.read_bytes()
    stored = json.loads(there["workspace.json"])
    assert (stored["manifest"], stored["title"]) == ("inputs/manifest.csv", "manifest")


def test_another_machine_without_the_videos_goes_on_from_the_cache(
    finished: tuple[str, Path],
    footage: Path,
    machine: Callable[[], Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, _ = finished
    machine()
    caplog.set_level(logging.INFO, logger="flows")
    away = footage.parent.with_name("away")
    footage.parent.rename(away)
    try:
        before = contents(place)
        results = extract_train_eval(Path(place))
        run = Run.load(Path(place))
        assert [record.path for record in run.records] == [record.path for record in read_away(away, footage)]
    finally:
        away.rename(footage.parent)
    assert [result.stage for result in results] == list(STAGES)
    for stage in STAGES:
        assert any(line.startswith(stage) and line.endswith("(Cached)") for line in caplog.messages), stage
    assert contents(place) == before


def read_away(away: Path, footage: Path) -> list[object]:
    records = read_manifest(away / footage.name)
    return [type(r)(r.name, footage.parent / r.path.name, r.labels, r.split) for r in records]


def test_a_flow_waits_for_nobody_and_names_the_holder(
    finished: tuple[str, Path], machine: Callable[[], Path]
) -> None:
    place, _ = finished
    machine()
    write_lock(Store(place), other_lock())
    try:
        with pytest.raises(BusyError) as refused:
            evaluate(Path(place), refresh=True)
    finally:
        Store(place).delete(LOCK_KEY)
    message = str(refused.value)
    assert message.startswith(f"{place} is in use by process 12 on elsewhere since ")
    assert message.endswith("; wait for it, or give another --out")


def test_commands_take_an_address(
    finished: tuple[str, Path],
    footage: Path,
    machine: Callable[[], Path],
    dsanet: Dsanet,
    tmp_path: Path,
    s3: S3Server,
) -> None:
    place, _ = finished
    cache = machine()
    before = contents(place)

    def succeeds(*arguments: str | Path) -> str:
        code, out, err = dsanet(*arguments)
        assert code == 0, err
        return out

    assert "no version is registered yet" in succeeds("models", "list", "--out", place)
    assert not list(cache.rglob("*.h5.part"))
    copy = next((cache / "workspaces").iterdir())
    assert not (copy / "features").exists()  # only commands that use features download them
    assert "4 feature files, 0 damaged" in succeeds("features", "verify", place)
    assert "4 feature files, 0 damaged" in succeeds("features", "verify", f"{place}/features")
    assert "train.epochs=1" in succeeds("config", "--out", place)
    succeeds("compare", place, f"{place}/report", "--out", tmp_path / "comparison.html")
    shutil.copytree(copy, tmp_path / "downloaded")  # a workspace like any other
    succeeds("leaderboard", place, tmp_path / "downloaded", "--out", tmp_path / "leaderboard.html")
    video = read_manifest(footage)[0].path
    scored = f"s3://{s3.new_bucket()}/scored"
    succeeds("score", str(video), "--model", place, "--out", scored)
    assert {"intervals.csv", "timeline.png", f"scores/{video.stem}.h5"} <= Store(scored).list().keys()
    assert (checkpoint_folder(f"{place}/model") / "model.json").is_file()
    assert contents(place) == before


def test_labels_in_the_file_of_the_library_are_carried(
    finished: tuple[str, Path], machine: Callable[[], Path], dsanet: Dsanet
) -> None:
    place, _ = finished
    machine()
    code, _, err = dsanet("label", "set", "unknown-video", "fire", "--out", place)
    assert code == 2, err
    assert LOCK_KEY not in Store(place).list()
    assert "library.db" in Store(place).list()  # made by the command, with the lock
    Store(place).delete("library.db")


def test_a_new_workspace_that_is_refused_leaves_nothing(
    s3: S3Server, footage: Path, machine: Callable[[], Path], dsanet: Dsanet, tmp_path: Path
) -> None:
    place = f"s3://{s3.new_bucket()}/ws"
    machine()
    code, _, err = dsanet("evaluate", "--out", place)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{place} is not a workspace (no workspace.json)" in err
    assert f"--out {place}`" in err
    only_normal = tmp_path / "normal.csv"
    only_normal.write_text(f"path,labels,split\n{read_manifest(footage)[0].path},normal,train\n")
    code, _, err = dsanet("run", "--manifest", only_normal, "--out", place, *OPTIONS)
    assert (code, "every training video is normal" in err or "no video of split" in err) == (2, True), err
    assert Store(place).list() == {}
    footage_only = f"s3://{s3.new_bucket()}"
    Store(footage_only).write("camera/a.mp4", b"1")
    code, _, err = dsanet("run", "--manifest", footage, "--out", footage_only, *OPTIONS)
    assert code == 2
    assert f"{footage_only} is no workspace but holds videos (camera/a.mp4)" in err


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://", "is no address of an object store; expected s3://BUCKET/PREFIX"),
        ("s3://key:hidden@bucket/ws", "holds credentials"),
        ("s3://no-such-bucket-anywhere/ws", "is not a workspace"),
        ("unknown://bucket/ws", "unknown://"),
        ("https://example.org/ws", "is no address of an object store"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    s3: S3Server, machine: Callable[[], Path], dsanet: Dsanet, address: str, expected: str
) -> None:
    machine()
    code, _, err = dsanet("config", "--out", address)
    assert (code, err.count("\n")) == (2, 1)
    assert expected in err
    assert "hidden" not in err


def test_a_deployed_run_is_checked_with_an_address(
    finished: tuple[str, Path], machine: Callable[[], Path], tmp_path: Path
) -> None:
    place, _ = finished
    machine()
    check_parameters({"workspace": str(Path(place))}, tmp_path)
    check_parameters({}, Path(place))
    with pytest.raises(FileNotFoundError, match="is not a workspace"):
        check_parameters({"workspace": f"{place}/other"}, tmp_path)
