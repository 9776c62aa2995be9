"""File names that are not UTF-8: the good files are processed, no output fails, and refusals are one line."""

import os
from pathlib import Path

import pytest

from flows.cli import main as cli
from flows.library.inbox import scan
from flows.library.library import Library
from flows.pipeline.score import _make_records
from flows.workspace.workspace import Workspace
from tests.flows.commands import Dsanet
from tests.flows.tiny import write_tiny_clip

LATIN_1 = os.fsdecode(b"caf\xe9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8."""
    path = tmp_path / LATIN_1
    try:
        path.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    return path


def test_many_videos_of_one_name_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "cam-2.mp4").write_bytes(b"")
    folders = [tmp_path / f"camera{number}" for number in range(300)]
    for path in folders:
        path.mkdir()
        (path / "cam.mp4").write_bytes(b"")
    records = _make_records([tmp_path / "cam-2.mp4", *(path / "cam.mp4" for path in folders)])
    assert [record.name for record in records[:4]] == ["cam-2", "cam", "cam-3", "cam-4"]
    assert len({record.name for record in records}) == 301


def test_the_inbox_refuses_such_a_file_by_name_and_takes_the_others(folder: Path, tmp_path: Path) -> None:
    good = write_tiny_clip(tmp_path / "camera.mp4", seed=1, burns=False)
    write_tiny_clip(folder / "inside.mp4", seed=2, burns=False)
    with Library.open(tmp_path / "ws") as library:
        result = scan(library, [tmp_path], 0)
        assert result.new == ["camera"]
        assert [video.path for video in library.videos()] == [good.path]
    assert list(result.unreadable) == [folder / "inside.mp4"]
    assert "not UTF-8; rename it" in result.unreadable[folder / "inside.mp4"]


@pytest.mark.parametrize("option", ["--out", "--manifest"])
def test_a_workspace_or_manifest_of_such_a_name_is_refused_in_one_line(
    option: str, folder: Path, tmp_path: Path, dsanet: Dsanet
) -> None:
    for place in (folder, tmp_path):
        (place / "cam.mp4").write_bytes(b"")
        (place / "m.csv").write_text("path,labels,split\ncam.mp4,normal,train\n")
    places = {"--out": tmp_path / "ws", "--manifest": tmp_path / "m.csv"}
    places |= {option: folder / "m.csv" if option == "--manifest" else folder}
    options = [word for pair in places.items() for word in pair]
    code, _, err = dsanet("extract", *options, "--weights", "random")
    assert code == 2
    assert r"caf\xe9" in err.splitlines()[-1]
    assert "not UTF-8; rename it" in err.splitlines()[-1]


def test_output_that_cannot_be_encoded_is_shown_with_escapes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", lambda: print(LATIN_1))
    cli.main()
    assert capfd.readouterr().out == "caf\\udce9\n"


def test_paths_of_workspaces_are_checked_once(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"caf\\xe9/ws: .* not UTF-8; rename it"):
        Workspace(folder / "ws")
