"""Locks between processes: one for a workspace, one for each GPU.

A lock is a file locked with `flock`. The kernel releases it when its holder ends, however that happens, so no
stale lock remains. The file's content names the holder.
"""

import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from pydantic import AwareDatetime, BaseModel, ValidationError

from extract.errors import InputError
from extract.file_lock import try_lock

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 1.0
SECONDS_BETWEEN_LINES = 60.0


class BusyError(InputError):
    """Another process holds the lock."""


class Holder(BaseModel):
    """The content of a lock file: the process that holds the lock."""

    pid: int
    host: str
    since: AwareDatetime

    def __str__(self) -> str:
        age = timedelta(seconds=max(0, int((now() - self.since).total_seconds())))  # clocks differ
        return f"process {self.pid} on {self.host} since {self.since:%Y-%m-%d %H:%M:%S} ({age} ago)"


@contextmanager
def file_lock(path: Path, name: str, *, wait: bool = False, advice: str = "wait for it") -> Iterator[None]:
    """Hold the lock file `path`; messages call the locked thing `name`.

    While another process holds the lock: with `wait`, wait and log the holder once a minute; otherwise raise
    BusyError naming the holder, with `advice`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _lock(file, name, wait, advice)
        yield


def gpu_lock(device: str) -> AbstractContextManager[None]:
    """Hold the lock of a GPU, waiting for it; without effect for a CPU.

    `device` is a torch device name, for example `cuda:1`. Lock files are in DSANET_LOCKS, by default
    ~/.cache/dsanet/locks; all users of a GPU must use the same folder.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return nullcontext()
    index = int(number or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpu = gpu_identity(index, visible, _uuid(index), socket.gethostname())
    folder = Path(os.environ.get("DSANET_LOCKS") or Path.home() / ".cache" / "dsanet" / "locks")
    return file_lock(folder / f"{gpu}.lock", f"GPU {index} ({gpu})", wait=True)


def gpu_identity(index: int, visible: str, uuid: str | None, host: str) -> str:
    """The name of a card's lock, the same for all its users, whatever number it has for them.

    A UUID names one card in the world. It is the same for every value of CUDA_VISIBLE_DEVICES (`visible`) and
    CUDA_DEVICE_ORDER, and for containers with host names of their own. A MIG instance has the name that
    CUDA_VISIBLE_DEVICES gives it: its driver may report the UUID of the whole card. A number, where nothing
    else is known, holds for one host.
    """
    entries = [entry.strip() for entry in visible.split(",")]
    entry = entries[index] if index < len(entries) else ""
    if entry.upper().startswith("MIG-"):
        name = entry
    elif uuid is not None:
        name = f"GPU-{uuid.removeprefix('GPU-').lower()}"
    elif entry.upper().startswith("GPU-"):
        name = entry
    else:
        name = f"cuda-{entry or index}-{host}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)  # a MIG name may contain a slash


def _uuid(index: int) -> str | None:
    """UUID of a card of this process; None where CUDA does not work, and from a PyTorch that cannot tell."""
    import torch

    if index >= torch.cuda.device_count():
        return None
    return str(getattr(torch.cuda.get_device_properties(index), "uuid", "")) or None


def _lock(file: IO[str], name: str, wait: bool, advice: str) -> None:
    """Lock the open file, as `file_lock` describes, and write this process into it."""
    logged = -math.inf
    while not try_lock(file):
        if not wait:
            raise BusyError(f"{name} is in use by {_holder(file)}; {advice}")
        if time.monotonic() - logged >= SECONDS_BETWEEN_LINES:
            log.info("waiting for %s, in use by %s", name, _holder(file))
            logged = time.monotonic()
        time.sleep(SECONDS_BETWEEN_TRIES)
    file.truncate(0)
    file.write(Holder(pid=os.getpid(), host=socket.gethostname(), since=now()).model_dump_json())
    file.flush()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        return str(Holder.model_validate_json(file.read()))
    except ValidationError:  # the holder has locked the file but not written it yet
        return "another process"


def now() -> datetime:
    """The present time, with its zone."""
    return datetime.now().astimezone()
