"""A file or folder in an object store, with the part of `pathlib.Path` that the pipeline uses."""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from extract.errors import InputError, MissingFileError
from extract.remote import listings
from extract.remote.listings import known_state, object_state, place_of
from extract.remote.store import ObjectState, Store, address_of, is_remote

_NOT_STORES = ("http", "https", "ftp", "rtsp", "rtmp", "file")


class RemotePath:
    """An address, a value that does not change.

    Its state is that of the folder's listing (`extract.remote.listings`). A pickled one takes it along:
    processes and machines that receive it need no listing.
    """

    # No dataclass: pydantic would make a dictionary of one.
    __slots__ = ("address", "state")

    def __init__(self, address: str, state: ObjectState | None = None) -> None:
        """`address` is `s3://BUCKET/KEY` as `address_of` returns it; `state` None: taken from the listing."""
        self.address, self.state = address, state

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"RemotePath({self.address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __lt__(self, other: "RemotePath") -> bool:
        return self.address < other.address

    def __reduce__(self) -> tuple[Any, ...]:
        return RemotePath, (self.address, self.state or known_state(self.address))

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder; of a bucket, the bucket."""
        bucket, keys = self._split()
        return RemotePath("/".join([bucket, *keys[:-1]]))

    def __truediv__(self, key: str) -> "RemotePath":
        """The object of this key below it; `.` and `..` are taken as in a path.

        Raises InputError for a key that leads out of the bucket.
        """
        bucket, keys = self._split()
        for part in key.split("/"):
            if part == ".." and not keys:
                raise InputError(f"{key!r} leads out of the bucket of {self}")
            if part == "..":
                keys.pop()
            elif part != ".":
                keys.append(part)
        return RemotePath("/".join([bucket, *keys]))

    def _split(self) -> tuple[str, list[str]]:
        """Address of the bucket, and the parts of the key."""
        protocol, _, bucket, *keys = self.address.split("/")
        return f"{protocol}//{bucket}", keys

    def with_name(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.parent}/{name}")

    def with_suffix(self, suffix: str) -> "RemotePath":
        return self.with_name(f"{self.stem}{suffix}")

    def absolute(self) -> "RemotePath":
        """Itself."""
        return self

    def resolve(self) -> "RemotePath":
        """Itself: a store has no links."""
        return self

    def as_posix(self) -> str:
        return self.address

    def exists(self) -> bool:
        """True if there is an object of this name. Raises StoreError."""
        return self.found() is not None

    is_file = exists

    def stat(self) -> os.stat_result:
        """Size, time of the last change in whole seconds, and as inode a number that changes with the ETag.

        Raises MissingFileError without an object, StoreError for a store that refuses or does not answer.
        """
        found = self.found()
        if found is None:
            raise MissingFileError(f"no object {self.address}")
        seconds = found.mtime_ns // 1_000_000_000
        nanoseconds = {f"st_{kind}time_ns": seconds * 1_000_000_000 for kind in "amc"}
        tag = int.from_bytes(hashlib.sha256(found.tag.encode()).digest()[:7], "big") if found.tag else 0
        values = (stat.S_IFREG | 0o444, tag, 0, 1, 0, 0, found.size, seconds, seconds, seconds)
        return os.stat_result(values, nanoseconds)

    def read_bytes(self) -> bytes:
        """The object's content. Raises MissingFileError, StoreError."""
        store, key = place_of(self.address)
        return store.read(key)

    def found(self) -> ObjectState | None:
        """The state of the object; None if there is none. Raises StoreError."""
        return self.state or object_state(self.address)


AnyPath = Path | RemotePath
"""A path on this machine, or an address."""


def as_path(place: AnyPath | str) -> AnyPath:
    """The address that a text or a `Path` holds, or else the path.

    Raises InputError for an address without a bucket, with credentials, or of something that is no store.
    """
    if isinstance(place, RemotePath) or not is_remote(place):
        return place if isinstance(place, RemotePath | Path) else Path(place)
    address = address_of(place)
    protocol = address.partition(":")[0]
    if protocol in _NOT_STORES:
        raise InputError(
            f"{address} is no address of an object store; expected a path, or s3://BUCKET/KEY "
            f"(files of {protocol}:// must be downloaded first)"
        )
    return RemotePath(address)


def files_below(folder: RemotePath) -> list[RemotePath]:
    """All objects below an address, sorted by key, with their states; one listing."""
    found = sorted(Store(folder.address).list().items())
    return [RemotePath(f"{folder}/{key}", state) for key, state in found if not key.endswith("/")]


def read_listings(paths: Iterable[AnyPath]) -> None:
    """List the folders of the objects among these, several at a time, inside of `one_listing`.

    Without it, each is listed when the first of its objects is asked for.
    """
    listings.list_folders(p.address for p in paths if isinstance(p, RemotePath) and p.state is None)
