"""The command line: help for every command, and one line with exit code 2 for invalid input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from extract.manifest import VideoRecord, write_manifest
from flows.demo.footage import ClipPlan, write_clip
from tests.flows.commands import COMMANDS, DSANET, Dsanet


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two short videos, a normal and an anomalous one."""
    folder = tmp_path_factory.mktemp("clips")
    paths = {}
    for name, label, event in (("calm", "normal", None), ("burns", "fire", (8, 24))):
        paths[name] = folder / f"{name}.mp4"
        write_clip(paths[name], ClipPlan(name, "train", label, 32, event, seed=1))
    return paths


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, dsanet: Dsanet) -> None:
    code, out, _ = dsanet(*command.split(), "--help")
    assert code == 0
    assert f"Example: dsanet {command}" in " ".join(out.split())


def test_help_lists_all_commands_without_loading_torch() -> None:
    script = """
import sys
from flows.cli import main as cli
cli.app(["--help"], standalone_mode=False)
assert "torch" not in sys.modules
"""
    shown = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert all(command.split()[0] in shown.stdout for command in COMMANDS)


def test_the_help_cuts_no_option_on_a_narrow_terminal() -> None:
    shown = subprocess.run(
        [*DSANET, "score", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "40"},
    ).stdout
    assert all(option in shown for option in ("--threshold", "--weights", "--out", "-h, --help"))
    assert "…" not in shown


HEADER = "path,labels,split\n"


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        ("path,labels\ncalm.mp4,normal\n", "split"),
        (HEADER + "calm.mp4,normal,training\n", "training"),
        (HEADER + "gone.mp4,normal,train\n", "gone.mp4"),
        (HEADER + "calm.mp4,normal,train\ncalm.mp4,normal,test\n", "calm is already in line 2"),
        (HEADER + "calm.mp4,normal,test\nburns.mp4,fire,test\n", "no video of split `train`"),
        (HEADER + "calm.mp4,normal,train\nburns.mp4,fire,test\n", "every training video is normal"),
        (HEADER + "calm.mp4,normal,train\nburns.mp4,fire,train\n", "no video of split `test`"),
        (HEADER, "no"),
    ],
    ids=["column", "split", "missing", "duplicate", "no-train", "one-class", "no-test", "empty"],
)
def test_an_invalid_manifest_is_reported_in_one_line_with_exit_code_2(
    manifest: str, complaint: str, clips: dict[str, Path], tmp_path: Path, dsanet: Dsanet
) -> None:
    path = clips["calm"].parent / f"{tmp_path.name}.csv"
    path.write_text(manifest)
    code, _, err = dsanet("run", "--manifest", path, "--out", tmp_path / "ws", "--weights", "random")
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("dsanet:")]
    assert complaint in line
    assert "Traceback" not in err
    assert not (tmp_path / "ws" / "features").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "--out", "ws"], "is not a workspace"),
        (["run", "--out", "ws", "--manifest", "none.csv"], "none.csv"),
        (["train", "--out", "nowhere"], "is not a workspace"),
        (["config", "--preset", "shanghai"], "no preset 'shanghai'"),
        (["config", "--set", "train.epoch=3"], "no setting 'train.epoch'"),
        (["score", "none.mp4", "--model", "nowhere"], "nowhere"),
        (["import-dataset", "ucf", "--lists", ".", "--videos", ".", "--out", "m.csv"], "no data set 'ucf'"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line_with_exit_code_2(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = dsanet(*arguments)
    assert code == 2
    assert complaint in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_missing_weights_names_all_ways_to_give_them(
    clips: dict[str, Path], tmp_path: Path, dsanet: Dsanet
) -> None:
    manifest = tmp_path / "m.csv"
    names = (("calm", "normal", "train"), ("burns", "fire", "train"))
    records = [VideoRecord(name, clips[name], (label,), split) for name, label, split in names]
    write_manifest(manifest, records)
    code, _, err = dsanet(
        "extract", "--manifest", manifest, "--out", tmp_path / "ws", "--weights", "no/such/file.pt"
    )
    assert code == 2
    message = " ".join(err.splitlines()[-1].split())
    assert all(way in message for way in ("`openai`", "path", "`random`"))


def test_debug_shows_the_traceback(dsanet: Dsanet) -> None:
    with pytest.raises(ValueError, match="no preset"):
        dsanet("--debug", "config", "--preset", "shanghai")


def test_set_accepts_every_line_that_config_prints(dsanet: Dsanet) -> None:
    code, out, _ = dsanet("config", "--preset", "xd-violence", "--set", "train.epochs=3")
    assert code == 0
    assert "train.epochs=3" in out.splitlines()
    settings = [line for line in out.splitlines() if not line.startswith("preset=")]
    code, again, _ = dsanet("config", *(part for line in settings for part in ("--set", line)))
    assert code == 0
    assert [line for line in again.splitlines() if not line.startswith("preset=")] == settings


def test_unreadable_videos_change_the_exit_code_with_strict_or_if_all_fail(
    clips: dict[str, Path], tmp_path: Path, dsanet: Dsanet
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "one.csv").write_text(f"{HEADER}broken.mp4,fire,train\n{clips['calm']},normal,train\n")
    (tmp_path / "all.csv").write_text(f"{HEADER}broken.mp4,fire,train\n")
    options = ("--weights", "random", "--out")
    assert dsanet("extract", "--manifest", tmp_path / "one.csv", *options, tmp_path / "a")[0] == 0
    assert "broken" in (tmp_path / "a" / "features" / "failures.csv").read_text()
    assert dsanet("extract", "--strict", "--out", tmp_path / "a")[0] == 1
    assert dsanet("extract", "--manifest", tmp_path / "all.csv", *options, tmp_path / "b")[0] == 1
    code, out, _ = dsanet("features", "verify", tmp_path / "a")
    assert (code, out.splitlines()[-1]) == (0, "1 feature files, 0 damaged")
    path = tmp_path / "a" / "features" / "calm.h5"
    path.write_bytes(path.read_bytes()[:-1])
    code, out, _ = dsanet("features", "verify", tmp_path / "a")
    assert (code, out.splitlines()[-1]) == (1, "1 feature files, 1 damaged")
    assert "damaged" in dsanet("features", "show", tmp_path / "a")[1]
