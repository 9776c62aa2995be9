"""The videos of a manifest, which is read once as long as it is unchanged."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

from extract.digest_index import is_settled
from extract.errors import InputError, MissingFileError
from extract.manifest import VideoRecord, read_manifest
from extract.remote.path import AnyPath
from extract.source import FileState, file_state


def manifest_records(manifest: AnyPath) -> Sequence[VideoRecord]:
    """The videos of a manifest, also those whose file is gone. Raises as `read_manifest`."""
    try:
        status = manifest.stat()
    except OSError:
        return _all_records(manifest)
    return _unchanged_records(manifest, file_state(status)) if is_settled(status) else _all_records(manifest)


def check_manifest(manifest: AnyPath, needs_no_file: Callable[[VideoRecord], bool]) -> None:
    """Raises as `read_manifest(manifest, needs_no_file=needs_no_file)`."""
    with suppress(InputError, MissingFileError):  # raised below, with the path as it was given
        records = manifest_records(manifest.absolute())
        if all(record.path.is_file() or needs_no_file(record) for record in records):
            return
    read_manifest(manifest, needs_no_file=needs_no_file)


def _all_records(manifest: AnyPath) -> Sequence[VideoRecord]:
    return tuple(read_manifest(manifest, needs_no_file=lambda record: True))


@lru_cache(maxsize=1)
def _unchanged_records(manifest: AnyPath, state: FileState) -> Sequence[VideoRecord]:
    return _all_records(manifest)
