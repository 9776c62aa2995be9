"""Digests and metadata of feature files, and digests of videos, for which the files are not read again.

Everything is taken from the files when it is first asked for, and kept in the folder's digest index.
"""

import errno
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.digest_index import DigestIndex, is_settled
from extract.errors import MissingFileError
from extract.remote.cache import local_copy
from extract.remote.path import AnyPath, RemotePath
from extract.source import FileState, KnownDigest, SourceInfo, file_digest, file_state, video_state
from extract.store import (
    FeatureFileError,
    FeatureMeta,
    VideoFeatures,
    feature_image,
    feature_path,
    parse_features,
    stored_digest,
    write_image,
)

_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES)
"""No file, or none that this process can reach."""


class FeatureNote(StrictModel):
    """Facts about an intact feature file, stored in the index with its digest.

    Notes of earlier versions are the metadata alone: they have no `content_digest` and 0 `snippets`.
    """

    meta: FeatureMeta
    content_digest: str = ""
    """The digest in the file's header (`store.content_digest`)."""
    snippets: int = 0


class FeatureIndex:
    """The digests and metadata of the files of one feature folder, and the digests of other files.

    Files are read when they are not known in their present state. May be used from several threads.
    """

    def __init__(self, features_dir: Path) -> None:
        self._folder = features_dir.absolute()
        self._digests = DigestIndex(features_dir)

    # --- any file -------------------------------------------------------------------------------------------

    def digest(self, path: AnyPath) -> str | None:
        """sha256 of a file's bytes, None if there is no file. Raises OSError if it cannot be read."""
        status = _status(path)
        if status is None:
            return None
        state = file_state(status)
        known = self._digests.digest(path, state)
        if known is not None:
            return known
        with local_copy(path) as file:
            digest = file_digest(file)
        self._remember(path, status, state, digest)
        return digest

    # --- feature files --------------------------------------------------------------------------------------

    def features_digest(self, name: str) -> str | None:
        """sha256 of the feature file of a video, None if there is none; a damaged one has a digest too."""
        status = _status(self._place(name))
        if status is None:
            return None
        known = self._digests.digest(self._place(name), file_state(status))
        if known is not None:
            return known
        path = feature_path(self._folder, name)
        image = path.read_bytes()
        with suppress(FeatureFileError):
            self._learn(path, status, image)
        return hashlib.sha256(image).hexdigest()

    def read_meta(self, name: str, *, again: bool = False) -> FeatureMeta:
        """The metadata of the feature file of a video, which was intact when it was last read.

        With `again` it is read now. Raises FileNotFoundError, or FeatureFileError for a damaged file.
        """
        place = self._place(name)
        status = _status(place)
        if status is None:
            raise MissingFileError(f"no feature file {place}; extract the video first")
        note = None if again else self._note(place, status)
        if note is not None:
            return note.meta
        path = feature_path(self._folder, name)
        return self._learn(path, status, path.read_bytes())

    def recorded_note(self, name: str) -> FeatureNote | None:
        """The facts about the feature file of a video, which is not read; None if they are not recorded."""
        status = _status(self._place(name))
        note = None if status is None else self._note(self._place(name), status)
        return note if note is not None and note.content_digest else None

    def complete_note(self, name: str, content_digest: str, snippets: int) -> None:
        """Add these facts, from the header of a feature file, to its note of an earlier version."""
        place = self._place(name)
        status = _status(place)
        note = None if status is None else self._note(place, status)
        if status is None or note is None or note.content_digest:
            return
        state = file_state(status)
        if (sha256 := self._digests.digest(place, state)) is not None:
            note = FeatureNote(meta=note.meta, content_digest=content_digest, snippets=snippets)
            self._digests.remember(place, state, sha256, note.model_dump_json())

    def is_known(self, name: str) -> bool:
        """True if `features_digest` and `read_meta` need not read the file, or there is none."""
        status = _status(self._place(name))
        return status is None or self._digests.digest(self._place(name), file_state(status)) is not None

    def _place(self, name: str) -> str:
        """`feature_path` as text, which is much faster."""
        return f"{self._folder}/{name}.h5"

    def write(self, features: VideoFeatures) -> None:
        """`write_features` into the folder; the file need not be read again. Raises as that does."""
        path, image = feature_path(self._folder, features.name), feature_image(features)
        write_image(path, image)
        state, digest = file_state(path.stat()), hashlib.sha256(image).hexdigest()
        self._digests.remember(path, state, digest, _note_text(features, image))

    def accept(self, name: str, image: bytes) -> None:
        """Write a feature file that was made elsewhere; it need not be read again.

        Raises FeatureFileError for bytes that are damaged, without writing them, and OSError.
        """
        path = feature_path(self._folder, name)
        note = _note_text(parse_features(path, image), image)
        write_atomically(path, image)
        self._digests.remember(path, file_state(path.stat()), hashlib.sha256(image).hexdigest(), note)

    def forget(self, path: Path) -> None:
        """Read a file at its next use, because it turned out to be damaged."""
        self._digests.forget(path)

    def _learn(self, path: Path, status: os.stat_result, image: bytes) -> FeatureMeta:
        """Record a feature file with these bytes, unless it is damaged (FeatureFileError)."""
        features = parse_features(path, image)
        digest = hashlib.sha256(image).hexdigest()
        self._remember(path, status, file_state(status), digest, _note_text(features, image))
        return features.meta

    def _note(self, path: Path | str, status: os.stat_result) -> FeatureNote | None:
        """The note on a feature file that is in this state."""
        known = self._digests.digest(path, file_state(status))
        return None if known is None else _parse_note(self._digests.note(path, known))

    # --- videos ---------------------------------------------------------------------------------------------

    def known_digest(self, path: AnyPath) -> KnownDigest | None:
        """The digest of a video that has the size, modification time and inode of the last reading."""
        status = _status(path)
        if status is None:
            return None
        state = video_state(status)
        sha256 = self._digests.digest(path, state)
        return None if sha256 is None else KnownDigest(state, sha256)

    def recorded_digest(self, path: AnyPath, source: SourceInfo) -> str | None:
        """sha256 of a video that has features, whose feature file says `source`; None if it must be read.

        The feature file's digest counts for a video that is gone, and for one with its size and time that has
        no record here.
        """
        try:
            status = path.stat()
        except FileNotFoundError:
            return source.sha256
        except OSError:  # the extraction meets the same error and lists it
            return None
        known = self.known_digest(path)
        if known is not None or self._digests.has(path):
            return known.sha256 if known is not None else None
        if (source.size, source.mtime_ns) != (status.st_size, status.st_mtime_ns):
            return None
        self._digests.remember(path, video_state(status), source.sha256)
        return source.sha256

    def read_video(self, path: AnyPath) -> str:
        """sha256 of a video, which is read, and fetched before if it is in a store.

        Raises OSError, and StoreError for a store that refuses or does not answer.
        """
        status = path.stat()
        with local_copy(path) as file:
            digest = file_digest(file)
        self._remember(path, status, video_state(status), digest)
        return digest

    def remember_video(self, path: AnyPath, source: SourceInfo) -> None:
        """Record the digest of a video that was read elsewhere, unless it has changed since."""
        status = _status(path)
        if status is not None and (status.st_size, status.st_mtime_ns) == (source.size, source.mtime_ns):
            self._remember(path, status, video_state(status), source.sha256)

    # --------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is new to the index file."""
        self._digests.flush()

    def close(self) -> None:
        """Write what is new and close the index file."""
        self._digests.close()

    def _remember(
        self, path: AnyPath, before: os.stat_result, state: FileState, sha256: str, note: str = ""
    ) -> None:
        """Record the digest unless the file was changed since, or just before, it was read."""
        after = _status(path)
        unchanged = after is not None and file_state(after) == file_state(before)
        if unchanged and is_settled(before):
            self._digests.remember(path, state, sha256, note)


def _status(path: AnyPath | str) -> os.stat_result | None:
    """The state of a file; None if there is none, or something that is no file."""
    try:
        if isinstance(path, RemotePath):
            return path.stat()
        status = os.stat(path)  # noqa: PTH116 - asked for every file of a run: a Path costs more than the call
    except MissingFileError:  # no object of a store
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def _note_text(features: VideoFeatures, image: bytes) -> str:
    digest, snippets = stored_digest(image), len(features.frame_index)
    return FeatureNote(meta=features.meta, content_digest=digest, snippets=snippets).model_dump_json()


def _parse_note(text: str) -> FeatureNote | None:
    with suppress(ValidationError):
        return FeatureNote.model_validate_json(text)
    with suppress(ValidationError):  # else of a later version
        return FeatureNote(meta=FeatureMeta.model_validate_json(text))
    return None
