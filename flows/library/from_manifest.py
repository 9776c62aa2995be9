"""Import of a manifest into the library, repeated in every run: additions and changes are taken over."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extract.manifest import VideoRecord
from extract.store import FeatureFileError, feature_path, read_meta
from flows.library.inbox import file_record
from flows.library.library import Library
from flows.library.records import FileRecord
from flows.workspace.run import recorded_digest

MANIFEST = "manifest"
"""`by` and `source` of labels that come from a manifest."""


@dataclass
class ManifestResult:
    """Counts of an imported manifest.

    `kept_in_test` lists rows of another split whose content is a test video: it stays one. `kept_in_audit` is
    the same for audit videos.
    """

    added: int = 0
    relabelled: int = 0
    kept_in_test: list[str] = field(default_factory=list)
    kept_in_audit: list[str] = field(default_factory=list)


def import_manifest(library: Library, records: Sequence[VideoRecord], features_dir: Path) -> ManifestResult:
    """Record every video of a manifest, with the split and labels that it gives.

    Test and audit videos come first, so that the same content in another split is recognised as one. Labels
    that a person gave after the last import stay unless the manifest's own labels have changed since then. A
    video that has neither a file nor features is left out.
    """
    result = ManifestResult()
    tests_first = sorted(records, key=lambda record: (record.split != "test", record.split != "audit"))
    files = [_file(library, record, features_dir) for record in tests_first]
    with library.transaction():
        known = {video.digest for video in library.videos()}
        for record, file in zip(tests_first, files, strict=True):
            if file is None:
                continue
            video = library.add_file(file, name=record.name, split=record.split, rename_existing=True)
            result.added += file.digest not in known
            if video.held_out and video.split != record.split:
                kept = result.kept_in_test if video.split == "test" else result.kept_in_audit
                kept.append(record.name)
            else:
                library.set_split(file.digest, record.split)
                result.relabelled += _label(library, record, file.digest) and file.digest in known
    return result


def _file(library: Library, record: VideoRecord, features_dir: Path) -> FileRecord | None:
    """The record of a video's file; of a file that is gone, as its features describe it, or None."""
    if record.path.is_file():
        return file_record(library, record.path.absolute(), recorded_digest(record, features_dir))
    try:
        source = read_meta(feature_path(features_dir, record.name)).source
    except (FileNotFoundError, FeatureFileError):
        return None
    return FileRecord(record.path.absolute(), source.sha256, source.size, source.mtime_ns)


def _label(library: Library, record: VideoRecord, digest: str) -> bool:
    """Add the manifest's labels if they differ from those that it had at the last import."""
    imported = [entry.labels for entry in library.label_history(digest) if entry.source == MANIFEST]
    if imported[-1:] == [record.labels]:
        return False
    return library.add_labels(digest, record.labels, by=MANIFEST, source=MANIFEST)
