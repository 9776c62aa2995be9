"""The copies of manifest and annotations in a workspace in an object store, for other machines.

A list that has changed is copied when it is given again.

inputs/M.csv                     the manifest as it is
inputs/M.annotations.csv         the annotations as they are
inputs/M.csv.folder              the folder that relative paths of M.csv count from, where it was given
"""

import shutil
from pathlib import Path

from extract.atomic import write_atomically
from extract.remote.path import AnyPath
from extract.tables import FOLDER_SUFFIX

FOLDER = "inputs"


def keep_lists(root: Path, manifest: AnyPath, annotations: AnyPath | None) -> tuple[AnyPath, AnyPath | None]:
    """Copy both files into the workspace `root`; returns their paths there, relative to it.

    Files that are in the workspace already, and objects in a store, stay where they are.
    """
    beside = f"{manifest.stem}.annotations.csv"
    return _keep(root, manifest, manifest.name), annotations and _keep(root, annotations, beside)


def remove_lists(root: Path) -> None:
    """Remove the copies of a workspace that was refused."""
    shutil.rmtree(root / FOLDER, ignore_errors=True)


def _keep(root: Path, given: AnyPath, name: str) -> AnyPath:
    if not isinstance(given, Path):
        return given
    if given.is_relative_to(root):
        return given.relative_to(root)
    copy = root / FOLDER / name
    copy.parent.mkdir(exist_ok=True)
    _write(copy.with_name(name + FOLDER_SUFFIX), f"{given.parent}\n".encode())
    _write(copy, given.read_bytes())
    return copy.relative_to(root)


def _write(path: Path, content: bytes) -> None:
    """Write the file if it has another content: what is unchanged is not uploaded again."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
