"""A workspace in an object store as a folder on this machine, which is kept equal to the store.

A command that opens the workspace takes over what is new in the store. Only the holder of the workspace's
lock changes the store. All other code works with the folder.
"""

import fcntl
import hashlib
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from extract.errors import InputError
from extract.file_lock import try_lock
from extract.remote.cache import cache_folder
from extract.remote.path import RemotePath, as_path
from extract.remote.store import Store, StoreError
from extract.termination import sigterm_as_exit
from flows.workspace.copy_record import CopyRecord
from flows.workspace.locks import file_lock
from flows.workspace.pull import pull
from flows.workspace.remote_lock import HeldLock, LockLostError, remote_lock
from flows.workspace.uploads import Uploads, is_uploaded_at_once

log = logging.getLogger(__name__)

FRESH_S = 30.0
"""Time for which a process that only reads does not look into the store again."""
_HELD = b"held"
_SECONDS_BETWEEN_TRIES = 0.2


class WorkingCopy:
    """The copy of one workspace. A process has one object for it (`working_copy`)."""

    def __init__(self, address: str, root: Path) -> None:
        """Makes the folder, which only its owner can read."""
        self.root = root
        self.store = Store(address)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._record = CopyRecord(root)
        self._uploads: Uploads | None = None
        self._looked = {False: -FRESH_S, True: -FRESH_S}
        """When the store was looked at last, without and with the feature files."""

    def refresh(self, *, feature_files: bool) -> None:
        """Take over what has changed in the store, unless that was done just now.

        Nothing is done while a process of this machine holds the workspace: it keeps the copy equal.
        """
        if self._uploads is not None or time.monotonic() - self._looked[feature_files] < FRESH_S:
            return
        with _synchronising(self.root) as file:
            if file is None:
                return
            self._record.reload()
            self._pull(feature_files=feature_files)

    @contextmanager
    def locked(self, *, wait: bool = False, advice: str) -> Iterator[None]:
        """Hold the workspace on this machine and in the store, and upload what changes.

        Inside another `locked` of this process nothing happens. Raises BusyError, LockLostError, StoreError;
        what was finished before an error is uploaded.
        """
        if self._uploads is not None:
            yield
            return
        name = self.store.address
        with ExitStack() as stack:
            stack.enter_context(sigterm_as_exit())
            stack.enter_context(file_lock(self.root / ".lock", name, wait=wait, advice=advice))
            lock = stack.enter_context(
                remote_lock(
                    self.store,
                    wait=wait,
                    advice=advice,
                    earlier=self._record.tokens,
                    on_token=self._add_token,
                )
            )
            self._record.tokens = {lock.token}
            stack.enter_context(_held(self.root))
            self._record.reload()
            stack.enter_context(self._uploading(lock))
            yield

    def file_written(self, path: Path) -> None:
        """Upload a finished feature file while the run goes on. Raises the error of an earlier upload."""
        if self._uploads is not None and is_uploaded_at_once(path, self.root):
            self._uploads.file_written(path)

    def synchronise(self) -> None:
        """Upload everything that has changed, if this process holds the workspace."""
        if self._uploads is not None:
            self._uploads.push_all()

    def _add_token(self, token: str) -> None:
        self._record.tokens = {*self._record.tokens, token}

    @contextmanager
    def _uploading(self, lock: HeldLock) -> Iterator[None]:
        self._pull(feature_files=True)
        self._uploads = Uploads(self.store, self.root, self._record, lock)
        try:
            self.synchronise()  # what a killed run has left
            yield
        except BaseException as error:
            self._upload_rest(error)
            raise
        else:
            self.synchronise()
        finally:
            uploads, self._uploads = self._uploads, None
            uploads.close()
            self._looked = dict.fromkeys(self._looked, time.monotonic())

    def _upload_rest(self, error: BaseException) -> None:
        """Upload what a run has finished before it ends by an error."""
        if isinstance(error, LockLostError | StoreError):
            return
        try:
            self.synchronise()
        except (InputError, OSError) as failed:
            log.error("not everything is in %s: %s; the next run uploads the rest", self.store, failed)

    def _pull(self, *, feature_files: bool) -> None:
        pull(self.store, self.root, self._record, feature_files=feature_files)
        at = time.monotonic()
        self._looked = {False: at, True: at if feature_files else self._looked[True]}


_COPIES: dict[tuple[str, Path], WorkingCopy] = {}
_COPIES_LOCK = threading.Lock()


def working_copy(place: Path | str) -> WorkingCopy:
    """The working copy of an address. Raises InputError for one that is no address of a store."""
    found = as_path(place)
    assert isinstance(found, RemotePath)
    address = found.address
    key = address, cache_folder() / "workspaces" / _folder_name(address)
    with _COPIES_LOCK:
        if key not in _COPIES or not key[1].is_dir():
            _COPIES[key] = WorkingCopy(*key)
        return _COPIES[key]


def _folder_name(address: str) -> str:
    """For example `bucket-footage-2026-1f0c…`."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", address.partition("://")[2]).strip("-.")
    return f"{readable[:60]}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


@contextmanager
def _synchronising(root: Path) -> Iterator[IO[bytes] | None]:
    """Keep other processes of this machine from changing the copy; None if one holds the workspace."""
    with (root / ".sync.lock").open("a+b") as file:
        while not try_lock(file):
            file.seek(0)
            if file.read() == _HELD:
                yield None
                return
            time.sleep(_SECONDS_BETWEEN_TRIES)
        file.truncate(0)
        yield file


@contextmanager
def _held(root: Path) -> Iterator[None]:
    """Keep other processes of this machine from changing the copy, and tell them that it is kept equal."""
    with (root / ".sync.lock").open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a process that only reads holds it for one look into the store
        file.truncate(0)
        file.write(_HELD)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
