"""Errors of commands: bad input is one line and exit code 2, any other error a bug report and exit code 1."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from extract.errors import InputError
from flows.cli.errors import line_for_user
from tests.flows.commands import Dsanet

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Exception], None]:
    """Let `dsanet config` raise an exception; logs go to `tmp_path/cache`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def raise_in_config(error: Exception) -> None:
        def fail(values: object) -> None:
            raise error

        monkeypatch.setattr("flows.cli.output.print_settings", fail)

    return raise_in_config


BUGS = [
    KeyError("x"),
    ValueError("two\nlines"),
    FileNotFoundError(2, "No such file", "a"),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_bug_is_called_one_and_its_traceback_is_in_a_log_file(
    error: Exception, broken: Callable[[Exception], None], tmp_path: Path, dsanet: Dsanet
) -> None:
    broken(error)
    code, out, err = dsanet("config")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    (log,) = (tmp_path / "cache" / "dsanet" / "errors").iterdir()
    assert line.startswith(f"dsanet: this is a bug in dsanet: {type(error).__name__}")
    assert line.endswith(f"please report it with {log}")
    text = log.read_text()
    assert "Traceback (most recent call last)" in text
    assert "in raise_in_config" not in text
    assert "in fail" in text
    assert "dsanet config" in text
    assert log.stat().st_mode & 0o077 == 0  # a command line can hold a password


def test_debug_shows_a_bug_instead_of_writing_a_log(
    broken: Callable[[Exception], None], tmp_path: Path, dsanet: Dsanet
) -> None:
    broken(KeyError("x"))
    with pytest.raises(KeyError, match="x"):
        dsanet("--debug", "config")
    assert not (tmp_path / "cache").exists()


def test_without_a_cache_folder_the_log_is_a_temporary_file(
    broken: Callable[[Exception], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    broken(KeyError("x"))
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    code, _, err = dsanet("config")
    (log,) = (tmp_path / "tmp").glob("*.log")
    assert code == 1
    assert err.endswith(f"please report it with {log}\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    code, _, err = dsanet("config")
    assert code == 1
    assert "Traceback" in err
    assert err.splitlines()[-1] == "dsanet: this is a bug in dsanet: KeyError: 'x'"


def database(text: str) -> OperationalError:
    return OperationalError("INSERT …", {}, sqlite3.OperationalError(text))


MENDABLE = [
    (InputError("no preset\n'x'"), "no preset 'x'"),
    (PermissionError(errno.EACCES, "Permission denied", "/data"), "Permission denied: /data"),
    (OSError(errno.ENOSPC, "No space left on device", "a.h5"), "No space left on device: a.h5"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded"),
    (OSError(errno.EROFS, "Read-only file system", Path("a")), "Read-only file system: a"),
    (FileExistsError(errno.EEXIST, "File exists", "ws"), "File exists: ws"),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory", "ws/a"), "Not a directory: ws/a"),
    (MemoryError(), "out of memory"),
    (database("database or disk is full"), "a database file cannot be used: database or disk is full"),
]


@pytest.mark.parametrize(("error", "line"), MENDABLE, ids=lambda value: type(value).__name__)
def test_what_the_user_can_mend_is_one_line(
    error: Exception, line: str, broken: Callable[[Exception], None], tmp_path: Path, dsanet: Dsanet
) -> None:
    broken(error)
    code, _, err = dsanet("config")
    assert code == 2
    assert err.startswith(f"dsanet: {line}")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("error", [*BUGS, database("no such column: x"), OSError(errno.EBADF, "Bad file")])
def test_other_errors_are_bugs(error: Exception) -> None:
    assert line_for_user(error) is None


MISTAKES: list[tuple[list[str], str]] = [
    (["config", "--set", "train.epochs=many"], "setting train.epochs"),
    (["config", "--set", "runtime.workers=0"], "setting runtime.workers"),
    (["config", "--set", 'model.prompts={"fire":"flames"}', "--preset", "small"], "prompts"),
    (["config", "--set", 'model={"detector":3}'], "no detector '3'"),
    (["config", "--set", "extract=1"], "setting extract"),
    (["config", "--out", "file"], "Not a directory"),
    (["run", "--manifest", ".", "--out", "ws"], "no file ."),
    (["run", "--manifest", "file", "--out", "file/ws"], ""),
    (["compare", "file", "nothing"], "not a metrics.json"),
    (["compare", "ws", "ws"], ""),
    (["features", "show", "nothing"], ""),
    (["features", "verify", "file"], ""),
    (["score", ".", "--model", "ws"], ""),
    (["score", "file", "--model", "file"], ""),
    (["import-weights", "file", "--preset", "ucf-crime", "--out", "m"], "not a file of tensors"),
    (["import-weights", ".", "--preset", "ucf-crime", "--out", "m"], "no released weights at"),
    (["import-weights", "file", "--preset", "ucf-crime", "--out", "m", "--detector", "none"], "detector"),
    (["import-features", "file", "--manifest", "file", "--out", "f"], ""),
    (
        ["import-features", ".", "--manifest", "file", "--out", "f", "--checkpoint", "ws"],
        "no finished checkpoint",
    ),
    (["import-dataset", "ucf-crime", "--lists", "file", "--videos", ".", "--out", "m.csv"], ""),
    (["import-dataset", "ucf-crime", "--lists", ".", "--videos", ".", "--out", "file/m.csv"], ""),
    (["import-dataset", "ucf-crime", "--lists", ".", "--videos", ".", "--out", "."], "is a folder"),
    (["demo", "--out", "file"], ""),
    (["retrain", "--out", "file"], ""),
    (["library", "status", "--out", "file"], ""),
]


@pytest.mark.parametrize(("arguments", "complaint"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_mistakes_in_arguments_never_look_like_bugs(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsanet: Dsanet
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("some text\n")
    (tmp_path / "ws").mkdir()
    code, _, err = dsanet(*arguments)
    assert "bug" not in err
    assert code == 2
    assert complaint in err.splitlines()[-1]
    assert not (tmp_path / "cache" / "dsanet" / "errors").exists()


def test_a_full_disk_is_no_bug(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
    program = (
        f"{limit}import sys; sys.argv[1:] = ['demo', '--out', 'd']\nfrom flows.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "demo", "--out", "d"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    assert "File too large" in ended.stderr.splitlines()[-1]
