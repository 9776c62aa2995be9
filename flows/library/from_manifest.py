"""Import of a manifest into the library, repeated in every run: additions and changes are taken over."""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from extract.feature_index import FeatureIndex
from extract.manifest import VideoRecord
from extract.remote.cache import FetchError
from extract.store import FeatureFileError
from flows.library.library import Library
from flows.library.pages import in_pages
from flows.library.records import HELD_OUT, FileRecord, NewFile
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
    with closing(FeatureIndex(features_dir)) as index:
        for page in in_pages(tests_first):
            _import_page(library, page, index, result)
    return result


def _import_page(
    library: Library, records: Sequence[VideoRecord], index: FeatureIndex, result: ManifestResult
) -> None:
    """Record some of the videos. Only those that are new or have changed cost queries of their own."""
    recorded = library.recorded_files(record.path.absolute() for record in records)
    files = [(r, _file(r, recorded.get(r.path.absolute()), index)) for r in records]
    found = [(record, file) for record, file in files if file is not None]
    with library.transaction():
        known = library.splits(file.digest for _, file in found)
        new = [(r, f) for r, f in found if f.digest not in known or recorded.get(f.path) != f]
        library.add_files([NewFile(f, r.name, r.split) for r, f in new], rename_existing=True)
        splits, labels = dict(known), {}
        for record, file in found:
            result.added += file.digest not in splits
            split = splits.setdefault(file.digest, record.split)
            if split in HELD_OUT and split != record.split:
                kept = result.kept_in_test if split == "test" else result.kept_in_audit
                kept.append(record.name)
                continue
            if split != record.split:
                library.set_split(file.digest, record.split)
                splits[file.digest] = record.split
            labels[file.digest] = record.labels
        imported = library.newest_labels(labels, MANIFEST)
        other = {digest: now for digest, now in labels.items() if imported.get(digest) != now}
        relabelled = library.add_labels(other, by=MANIFEST, source=MANIFEST)
        result.relabelled += len(relabelled & known.keys())


def _file(record: VideoRecord, recorded: FileRecord | None, index: FeatureIndex) -> FileRecord | None:
    """The record of a video's file; of a file that is gone, as its features describe it, or None.

    A file is read if neither the library nor the index knows it in its present state.
    """
    path = record.path.absolute()
    if path.is_file():
        status = path.stat()
        if recorded and (recorded.size, recorded.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return recorded
        with suppress(FetchError):  # an object that is refused, or was changed just now
            digest = recorded_digest(record, index) or index.read_video(path)
            return FileRecord(path, digest, status.st_size, status.st_mtime_ns)
    try:
        source = index.read_meta(record.name).source
    except (FileNotFoundError, FeatureFileError):
        return None
    return FileRecord(path, source.sha256, source.size, source.mtime_ns)
