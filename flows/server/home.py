"""The Prefect home (PREFECT_HOME) of commands: a cache folder of this Prefect version.

The user's `~/.prefect` may belong to another version of Prefect, or be in use. `dsanet up` keeps its state
there, because schedules must outlive an upgrade. Results and cache records are in the workspace.
"""

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from extract.errors import InputError

SET_BY_USER = ("PREFECT_HOME", "PREFECT_API_URL")


def use_private_home() -> None:
    """Set PREFECT_HOME to a folder for commands, unless PREFECT_HOME or PREFECT_API_URL is set.

    The profile in `~/.prefect` stays in use, and with it a server that it names. Call this before Prefect is
    imported. Raises ValueError if the folder cannot be written, and no profile could name a server.
    """
    if not any(os.environ.get(name) for name in SET_BY_USER):
        profiles = _home_folder() / ".prefect" / "profiles.toml"
        os.environ["PREFECT_HOME"] = str(private_home())
        if profiles.is_file():
            os.environ.setdefault("PREFECT_PROFILES_PATH", str(profiles))
    if not any(os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_PROFILES_PATH")):
        check_writable(Path(os.environ["PREFECT_HOME"]))


def private_home() -> Path:
    """For example `~/.cache/dsanet/prefect-3.8.8`; below XDG_CACHE_HOME if that is set."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or _home_folder() / ".cache")
    return cache / "dsanet" / f"prefect-{version('prefect')}"


def check_writable(home: Path) -> None:
    """Create a Prefect home. Raises ValueError if files cannot be written there."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"x")
    except OSError as error:
        raise InputError(
            f"Prefect cannot write to its folder {home} ({error.strerror}); make it writable, or set "
            "PREFECT_HOME to a folder that is"
        ) from None


def _home_folder() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise InputError("the user has no home folder; set HOME to a folder that can be written") from None
