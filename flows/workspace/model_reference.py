"""Resolution of a model reference (`--model`): a folder, or a registered version by alias, number or key.

An alias is resolved once per run, and the checkpoint of a registered version is never rewritten, so a
promotion does not affect an inference that is already running.
"""

import logging
import os
import shutil
from pathlib import Path

from dsanet.checkpoint_info import WEIGHTS_FILE, CheckpointError, read_info
from extract.display import printable
from extract.errors import InputError, MissingFileError
from extract.remote.store import is_remote
from flows.workspace.model_registry import MODEL_FOLDER, REPORT_FOLDER, Registry
from flows.workspace.registered_versions import Version
from flows.workspace.versions import VersionFolder
from flows.workspace.workspace import Workspace, local_folder

log = logging.getLogger(__name__)


class VersionLostError(MissingFileError):
    """The checkpoint of a version is neither in its folder nor in the registry."""


def checkpoint_folder(reference: str) -> Path:
    """The checkpoint folder of `ws@champion`, `ws@3` or `champion`; an existing path is returned as it is.

    The default workspace is DSANET_WORKSPACE, else the folder `workspace`. Raises ValueError for an unknown
    workspace or version.
    """
    if Path(reference).exists():
        return Path(reference)
    root, _, name = reference.rpartition("@")
    if is_remote(reference) and not root:
        return local_folder(Path(reference))
    workspace = Path(root or os.environ.get("DSANET_WORKSPACE", "workspace"))
    if not is_remote(workspace) and not workspace.is_dir():
        raise InputError(
            f"no workspace or checkpoint folder {printable(reference)!r}, and no workspace {workspace} that "
            "could have a version of this name; give the path of a workspace, or WORKSPACE@VERSION"
        )
    return version_folder(name, Workspace(workspace)).model


def version_folder(name: str, workspace: Workspace) -> VersionFolder:
    """The folder of a registered version, by alias, number or key; lost files are restored."""
    registry = Registry(workspace.root)
    version = registry.find(name)
    folder = VersionFolder(workspace, version.key)
    restore_version(registry, version, folder)
    return folder


def restore_version(registry: Registry, version: Version, folder: VersionFolder) -> None:
    """Restore from the registry what a version's folder lacks: checkpoint, training set, report.

    Raises VersionLostError if the registry does not have the checkpoint either. The other two are not needed:
    `read_training_set` is then empty, and the page has no link.
    """
    if not _has_checkpoint(folder):
        try:
            _restore(registry, version, folder, MODEL_FOLDER)
        except MissingFileError as error:
            raise VersionLostError(
                f"the checkpoint of version {version.number} is lost: it is not in {folder.model}, and "
                f"{error}, or put another version into service with `dsanet models promote N`"
            ) from None
    for artifact, present, loss in (
        (folder.training_file.name, folder.has_training_set, "every labelled video counts as newly labelled"),
        (REPORT_FOLDER, (folder.report / "index.html").is_file(), "the page has no report of it"),
    ):
        if not present:
            try:
                _restore(registry, version, folder, artifact)
            except MissingFileError as error:
                log.warning("%s; until then %s", error, loss)


def _has_checkpoint(folder: VersionFolder) -> bool:
    """True if the folder has weights and a readable `model.json`."""
    try:
        read_info(folder.model)
    except (MissingFileError, CheckpointError):
        return False
    return (folder.model / WEIGHTS_FILE).is_file()


def _restore(registry: Registry, version: Version, folder: VersionFolder, artifact: str) -> None:
    """Download an artifact beside its place, then move it there: a kill leaves no half of it."""
    place, draft = folder.root / artifact, folder.root / ".restored"
    log.warning("%s is missing or damaged; restoring it from the registry", place)
    shutil.rmtree(draft, ignore_errors=True)
    registry.download(version, artifact, draft)
    if place.is_dir():
        shutil.rmtree(place)
    (draft / artifact).replace(place)
    draft.rmdir()
