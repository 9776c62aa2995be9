"""Weight files: tensors are read, files with code are refused without running it, damaged ones in a line."""

import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dsanet.released_weights import read_release
from extract.clip import read_weights
from extract.errors import InputError
from extract.tensors import load_tensors


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (Path("exploded"),)


def save_script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def save_cut(path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def save_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def save_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "x")


CODE: dict[str, Callable[[Path], object]] = {
    "object": lambda path: torch.save({"model_state_dict": {"a": torch.ones(1), "b": Bomb()}}, path),
    "legacy": lambda path: torch.save(Bomb(), path, _use_new_zipfile_serialization=False),
    "module": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "settings": lambda path: torch.save({"a": torch.ones(1), "path": Path("x")}, path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "arrays": lambda path: path.write_bytes(pickle.dumps({"a": np.ones(3)})),
}
DAMAGE: dict[str, Callable[[Path], object]] = {
    "random": lambda path: path.write_bytes(b"\0" + os.urandom(5000)),
    "empty": lambda path: path.write_bytes(b""),
    "page": lambda path: path.write_text("<!DOCTYPE html><html>please sign in</html>"),
    "cut": save_cut,
    "zip": save_zip,
    "tar": save_tar,
}


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch's hints are not shown either
        yield
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("read", [load_tensors, read_weights, lambda path: read_release(path, "ucf-crime")])
@pytest.mark.parametrize("kind", CODE)
def test_a_file_that_would_run_code_is_refused(
    kind: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    CODE[kind](tmp_path / "w.pth")
    with pytest.raises(InputError, match="would run code") as refused:
        read(tmp_path / "w.pth")
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    assert not any(word in message for word in ("weights_only", "safe_globals", "allow_pickle", "torch."))


def test_a_torchscript_archive_is_no_file_of_tensors(tmp_path: Path) -> None:
    save_script(tmp_path / "w.pt")
    with pytest.raises(InputError, match="would run code"):
        load_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("read", [load_tensors, read_weights, lambda path: read_release(path, "ucf-crime")])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(
    kind: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    DAMAGE[kind](tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth is not a file of tensors: it is damaged") as refused:
        read(tmp_path / "w.pth")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{}", os.urandom(500)])
def test_a_damaged_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="damaged or in another format"):
        read_weights(tmp_path / "w.safetensors")


def test_tensors_are_read(tmp_path: Path) -> None:
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        torch.save({"a": torch.ones(3)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
        assert torch.equal(load_tensors(tmp_path / name)["a"], torch.ones(3))
