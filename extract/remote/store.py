"""The objects below one address of an object store, for example `s3://bucket/prefix`, through fsspec.

An object is written by one request and is then there as a whole, or not at all. A store that does not answer,
or that answers with an error of its own, is asked again for a time. Credentials come from the places that the
store's own tools use (environment, files, roles of the machine), never from an address.
"""

import errno
import importlib.util
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from extract.atomic import part_path, sync_folder
from extract.errors import InputError, MissingFileError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

PATIENCE_S = 300.0
"""Time for which a request is repeated; a store that restarts or throttles answers within it."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
_ADDRESS = re.compile(r"([a-z][a-z0-9+]+):(?:/{1,2}(?!/)(.*))?", re.DOTALL)
"""With one slash too, which is what `Path` leaves of two, or none, which is what it leaves of `s3://`."""
_FINAL = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FINAL_ERRNO = (errno.EINVAL, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_MISTAKES = (
    "ParamValidationError",
    "ProfileNotFound",
    "NoRegionError",
    "InvalidRegionError",
    "ConfigParseError",
)
"""Errors of botocore about an address or the user's configuration."""
_S3_OPTIONS = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}}


class StoreError(InputError):
    """A store that refuses, or that has not answered for a long time."""


class RefusedError(StoreError):
    """A store that refuses access to an object or to everything."""


@dataclass(frozen=True)
class ObjectState:
    """Equal as long as an object has not been written again."""

    size: int
    mtime_ns: int
    tag: str
    """ETag; empty where the store has none."""


def is_remote(place: Path | str) -> bool:
    """True for an address such as `s3://bucket/prefix`, also as the `Path` that a command makes of it."""
    return _ADDRESS.fullmatch(str(place)) is not None


def absolute_place(place: Path, base: Path | None = None) -> Path:
    """An address as it is, a path absolute; a relative one counts from `base`, or from the current folder."""
    if is_remote(place):
        return place
    return place.absolute() if base is None else base / place


def place_text(place: Path) -> str:
    """The place as a user writes it: of an address, with both slashes."""
    return address_of(place) if is_remote(place) else str(place)


def address_of(place: Path | str) -> str:
    """The address without a slash at its end. Raises InputError if it has no bucket, or credentials."""
    match = _ADDRESS.fullmatch(str(place))
    path = (match[2] or "").rstrip("/") if match else ""
    if match is None or not path:
        raise InputError(f"{place} is no address of an object store; expected s3://BUCKET/PREFIX")
    if "@" in path.split("/", 1)[0]:
        raise InputError(
            f"an address of {match[1]}:// holds credentials; give them by the environment or the usual files"
        )
    return f"{match[1]}://{path}"


class Store:
    """The objects below an address; their keys are relative to it. May be used from several threads."""

    def __init__(self, place: Path | str, *, patience_s: float = PATIENCE_S) -> None:
        """Connects to nothing yet. Raises InputError for an address that is none."""
        self.address = address_of(place)
        self._protocol, _, self._root = self.address.partition("://")
        self._patience_s = patience_s

    def __str__(self) -> str:
        return self.address

    def has_bucket(self) -> bool:
        """False if there is no bucket of the address's name; True also if the store does not say."""
        bucket = self._root.partition("/")[0]
        try:
            self._ask(lambda: self._files.info(bucket))
        except FileNotFoundError:
            return False
        except RefusedError:
            return True
        return True

    def list(self) -> dict[str, ObjectState]:
        """All objects below the address, by key, from one listing; none if nothing is there."""

        def find() -> dict[str, Any]:
            self._files.invalidate_cache()
            found: dict[str, Any] = self._files.find(self._root, detail=True)
            return found

        try:
            infos = self._ask(find)
        except FileNotFoundError:
            return {}
        prefix = f"{self._root}/"
        start = {name: name.find(prefix) + len(prefix) for name in infos if prefix in name}
        return {name[at:]: _state(infos[name]) for name, at in start.items()}

    def entries(self) -> dict[str, ObjectState]:
        """The objects directly below the address, by name, from one listing; none if nothing is there."""

        def entries() -> list[dict[str, Any]]:
            self._files.invalidate_cache()
            found: list[dict[str, Any]] = self._files.ls(self._root, detail=True)
            return found

        try:
            infos = self._ask(entries)
        except FileNotFoundError:
            return {}
        names = {info["name"].rpartition("/")[2]: info for info in infos if info["type"] == "file"}
        return {name: _state(info) for name, info in names.items() if name}

    def state(self, key: str) -> ObjectState | None:
        """The state of one object; None if there is none."""

        def info() -> dict[str, Any]:
            self._files.invalidate_cache()
            found: dict[str, Any] = self._files.info(self._path(key))
            return found

        try:
            found = self._ask(info)
        except FileNotFoundError:
            return None
        return _state(found) if found.get("type") == "file" else None

    def read(self, key: str) -> bytes:
        """The bytes of an object. Raises MissingFileError if there is none."""
        try:
            content: bytes = self._ask(lambda: self._files.cat_file(self._path(key)))
        except FileNotFoundError:
            raise MissingFileError(f"no object {self.address}/{key}") from None
        return content

    def download(self, key: str, path: Path, tick: Callable[[], None] = lambda: None) -> None:
        """Copy an object to a file, which appears when it is complete. Raises MissingFileError, OSError.

        `tick` is called before every try and after every piece, and ends the download if it raises.
        """
        part = part_path(path)

        def copy() -> None:
            tick()
            self._files.get_file(self._path(key), str(part), callback=_callback(tick))

        try:
            self._ask(copy)
            part.replace(path)
        except FileNotFoundError:
            raise MissingFileError(f"no object {self.address}/{key}") from None
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)

    def upload(self, path: Path, key: str) -> ObjectState:
        """Write or replace an object by the content of a file; returns its new state.

        Raises OSError if the file cannot be read.
        """
        content_of = str(path.resolve(strict=True))

        def put() -> None:
            self._files.put_file(content_of, self._path(key))

        try:
            self._ask(put)
        except FileNotFoundError:  # no bucket, or an upload in parts that had ended when its end was repeated
            self._write(put)
        written = self.state(key)
        if written is None:
            raise StoreError(f"{self.address}/{key} is gone just after it was written")
        return written

    def write(self, key: str, content: bytes) -> None:
        """Write or replace an object."""
        self._write(lambda: self._files.pipe_file(self._path(key), content))

    def create(self, key: str, content: bytes) -> bool:
        """Write an object unless there is one: of several that try at once, one succeeds."""
        try:
            self._write(lambda: self._files.pipe_file(self._path(key), content, mode="create"))
        except FileExistsError:
            return self._holds(key, content)  # also where the answer to a first try was lost on its way
        return True

    @property
    def compares(self) -> bool:
        """True if the store can replace an object on condition that it is unchanged."""
        return self._protocol == "s3"

    def replace(self, key: str, content: bytes, tag: str) -> bool:
        """Write an object if its tag is still `tag`; False if it has changed or is gone."""
        try:
            self._ask(lambda: self._files.pipe_file(self._path(key), content, IfMatch=tag))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return self._holds(key, content)  # changed by the first try, whose answer was lost
        return True

    def _holds(self, key: str, content: bytes) -> bool:
        try:
            return self.read(key) == content
        except MissingFileError:
            return False

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is none."""
        try:
            self._ask(lambda: self._files.rm_file(self._path(key)))
        except FileNotFoundError:
            return

    def _write(self, request: Callable[[], object]) -> None:
        try:
            self._ask(request)
        except FileNotFoundError:
            raise StoreError(f"{self.address} can't be written: there is no bucket of that name") from None

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    @cached_property
    def _files(self) -> Any:
        """The fsspec file system. Raises InputError if its package is not installed."""
        if importlib.util.find_spec("fsspec") is None:
            raise _not_installed(self._protocol)
        import fsspec

        options = _S3_OPTIONS if self._protocol == "s3" else {}
        try:
            return fsspec.filesystem(self._protocol, **options)
        except (ImportError, ValueError) as error:
            raise _not_installed(self._protocol) from error

    def _ask(self, request: Callable[[], Result]) -> Result:
        """The result of a request, which is repeated while the store is not well.

        Raises FileNotFoundError, FileExistsError and OSError(EINVAL) for what the store answers about the
        object; StoreError for refused rights and for a store that does not recover.
        """
        began, wait_s = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                return request()
            except Exception as error:
                self._refuse_if_final(error)
                if time.monotonic() - began + wait_s > self._patience_s:
                    raise StoreError(
                        f"{self.address} has not answered for {self._patience_s:.0f} s: {_line(error)}"
                    ) from error
                log.info("%-9s %s: %s; next try in %.1f s", "store", self.address, _line(error), wait_s)
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _refuse_if_final(self, error: Exception) -> None:
        """Raise what another try would not change; refused rights and missing credentials as StoreError."""
        if isinstance(error, PermissionError):
            raise RefusedError(
                f"{self.address}: access is refused ({_line(error)}); check the credentials and their rights"
            ) from None
        if "Credentials" in type(error).__name__:
            raise StoreError(
                f"{self.address}: no credentials; set them as the store's own tools expect them (for s3: "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws)"
            ) from None
        if isinstance(error, NotImplementedError) or type(error).__name__ in _MISTAKES:
            raise StoreError(f"{self.address} cannot be used: {_line(error)}") from None
        if not _may_pass(error):
            raise error


def _callback(tick: Callable[[], None]) -> Any:
    """fsspec's way to call a function after every piece of a download."""
    from fsspec import Callback

    class Ticking(Callback):  # type: ignore[misc]  # fsspec has no types
        def relative_update(self, inc: int = 1) -> None:
            tick()

    return Ticking()


def _may_pass(error: Exception) -> bool:
    """True for errors of the network and of the store; not for the local disk's and for our mistakes."""
    if isinstance(error, OSError):
        return not isinstance(error, _FINAL) and error.errno not in _FINAL_ERRNO
    return type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp", "fsspec")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _state(info: dict[str, Any]) -> ObjectState:
    changed = info.get("LastModified") or info.get("created") or info.get("mtime") or 0
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    tag = str(info.get("ETag") or "")
    # Some stores tell parts of a second in a listing only; beside a tag they are not needed.
    return ObjectState(int(info["size"]), int(seconds) * 10**9 if tag else int(seconds * 1e9), tag)


def _not_installed(protocol: str) -> InputError:
    if protocol == "s3":
        return InputError('addresses of s3:// need the packages of `pip install "dsanet[s3]"`')
    return InputError(f"no package for addresses of {protocol}:// is installed; fsspec has a list of them")
