"""A run's memory of digests: a file is read once, and every change of it is noticed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extract.source import file_digest
from flows.workspace import run as run_module
from flows.workspace.inputs import configure_workspace
from flows.workspace.run import SETTLED_NS, Run
from tests.flows.tiny import tiny_footage


def edited_with_its_old_time(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_with_its_old_time(path: Path) -> None:
    before, new = path.stat(), path.with_name("new")
    new.write_bytes(b"Y" + path.read_bytes()[1:])
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    configure_workspace(tmp_path / "ws", tiny_footage(tmp_path / "footage"), preset="small", weights="random")
    return Run.load(tmp_path / "ws")


@pytest.mark.parametrize("change", [edited_with_its_old_time, replaced_with_its_old_time])
def test_a_file_is_read_once_until_it_changes(
    change: Callable[[Path], None], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(run_module, "file_digest", lambda path: read.append(path) or file_digest(path))
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


def test_a_file_that_has_just_changed_may_change_unseen_and_is_read_again(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two", b"six"):  # of one size, within a tick of the clock
        path.write_bytes(content)
        assert run.digest(path) == file_digest(path)
