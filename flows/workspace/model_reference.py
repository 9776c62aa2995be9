"""What `--model` means: a folder, or a version of a workspace's registry by alias or number.

An alias is looked up once. A version's folder is never written again, so inference finishes on the model that
it began with, whatever is promoted meanwhile.
"""

import logging
import os
from pathlib import Path

from dsanet.checkpoint import INFO_FILE, WEIGHTS_FILE
from flows.workspace.model_registry import Registry, Version
from flows.workspace.versions import VersionFolder
from flows.workspace.workspace import Workspace

log = logging.getLogger(__name__)


def checkpoint_folder(reference: str) -> Path:
    """The folder behind `ws@champion`, `ws@3` or `champion`; a path that is there stays as it is.

    Without a workspace it is that of DSANET_WORKSPACE, else the folder `workspace`. Raises ValueError where
    there is no such version.
    """
    if Path(reference).exists():
        return Path(reference)
    place, _, name = reference.rpartition("@")
    workspace = Path(place or os.environ.get("DSANET_WORKSPACE", "workspace"))
    if not workspace.is_dir():
        raise ValueError(f"{reference!r} is no folder, and there is no workspace {workspace}; give ws@{name}")
    return version_folder(name, Workspace(workspace)).model


def version_folder(name: str, workspace: Workspace) -> VersionFolder:
    """The folder of a registered version, by alias, number or key; fetched where it is not here any more."""
    registry = Registry(workspace.root)
    version = registry.find(name)
    folder = VersionFolder(workspace, version.key)
    restore(registry, version, folder)
    return folder


def restore(registry: Registry, version: Version, folder: VersionFolder) -> None:
    """Bring a version's checkpoint back from the registry where its folder has lost it."""
    if not all((folder.model / name).is_file() for name in (INFO_FILE, WEIGHTS_FILE)):
        log.warning("version %d is not in %s any more: fetching it", version.number, folder.root)
        registry.fetch(version, folder.model)
