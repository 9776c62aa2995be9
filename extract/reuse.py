"""Is a video's feature file done? Answered from the file, never from memory of an earlier run."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extract.atomic import PART_SUFFIX
from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.manifest import VideoRecord
from extract.source import file_digest
from extract.store import FeatureFileError, feature_path, read_features


def is_done(
    record: VideoRecord,
    features_dir: Path,
    config: ExtractConfig,
    fingerprint: EncoderFingerprint,
    runtime: ExtractRuntime,
) -> bool:
    """True if the feature file is intact and was made from this video, by this encoder, with this config.

    The source is told by size and mtime; where those don't settle it, or with `runtime.verify`, by
    its digest. A file with the snippets before a damaged place is done for `runtime.partial` alone.
    """
    try:
        meta = read_features(feature_path(features_dir, record.name)).meta
    except (OSError, FeatureFileError):  # none, unreadable, or damaged: written anew
        return False
    source = meta.source
    if (
        meta.encoder != fingerprint
        or not meta.config.computes_as(config)
        or (source.damage and not runtime.partial)
    ):
        return False
    try:
        now = record.path.stat()
        if now.st_size != source.size:
            return False
        if now.st_mtime_ns == source.mtime_ns and not runtime.verify:
            return True
        return file_digest(record.path) == source.sha256
    except OSError:
        return False  # the extraction meets the same error, and names it


@contextmanager
def feature_folder(features_dir: Path) -> Iterator[None]:
    """Make the folder, keep a second run out of it, sweep away what a killed run left unfinished.

    Raises ValueError if the folder can't be written or another run is at work in it.
    """
    try:
        features_dir.mkdir(parents=True, exist_ok=True)
        lock = (features_dir / ".lock").open("w")
    except OSError as error:
        raise ValueError(f"features can't be written to {features_dir}: {error.strerror}") from error
    with lock:  # the kernel lets go of it, however this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another extraction is at work in {features_dir}; wait for it or stop it"
            ) from error
        for part in features_dir.glob(f".*{PART_SUFFIX}"):
            part.unlink()
        yield
