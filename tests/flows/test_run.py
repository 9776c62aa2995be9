"""A run: a file is read once as long as it does not change; missing features are explained."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extract import feature_index
from extract.digest_index import SETTLED_NS
from extract.errors import MissingFileError
from extract.failures import Failure, write_failures
from extract.source import file_digest
from flows.workspace.inputs import configure_workspace
from flows.workspace.run import Run
from tests.flows.tiny import tiny_footage


def edit_and_restore_time(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_and_restore_time(path: Path) -> None:
    before, new = path.stat(), path.with_name("new")
    new.write_bytes(b"Y" + path.read_bytes()[1:])
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    configure_workspace(tmp_path / "ws", tiny_footage(tmp_path / "footage"), preset="small", weights="random")
    return Run.load(tmp_path / "ws")


@pytest.mark.parametrize("change", [edit_and_restore_time, replace_and_restore_time])
def test_a_file_is_read_once_until_it_changes(
    change: Callable[[Path], None], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(feature_index, "file_digest", lambda path: read.append(path) or file_digest(path))
    path = tmp_path / "file"
    path.write_bytes(b"content" * 100)
    time.sleep(1.5e-9 * SETTLED_NS)
    first = run.digest(path)
    assert run.digest(path) == first == file_digest(path)
    assert read == [path]
    change(path)
    assert run.digest(path) == file_digest(path) != first
    assert read == [path, path]
    path.unlink()
    assert run.digest(path) is None


def test_a_file_changed_just_now_is_read_again(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two", b"six"):  # same size, within one tick of the file system's clock
        path.write_bytes(content)
        assert run.digest(path) == file_digest(path)


def test_without_any_features_the_most_frequent_reason_is_named(run: Run) -> None:
    with pytest.raises(MissingFileError, match=r"no features of any test video in .*; run `dsanet extract"):
        run.having_features("test")
    features = run.workspace.features
    features.mkdir()
    reasons = {"test-calm": "no video", "train-calm": "not this one", "test-burns": "no video"}
    write_failures(features, [Failure(name, Path(name), reason) for name, reason in reasons.items()])
    with pytest.raises(
        MissingFileError,
        match=r"none of the 2 test videos has features; 2 could not be read: no video ",
    ):
        run.having_features("test")
