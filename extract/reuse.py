"""Reuse of finished feature files, decided from their content, and the lock of a feature folder."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from extract.atomic import PART_SUFFIX
from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.errors import InputError
from extract.feature_index import FeatureIndex
from extract.file_lock import try_lock
from extract.manifest import VideoRecord
from extract.remote.path import AnyPath
from extract.source import SourceInfo
from extract.store import IMPORTED, FeatureFileError, FeatureMeta


def are_up_to_date(
    records: Sequence[VideoRecord],
    index: FeatureIndex,
    config: ExtractConfig,
    fingerprint: EncoderFingerprint,
    runtime: ExtractRuntime,
) -> list[bool]:
    """`is_up_to_date` of every video. Several threads read those that the index does not know."""

    def check(record: VideoRecord) -> bool:
        return is_up_to_date(record, index, config, fingerprint, runtime)

    unknown = [record for record in records if runtime.verify or not _is_known(record, index)]
    with ThreadPoolExecutor() as pool:
        done = dict(zip((record.name for record in unknown), pool.map(check, unknown), strict=True))
    return [done[record.name] if record.name in done else check(record) for record in records]


def _is_known(record: VideoRecord, index: FeatureIndex) -> bool:
    """True if neither the feature file nor the video need be read."""
    return index.is_known(record.name) and index.known_digest(record.path) is not None


def is_up_to_date(
    record: VideoRecord,
    index: FeatureIndex,
    config: ExtractConfig,
    fingerprint: EncoderFingerprint,
    runtime: ExtractRuntime,
) -> bool:
    """True if an intact feature file was made from this video, by this encoder, with this config.

    The file is read if the index does not know it in its present state, or with `runtime.verify`. The video
    need not exist any more: its features are then all that is left of it. A file with only the snippets
    before a damaged place counts only with `runtime.partial`.
    """
    try:
        meta = index.read_meta(record.name, again=runtime.verify)
    except (OSError, FeatureFileError):  # missing, unreadable or damaged: extracted again
        return False
    if _is_imported(meta, record):
        return True
    if not _same_encoder(meta.encoder, fingerprint, config) or not meta.config.same_features_as(config):
        return False
    if meta.source.damage and not runtime.partial:
        return False
    return _is_unchanged(record.path, meta.source, index, verify=runtime.verify)


def _same_encoder(
    made_by: EncoderFingerprint, fingerprint: EncoderFingerprint, config: ExtractConfig
) -> bool:
    """True if the encoders give the same features; a precision that the settings name must be the same."""
    same_precision = config.precision == "auto" or made_by.precision == fingerprint.precision
    return same_precision and made_by.same_features_as(fingerprint)


def is_imported(record: VideoRecord, index: FeatureIndex) -> bool:
    """True if the features were imported and there is no video that others could be extracted from."""
    try:
        return _is_imported(index.read_meta(record.name), record)
    except (OSError, FeatureFileError):
        return False


def _is_imported(meta: FeatureMeta, record: VideoRecord) -> bool:
    return meta.decoder == IMPORTED and not record.path.exists()


def _is_unchanged(video: AnyPath, source: SourceInfo, index: FeatureIndex, *, verify: bool) -> bool:
    """True if the video has the recorded digest; it is read if the digest is not known, or with `verify`.

    True for a video that is gone, too: there is nothing to compare with, and nothing to extract again.
    """
    try:
        if video.stat().st_size != source.size:
            return False
        known = None if verify else index.recorded_digest(video, source)
        return (known or index.read_video(video)) == source.sha256
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the extraction meets the same error and lists it


@contextmanager
def locked_feature_folder(features_dir: Path) -> Iterator[int]:
    """Create and lock the folder for one extraction; remove temporary files that a killed run left.

    Yields the lock's descriptor: processes that inherit it hold the lock too, until they end.

    Raises ValueError if the folder is not writable or another extraction holds the lock.
    """
    try:
        features_dir.mkdir(parents=True, exist_ok=True)
        lock = (features_dir / ".lock").open("w")
    except OSError as error:
        raise InputError(f"features can't be written to {features_dir}: {error.strerror}") from error
    with lock:  # the kernel releases the lock when this process ends, even if it is killed
        if not try_lock(lock):
            raise InputError(f"another extraction is running in {features_dir}; wait for it or stop it")
        for part in features_dir.glob(f".*{PART_SUFFIX}"):
            part.unlink()
        yield lock.fileno()
