"""What one process holds at a time: a workspace, a GPU.

A lock is a file held by `flock`, which the kernel frees however its holder ends, so a stale one cannot be;
the file says who holds it and since when.
"""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from pydantic import AwareDatetime, BaseModel, ValidationError

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 1.0
SECONDS_BETWEEN_LINES = 60.0


class BusyError(ValueError):
    """Another process holds it."""


class Holder(BaseModel):
    """What a held lock's file says."""

    pid: int
    host: str
    since: AwareDatetime

    def __str__(self) -> str:
        age = timedelta(seconds=int((_now() - self.since).total_seconds()))
        return f"process {self.pid} on {self.host} since {self.since:%Y-%m-%d %H:%M:%S} ({age} ago)"


@contextmanager
def held(path: Path, what: str, *, wait: bool = False, advice: str = "wait for it") -> Iterator[None]:
    """Hold the lock `path` on `what` (its name in messages).

    Where it is taken: with `wait` until it is free, saying so once a minute; else BusyError names the holder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        said = -SECONDS_BETWEEN_LINES
        while not _taken(file):
            if not wait:
                raise BusyError(f"{what} is in use by {_holder(file)}; {advice}")
            if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
                log.info("waiting for %s, in use by %s", what, _holder(file))
                said = time.monotonic()
            time.sleep(SECONDS_BETWEEN_TRIES)
        file.truncate(0)
        file.write(Holder(pid=os.getpid(), host=socket.gethostname(), since=_now()).model_dump_json())
        file.flush()
        yield


def device_turn(device: str) -> AbstractContextManager[None]:
    """Hold a GPU while a stage computes on it: one at a time a device. A CPU is shared.

    `device` as torch names it, for example `cuda:1`. Processes that see the devices under other numbers
    (CUDA_VISIBLE_DEVICES) still mean the same one. The locks lie in DSANET_LOCKS, by default
    ~/.cache/dsanet/locks, which all who share a GPU must share.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return nullcontext()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    index = int(number or 0)
    name = visible[index].strip() if index < len(visible) and visible[index].strip() else str(index)
    folder = Path(os.environ.get("DSANET_LOCKS") or Path.home() / ".cache" / "dsanet" / "locks")
    return held(folder / f"cuda-{name}.lock", f"GPU {name}", wait=True)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        return str(Holder.model_validate_json(file.read()))
    except ValidationError:  # it has the lock, but has not written its name yet
        return "another process"


def _now() -> datetime:
    return datetime.now().astimezone()
