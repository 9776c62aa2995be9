"""The workspace: its inputs file, its lock, and the checks of its videos."""

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


def test_inputs_are_read_as_written(tmp_path: Path) -> None:
    inputs = WorkspaceInputs(
        manifest=tmp_path / "m.csv", annotations=None, config=preset_config("small"), title="cameras"
    )
    Workspace(tmp_path / "ws").write_inputs(inputs)
    assert Workspace(tmp_path / "ws").read_inputs() == inputs


def test_a_folder_without_inputs_names_the_command_to_run(tmp_path: Path) -> None:
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


def test_one_process_holds_the_lock_and_its_death_frees_it(tmp_path: Path) -> None:
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


def test_training_needs_normal_and_anomalous_videos() -> None:
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
