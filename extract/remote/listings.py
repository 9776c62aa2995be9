"""Listings of folders in object stores, kept while a run lasts: one request for all objects of a folder."""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from extract.remote.store import ObjectState, Store

_THREADS = 16

_Objects = dict[str, ObjectState]


class _Listings:
    """The listings of the runs that are under way in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._folders: dict[str, Future[_Objects]] = {}

    def enter(self) -> None:
        with self._lock:
            if not self._runs:
                self._folders.clear()
            self._runs += 1

    def leave(self) -> None:
        with self._lock:
            self._runs -= 1
            if not self._runs:
                self._folders.clear()

    @property
    def kept(self) -> bool:
        return self._runs > 0

    def of(self, folder: str) -> _Objects:
        """The objects of a folder by key; the first thread that asks lists it. Raises what `Store` raises."""
        with self._lock:
            future = self._folders.get(folder)
            if future is None:
                future, mine = Future(), True
                self._folders[folder] = future
            else:
                mine = False
        if mine:
            try:
                future.set_result(_list(folder))
            except BaseException as error:
                with self._lock:
                    self._folders.pop(folder, None)
                future.set_exception(error)
        return future.result()

    def known(self, folder: str) -> _Objects:
        """The objects of a folder if it was listed, else none."""
        with self._lock:
            future = self._folders.get(folder)
        return future.result() if future is not None and future.done() and not future.exception() else {}


_LISTINGS = _Listings()


@contextmanager
def one_listing() -> Iterator[None]:
    """List each folder at most once inside; a folder that was listed before counts as not known.

    Inside another `one_listing`, of whatever thread, the listings of that one are used.
    """
    _LISTINGS.enter()
    try:
        yield
    finally:
        _LISTINGS.leave()


def object_state(address: str) -> ObjectState | None:
    """The state of an object by the listing of its folder, or by a request of its own outside of a run.

    None if there is none. Raises StoreError for a store that refuses or does not answer.
    """
    store, key = place_of(address)
    if not key:  # a bucket is no object
        return None
    if not _LISTINGS.kept:
        return store.state(key)
    folder, key = _listed_as(address)
    return _LISTINGS.of(folder).get(key)


def known_state(address: str) -> ObjectState | None:
    """The state of an object if its folder was listed; makes no request."""
    folder, key = _listed_as(address)
    return _LISTINGS.known(folder).get(key)


def list_folders(addresses: Iterable[str]) -> None:
    """List the folders of these objects, several at a time; only inside of `one_listing`."""
    folders = {_listed_as(address)[0] for address in addresses}
    if not folders:
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(_LISTINGS.of, sorted(folders)))


def place_of(address: str) -> tuple[Store, str]:
    """The bucket of an object, and its key in it."""
    protocol, _, path = address.partition("://")
    bucket, _, key = path.partition("/")
    return Store(f"{protocol}://{bucket}"), key


def _listed_as(address: str) -> tuple[str, str]:
    """The folder whose listing has the object, and the object's key in it.

    The listing of a folder whose name is empty (`a//b.mp4`) is that of everything below the folder above it,
    and its address ends in a slash.
    """
    protocol, _, path = address.partition("://")
    folder, _, name = path.rpartition("/")
    base, double, rest = f"{folder}/".partition("//")
    if not double:
        return f"{protocol}://{folder}", name
    return f"{protocol}://{base}/", f"/{rest}{name}"


def _list(folder: str) -> _Objects:
    return Store(folder).list() if folder.endswith("/") else Store(folder).entries()
