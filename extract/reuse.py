"""Reuse of finished feature files, decided from the files alone, and the lock of a feature folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extract.atomic import PART_SUFFIX
from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.errors import InputError
from extract.manifest import VideoRecord
from extract.source import SourceInfo, file_digest
from extract.store import IMPORTED, FeatureFileError, FeatureMeta, feature_path, read_features


def is_up_to_date(
    record: VideoRecord,
    features_dir: Path,
    config: ExtractConfig,
    fingerprint: EncoderFingerprint,
    runtime: ExtractRuntime,
) -> bool:
    """True if an intact feature file was made from this video, by this encoder, with this config.

    The video need not exist any more: its features are then all that is left of it. A file with only the
    snippets before a damaged place counts only with `runtime.partial`.
    """
    try:
        meta = read_features(feature_path(features_dir, record.name)).meta
    except (OSError, FeatureFileError):  # missing, unreadable or damaged: extracted again
        return False
    if _is_imported(meta, record):
        return True
    if not _same_encoder(meta.encoder, fingerprint, config) or not meta.config.same_features_as(config):
        return False
    if meta.source.damage and not runtime.partial:
        return False
    return _is_unchanged(record.path, meta.source, verify=runtime.verify)


def _same_encoder(
    made_by: EncoderFingerprint, fingerprint: EncoderFingerprint, config: ExtractConfig
) -> bool:
    """True if the encoders give the same features; a precision that the settings name must be the same."""
    same_precision = config.precision == "auto" or made_by.precision == fingerprint.precision
    return same_precision and made_by.same_features_as(fingerprint)


def is_imported(record: VideoRecord, features_dir: Path) -> bool:
    """True if the features were imported and there is no video that others could be extracted from."""
    try:
        meta = read_features(feature_path(features_dir, record.name)).meta
    except (OSError, FeatureFileError):
        return False
    return _is_imported(meta, record)


def _is_imported(meta: FeatureMeta, record: VideoRecord) -> bool:
    return meta.decoder == IMPORTED and not record.path.exists()


def _is_unchanged(video: Path, source: SourceInfo, *, verify: bool) -> bool:
    """True if the video has the recorded size and mtime or, for another mtime or with `verify`, digest.

    True for a video that is gone, too: there is nothing to compare with, and nothing to extract again.
    """
    try:
        status = video.stat()
        if status.st_size != source.size:
            return False
        if status.st_mtime_ns == source.mtime_ns and not verify:
            return True
        return file_digest(video) == source.sha256
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the extraction meets the same error and lists it


@contextmanager
def locked_feature_folder(features_dir: Path) -> Iterator[None]:
    """Create and lock the folder for one extraction; remove temporary files that a killed run left.

    Raises ValueError if the folder is not writable or another extraction holds the lock.
    """
    try:
        features_dir.mkdir(parents=True, exist_ok=True)
        lock = (features_dir / ".lock").open("w")
    except OSError as error:
        raise InputError(f"features can't be written to {features_dir}: {error.strerror}") from error
    with lock:  # the kernel releases the lock when this process ends, even if it is killed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another extraction is running in {features_dir}; wait for it or stop it"
            ) from error
        for part in features_dir.glob(f".*{PART_SUFFIX}"):
            part.unlink()
        yield
