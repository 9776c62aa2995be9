"""Uploads of a run: feature files as they are finished, the others at intervals and at the end of a stage.

Only the holder of the lock uploads. The store never shows a part of a result as a whole one: files that say
that others are complete are uploaded after them, and deleted before the others change.
"""

import logging
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from extract.errors import InputError
from extract.remote.store import ObjectState, Store, StoreError
from flows.progress import Report, stage_progress
from flows.workspace.carried_files import (
    in_order,
    is_database,
    is_feature_file,
    is_marker,
    local_files,
    local_state,
)
from flows.workspace.copy_record import CopyRecord, Entry
from flows.workspace.remote_lock import HeldLock, LockLostError

log = logging.getLogger(__name__)

THREADS = 8
WAITING_FILES = 64
"""Feature files that wait for their upload; the extraction waits while there are more."""
INTERVAL_S = 20.0


class Uploads:
    """The uploads of one run, which holds the lock; `close` ends its threads."""

    def __init__(self, store: Store, root: Path, record: CopyRecord, lock: HeldLock) -> None:
        self._store, self._root, self._record, self._lock = store, root, record, lock
        self._pool = ThreadPoolExecutor(THREADS, "dsanet-upload")
        self._room = threading.BoundedSemaphore(WAITING_FILES)
        self._waiting: set[Future[None]] = set()
        self._error: BaseException | None = None
        self._turn = threading.Lock()
        """Held while the folder is compared with the store."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._push_regularly, name="dsanet-push", daemon=True)
        self._thread.start()

    def file_written(self, path: Path) -> None:
        """Upload a finished file of its own, in a thread. Raises the error of an earlier upload."""
        self._raise_error()
        self._room.acquire()
        future = self._pool.submit(self._upload, path.relative_to(self._root).as_posix())
        self._waiting.add(future)
        future.add_done_callback(self._uploaded)

    def push_all(self) -> None:
        """Make the store equal to the folder. Raises LockLostError, StoreError, OSError."""
        for future in list(self._waiting):
            with suppress(Exception):  # `_raise_error` has it
                future.result()
        self._raise_error()
        with self._turn:
            self._push()

    def close(self) -> None:
        """End the threads, without uploading more."""
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)
        self._thread.join()

    # --------------------------------------------------------------------------------------------------------

    def _uploaded(self, future: Future[None]) -> None:
        self._room.release()
        self._waiting.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            self._error = self._error or error

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None  # the next `push_all` tries again
            raise error

    def _push_regularly(self) -> None:
        """Upload what may be needed after a kill of this machine: the state of a training, lists, scores."""
        pause_s = INTERVAL_S
        while not self._ended.wait(pause_s):
            began = time.monotonic()
            try:
                with self._turn:
                    self._push_progress()
            except LockLostError:  # the next upload of the run raises it
                return
            except (InputError, OSError, sqlite3.Error) as error:
                log.warning("files of %s could not be uploaded yet: %s", self._store, error)
            pause_s = max(INTERVAL_S, 4 * (time.monotonic() - began))

    def _push_progress(self) -> None:
        entries = self._record.entries()
        complete = {key.rpartition("/")[0] for key in entries if is_marker(key)}
        local = local_files(self._root, feature_files=False)
        changed = (key for key, state in local.items() if key not in entries or entries[key].local != state)
        for key in changed:
            # A folder that is complete in the store is replaced as a whole, at the end of the stage.
            if not is_marker(key) and key.rpartition("/")[0] not in complete and "/" in key:
                self._upload(key)
            if self._ended.is_set():
                return

    def _push(self) -> None:
        entries, local = self._record.entries(), local_files(self._root)
        changed = [key for key, state in local.items() if key not in entries or entries[key].local != state]
        gone = [key for key in entries if key not in local]
        folders = {key.rpartition("/")[0] for key in (*changed, *gone) if not is_marker(key)}
        outdated = [key for key in changed if is_marker(key) and key.rpartition("/")[0] in folders]
        first = [key for key in (*outdated, *gone) if key in entries and is_marker(key)]
        self._in_parallel(self._delete, first)
        if changed:
            with stage_progress("upload", "files") as report:
                counted = _Counted(report, len(changed))
                for group in in_order(changed):
                    self._in_parallel(self._upload, group, counted)
        self._in_parallel(self._delete, [key for key in gone if not is_marker(key)])

    def _in_parallel(
        self, work: Callable[[str], None], keys: Iterable[str], done: Callable[[], None] = lambda: None
    ) -> None:
        """Do the work for each key; after an error the rest is still done, and then it is raised."""
        futures = [self._pool.submit(work, key) for key in keys]
        error: BaseException | None = None
        for future in futures:
            try:
                future.result()
            except (InputError, OSError, sqlite3.Error) as failed:
                error = error or failed
                if isinstance(failed, LockLostError):
                    break
            done()
        if error is not None:
            for future in futures:
                future.cancel()
            raise error

    def _upload(self, key: str) -> None:
        self._lock.require()
        path = self._root / key
        before = local_state(path)
        if before is None:  # removed since it was listed
            return
        try:
            written = self._send_database(path, key) if is_database(key) else self._store.upload(path, key)
        except FileNotFoundError:
            return
        if written.size != before.size and not is_database(key) and local_state(path) == before:
            raise StoreError(f"{self._store}/{key} has {written.size} bytes, not the {before.size} of {path}")
        self._record.put(key, Entry(written, before))

    def _send_database(self, path: Path, key: str) -> ObjectState:
        """Upload a state of the database between two transactions."""
        with tempfile.TemporaryDirectory(prefix="dsanet-") as folder:
            snapshot = Path(folder) / path.name
            with (
                closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)) as database,
                closing(sqlite3.connect(snapshot)) as copy,
            ):
                database.backup(copy)
            return self._store.upload(snapshot, key)

    def _delete(self, key: str) -> None:
        self._lock.require()
        self._store.delete(key)
        self._record.remove(key)


class _Counted:
    """Reports how many of the files are done."""

    def __init__(self, report: Report, total: int) -> None:
        self._report, self._total, self._done = report, total, 0

    def __call__(self) -> None:
        self._done += 1
        self._report(self._done, self._total, "")


def is_uploaded_at_once(path: Path, root: Path) -> bool:
    """True for a feature file of the workspace itself."""
    return path.is_relative_to(root) and is_feature_file(path.relative_to(root).as_posix())
