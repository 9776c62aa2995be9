"""Resolution of a model reference (`--model`): a folder, or a registered version by alias, number or key.

An alias is resolved once per run, and the checkpoint of a registered version is never rewritten, so a
promotion does not affect an inference that is already running.
"""

import logging
import os
from pathlib import Path

from dsanet.checkpoint import INFO_FILE, WEIGHTS_FILE
from extract.errors import InputError
from flows.workspace.model_registry import Registry, Version
from flows.workspace.versions import VersionFolder
from flows.workspace.workspace import Workspace

log = logging.getLogger(__name__)


def checkpoint_folder(reference: str) -> Path:
    """The checkpoint folder of `ws@champion`, `ws@3` or `champion`; an existing path is returned as it is.

    The default workspace is DSANET_WORKSPACE, else the folder `workspace`. Raises ValueError for an unknown
    workspace or version.
    """
    if Path(reference).exists():
        return Path(reference)
    root, _, name = reference.rpartition("@")
    workspace = Path(root or os.environ.get("DSANET_WORKSPACE", "workspace"))
    if not workspace.is_dir():
        raise InputError(
            f"{reference!r} is not a folder, and there is no workspace {workspace}; give WORKSPACE@{name}"
        )
    return version_folder(name, Workspace(workspace)).model


def version_folder(name: str, workspace: Workspace) -> VersionFolder:
    """The folder of a registered version, by alias, number or key; a lost checkpoint is downloaded."""
    registry = Registry(workspace.root)
    version = registry.find(name)
    folder = VersionFolder(workspace, version.key)
    restore_checkpoint(registry, version, folder)
    return folder


def restore_checkpoint(registry: Registry, version: Version, folder: VersionFolder) -> None:
    """Download a version's checkpoint from the registry if its files are missing in `folder`."""
    if not all((folder.model / name).is_file() for name in (INFO_FILE, WEIGHTS_FILE)):
        log.warning(
            "the checkpoint of version %d is missing; downloading it to %s", version.number, folder.root
        )
        registry.download_model(version, folder.model)
