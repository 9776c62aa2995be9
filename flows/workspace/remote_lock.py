"""The lock of a workspace in an object store: an object `.lock` that names its holder and is renewed.

It is created on condition that there is none, and renewed on condition that nobody else has written it. A
lock that is not renewed while another process watches it is taken over; the clocks of the machines are not
compared. A holder that finds its lock taken over writes nothing more.
"""

import getpass
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf

from pydantic import AwareDatetime, ValidationError

from extract.errors import InputError, MissingFileError
from extract.remote.store import ObjectState, Store, StoreError
from flows.workspace import locks
from flows.workspace.locks import BusyError, Holder, now

log = logging.getLogger(__name__)

LOCK_KEY = ".lock"
HEARTBEAT_S = 15.0
"""Time between two renewals."""
STALE_S = 60.0
"""Time without a renewal after which a lock that was watched is taken over."""
POLL_S = 5.0
"""Time between two looks at a lock of another process."""
RELEASE_PATIENCE_S = 20.0
"""Time in which a lock is released; after it, the next process takes it over."""


class LockLostError(InputError):
    """Another process has taken the lock over, or somebody has deleted it."""


class LockObject(Holder):
    """The content of the object."""

    user: str
    heartbeat: AwareDatetime
    token: str
    """Names one acquisition."""


@dataclass(frozen=True)
class _Sighting:
    """A lock of another process, as it was at one moment."""

    state: ObjectState
    holder: LockObject | None
    """None for an object that is no lock of this version."""

    def __str__(self) -> str:
        return str(self.holder or "another process")

    @property
    def is_young(self) -> bool:
        """True if it was written just now. A wrong clock only means that the lock is watched, or not yet."""
        age = time.time() - self.state.mtime_ns / 1e9
        return 0 <= age < STALE_S


class HeldLock:
    """A lock that this process holds, and renews in a thread."""

    def __init__(self, store: Store, content: LockObject, tag: str) -> None:
        self._store, self._content, self._tag = store, content, tag
        self._turn = threading.Lock()
        self._confirmed = _seconds()
        self._lost: str = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_regularly, name="dsanet-lock", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Call before every change of the store. Raises LockLostError, StoreError.

        A process that was suspended renews the lock first: it may have been taken over meanwhile.
        """
        if self._lost:
            with self._turn:  # the message is complete
                raise LockLostError(self._lost)
        if _seconds() - self._confirmed > STALE_S / 2:
            self._renew(self._store)

    @property
    def token(self) -> str:
        return self._content.token

    def release(self) -> None:
        """Delete the object if it is still ours. A store that is away keeps it until it is taken over."""
        self._ended.set()
        store = Store(self._store.address, patience_s=RELEASE_PATIENCE_S)
        with self._turn, suppress(StoreError):
            state = None if self._lost else store.state(LOCK_KEY)
            if state is not None and state.tag == self._tag:
                store.delete(LOCK_KEY)

    def _renew_regularly(self) -> None:
        store = Store(self._store.address, patience_s=HEARTBEAT_S)
        while not self._ended.wait(HEARTBEAT_S):
            try:
                self._renew(store)
            except LockLostError as error:
                log.error("%s", error)
                return
            except StoreError as error:
                log.warning("the lock could not be renewed: %s", error)

    def _renew(self, store: Store) -> None:
        with self._turn:
            if self._lost:
                raise LockLostError(self._lost)
            if self._ended.is_set():
                return
            began = _seconds()
            content = _encoded(self._content.model_copy(update={"heartbeat": now()}))
            if not store.compares:
                self._check_content(store)
                store.write(LOCK_KEY, content)
            elif not store.replace(LOCK_KEY, content, self._tag):
                self._lose(store)
            state = store.state(LOCK_KEY)
            self._tag = state.tag if state is not None else ""
            self._confirmed = began

    def _check_content(self, store: Store) -> None:
        found = _look(store)
        if found is None or found.holder is None or found.holder.token != self._content.token:
            self._lose(store)

    def _lose(self, store: Store) -> None:
        self._lost = self._loss("was taken over or deleted")
        with suppress(StoreError):
            found = _look(store)
            self._lost = self._loss(f"was taken over by {found}" if found is not None else "was deleted")
        raise LockLostError(self._lost)

    def _loss(self, how: str) -> str:
        return (
            f"the lock of {self._store} {how} while this run held it; the run uploads nothing more, and the "
            "next one does again what was not uploaded"
        )


@contextmanager
def remote_lock(
    store: Store,
    *,
    wait: bool,
    advice: str,
    earlier: Collection[str] = (),
    on_token: Callable[[str], None] = lambda token: None,
) -> Iterator[HeldLock]:
    """Hold the lock of the workspace at the store's address.

    While another process holds it: with `wait`, wait and log the holder once a minute; otherwise raise
    BusyError naming the holder, with `advice`.

    Args:
        earlier: Tokens of processes that have surely ended; their lock is taken over at once.
        on_token: Called with the token of this acquisition before it is tried.
    """
    at = now()
    content = LockObject(
        pid=os.getpid(),
        host=socket.gethostname(),
        user=_user(),
        since=at,
        heartbeat=at,
        token=uuid.uuid4().hex,
    )
    on_token(content.token)
    _acquire(store, _encoded(content), wait, advice, earlier)
    state = store.state(LOCK_KEY)
    held = HeldLock(store, content, state.tag if state is not None else "")
    try:
        yield held
    finally:
        held.release()


def _acquire(store: Store, content: bytes, wait: bool, advice: str, earlier: Collection[str]) -> None:
    watch, logged = _Watch(), -inf
    while not store.create(LOCK_KEY, content):
        found = _look(store)
        if found is None:
            continue
        ended = found.holder is not None and found.holder.token in earlier
        stale = watch.is_stale(found.state.tag)
        if (ended or (stale and store.compares)) and _take_over(store, found, content):
            note = "which has ended" if ended else f"which has not renewed its lock for {STALE_S:.0f} s"
            log.warning("the lock of %s is taken over from %s, %s", store, found, note)
            return
        if not wait and (found.is_young or watch.saw_a_change or not store.compares):
            raise BusyError(f"{store} is in use by {found}; {advice}{_by_hand(store)}")
        if time.monotonic() - logged >= locks.SECONDS_BETWEEN_LINES:
            note = _by_hand(store) if wait else f"; watching for {STALE_S:.0f} s whether it is alive"
            log.info("waiting for %s, in use by %s%s", store, found, note)
            logged = time.monotonic()
        time.sleep(POLL_S)


def _take_over(store: Store, found: _Sighting, content: bytes) -> bool:
    if store.compares:
        return store.replace(LOCK_KEY, content, found.state.tag)
    store.write(LOCK_KEY, content)
    return True


def _by_hand(store: Store) -> str:
    """What a store needs that cannot compare: a lock of a process that has ended stays."""
    if store.compares:
        return ""
    return f"; if that process has ended, delete the object {store}/{LOCK_KEY}"


class _Watch:
    """Tells how long a lock has not changed while it was looked at regularly."""

    def __init__(self) -> None:
        self._tag: str | None = None
        self._began = self._looked = 0.0
        self.saw_a_change = False
        """True if the lock was written meanwhile: its holder is alive."""

    def is_stale(self, tag: str) -> bool:
        """True if the tag has been the same for STALE_S, without gaps in which the store did not answer."""
        at = time.monotonic()
        self.saw_a_change |= self._tag not in (None, tag)
        if tag != self._tag or at - self._looked > 3 * POLL_S + 1:
            self._tag, self._began = tag, at
        self._looked = at
        return at - self._began >= STALE_S


def _look(store: Store) -> _Sighting | None:
    """The lock object as it is now; None if there is none."""
    state = store.state(LOCK_KEY)
    if state is None:
        return None
    try:
        return _Sighting(state, LockObject.model_validate_json(store.read(LOCK_KEY)))
    except MissingFileError:
        return None
    except ValidationError:
        return _Sighting(state, None)


def _encoded(content: LockObject) -> bytes:
    return (content.model_dump_json(indent=1) + "\n").encode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _seconds() -> float:
    """A clock that also runs while the machine sleeps, where there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
