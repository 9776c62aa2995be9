"""A manifest fills the library: the workspace of a first training is where it begins, and it may grow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extract.manifest import VideoRecord
from extract.store import FeatureFileError, feature_path, read_meta
from flows.library.inbox import sighting
from flows.library.library import Library

MANIFEST = "manifest"


@dataclass
class Founding:
    """What a manifest brought. `kept_in_test`: the same content is a test video, whatever the row says."""

    added: int = 0
    relabelled: int = 0
    kept_in_test: list[str] = field(default_factory=list)


def import_manifest(library: Library, records: Sequence[VideoRecord], features_dir: Path) -> Founding:
    """Note every video of a manifest with its split and labels; those noted before only where they changed.

    Test videos come first, so that the same content in another split is recognised as theirs. A label that
    a person gave later stands until the manifest itself says something new.
    """
    result = Founding()
    tests_first = sorted(records, key=lambda record: record.split != "test")
    found = [sighting(library, r.path.absolute(), _digest_in_features(r, features_dir)) for r in tests_first]
    with library.at_once():
        before = {video.digest for video in library.videos()}
        for record, seen in zip(tests_first, found, strict=True):
            video = library.add(seen, name=record.name, split=record.split, insist=True)
            result.added += seen.digest not in before
            if video.split == "test" != record.split:
                result.kept_in_test.append(record.name)
            else:
                library.move(seen.digest, record.split)
                result.relabelled += _label(library, record, seen.digest) and seen.digest in before
    return result


def _label(library: Library, record: VideoRecord, digest: str) -> bool:
    said = [entry.labels for entry in library.history(digest) if entry.source == MANIFEST]
    if said[-1:] == [record.labels]:
        return False
    return library.label(digest, record.labels, by=MANIFEST, source=MANIFEST)


def _digest_in_features(record: VideoRecord, features_dir: Path) -> str | None:
    """What extraction has found, while the file has the size and time of then: it need not be read again."""
    try:
        source = read_meta(feature_path(features_dir, record.name)).source
    except (FileNotFoundError, FeatureFileError):
        return None
    status = record.path.stat()
    unchanged = (source.size, source.mtime_ns) == (status.st_size, status.st_mtime_ns)
    return source.sha256 if unchanged else None
