"""The copies of manifest and annotations in a workspace in an object store, for other machines.

inputs/M.csv                     the manifest as it is
inputs/M.annotations.csv         the annotations as they are
inputs/M.csv.folder              the folder that relative paths of M.csv count from, where it was given
"""

from pathlib import Path

from extract.atomic import write_atomically
from extract.remote.path import AnyPath, as_path
from extract.tables import FOLDER_SUFFIX

FOLDER = "inputs"


def keep_lists(root: Path, manifest: AnyPath, annotations: AnyPath | None) -> tuple[Path, Path | None]:
    """Copy both files into the workspace `root`; returns their paths there, relative to it.

    Files that are in the workspace already stay where they are; copies of an earlier manifest are removed.
    """
    manifest = as_path(manifest)
    kept = _keep(root, manifest, manifest.name)
    beside = f"{manifest.stem}.annotations.csv"
    kept_annotations = None if annotations is None else _keep(root, as_path(annotations), beside)
    names = {path.name for path in (kept, kept_annotations) if path is not None}
    for path in (root / FOLDER).glob("*"):
        if path.name.removesuffix(FOLDER_SUFFIX) not in names:
            path.unlink()
    return kept, kept_annotations


def _keep(root: Path, given: AnyPath, name: str) -> Path:
    if isinstance(given, Path) and given.is_relative_to(root):
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
