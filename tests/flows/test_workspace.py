"""The workspace: what it remembers, who may work in it, and what data it refuses."""

import multiprocessing
from pathlib import Path

import pytest

from extract.manifest import VideoRecord
from extract.source import file_digest
from flows.workspace.config import preset_config
from flows.workspace.locks import BusyError
from flows.workspace.run import check_testable, check_trainable, digest_of
from flows.workspace.workspace import (
    Workspace,
    WorkspaceInputs,
    default_annotations,
)


def record(name: str, label: str, split: str = "train") -> VideoRecord:
    return VideoRecord(name, Path(f"{name}.mp4"), (label,), split)


def test_it_remembers_its_inputs(tmp_path: Path) -> None:
    inputs = WorkspaceInputs(
        manifest=tmp_path / "m.csv", annotations=None, config=preset_config("small"), title="cameras"
    )
    Workspace(tmp_path / "ws").write_inputs(inputs)
    assert Workspace(tmp_path / "ws").read_inputs() == inputs


def test_a_folder_that_is_none_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a workspace.*dsanet run"):
        Workspace(tmp_path).read_inputs()


def test_an_unreadable_workspace_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").write_text('{"manifest": 3}')
    with pytest.raises(ValueError, match=r"workspace\.json does not fit this version"):
        Workspace(tmp_path).read_inputs()


def _hold(root: Path, held: "multiprocessing.synchronize.Event") -> None:
    with Workspace(root).locked():
        held.set()
        multiprocessing.Event().wait()


def test_only_one_process_works_in_it_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held))
    other.start()
    try:
        assert held.wait(60)
        with (
            pytest.raises(BusyError, match=f"in use by process {other.pid}"),
            Workspace(tmp_path).locked(),
        ):
            pass
    finally:
        other.kill()
        other.join()
    with Workspace(tmp_path).locked():
        pass


def test_training_needs_both_kinds_of_videos() -> None:
    with pytest.raises(ValueError, match="no video of split `train`"):
        check_trainable([record("a", "normal", "test")])
    with pytest.raises(ValueError, match="every training video is normal"):
        check_trainable([record("a", "normal"), record("b", "fire", "test")])
    with pytest.raises(ValueError, match="every training video is anomalous"):
        check_trainable([record("a", "fire"), record("b", "normal", "test")])
    check_trainable([record("a", "fire"), record("b", "normal")])


def test_evaluation_needs_test_videos() -> None:
    with pytest.raises(ValueError, match="no video of split `test`"):
        check_testable([record("a", "fire")])
    check_testable([record("a", "fire", "test")])


def test_annotations_are_found_beside_the_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "cameras.csv"
    assert default_annotations(manifest) is None
    (tmp_path / "cameras.annotations.csv").touch()
    assert default_annotations(manifest) == tmp_path / "cameras.annotations.csv"


def test_digests_follow_content(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of(preset_config("small")) != digest_of(preset_config("ucf-crime"))
