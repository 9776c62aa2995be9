"""Versions of the programs that decide what is computed: equal ones on all nodes give equal results."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from extract.errors import InputError

OURS = "dsanet"
_PACKAGES = ("extract", "evaluate", "dsanet")
_OTHERS = ("torch", "av", "numpy", "open_clip_torch")
_ROOT = Path(__file__).parents[2]


@cache
def versions() -> dict[str, str]:
    """Of this program (a digest of its source text), and of the libraries that decode and compute."""
    code = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            code.update(path.relative_to(_ROOT).as_posix().encode() + path.read_bytes())
    others = {name: importlib.metadata.version(name) for name in _OTHERS}
    return {OURS: code.hexdigest()[:16], "Python": platform.python_version(), **others}


def require_this_version(host: str, found: Mapping[str, str]) -> None:
    """Raise InputError if another version of this program runs on the node `host`."""
    if found[OURS] != versions()[OURS]:
        raise InputError(
            f"node {host} of the Ray cluster has another version of dsanet ({found[OURS]}) than this machine "
            f"({versions()[OURS]}); install the same one on every node"
        )


def other_versions(found: Mapping[str, str]) -> str:
    """The libraries of a node that have another version than here: `av 14.2 (here 15.1)`."""
    here = versions()
    return ", ".join(
        f"{name} {found[name]} (here {here[name]})" for name in here if found[name] != here[name]
    )
