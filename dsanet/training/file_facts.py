"""Facts about feature files that a training begins with: from the folder's index, else from the headers."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import joblib

from dsanet.training.feature_bags import FileFacts, Settings, attribute_texts, read_facts
from dsanet.training.reader_processes import ReaderProcesses
from extract.config import EncoderFingerprint, ExtractConfig
from extract.feature_index import FeatureIndex
from extract.store import feature_path

log = logging.getLogger(__name__)

_HEADERS_ALONE = 4000
"""Files up to which headers are read in this process: others take a third of a second to start."""
_HEADERS_AT_ONCE = 250


def all_facts(names: Sequence[str], features_dir: Path) -> list[FileFacts]:
    """The facts about the feature files of these videos.

    Raises MissingFileError for a missing file, FeatureFileError for one without a readable header.
    """
    with closing(FeatureIndex(features_dir)) as index:
        facts = _recorded_facts(names, index)
        others = [name for name in names if name not in facts]
        for name, read in zip(others, _header_facts(others, features_dir), strict=True):
            facts[name] = read
            index.complete_note(name, read.digest, read.snippets)
    return [facts[name] for name in names]


def _recorded_facts(names: Sequence[str], index: FeatureIndex) -> dict[str, FileFacts]:
    known: dict[tuple[EncoderFingerprint, ExtractConfig], Settings] = {}
    facts = {}
    for name in names:
        if (note := index.recorded_note(name)) is not None:
            meta = note.meta
            made_by = meta.encoder, meta.config
            if made_by not in known:
                known[made_by] = (*attribute_texts(meta.encoder), *attribute_texts(meta.config))
            facts[name] = FileFacts(note.content_digest, note.snippets, meta.config.crops, known[made_by])
    return facts


def _header_facts(names: Sequence[str], features_dir: Path) -> Iterator[FileFacts]:
    """Facts from the headers of the files; of many files by several processes."""
    paths = [feature_path(features_dir, name) for name in names]
    if len(paths) <= _HEADERS_ALONE:
        yield from read_facts(paths)
        return
    log.info("%-9s reading the headers of %d feature files", "train", len(paths))
    count = joblib.cpu_count()
    with ReaderProcesses(count) as processes, ThreadPoolExecutor(count, "headers") as threads:
        absolute = [path.absolute() for path in paths]
        parts = [absolute[i : i + _HEADERS_AT_ONCE] for i in range(0, len(paths), _HEADERS_AT_ONCE)]
        for facts in threads.map(lambda part: processes.call(read_facts, part), parts):
            yield from facts
