"""Extraction on a Ray cluster, seen from this machine: hands out videos, writes the feature files."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from extract.cluster.connection import ClusterConnection
from extract.cluster.messages import Done, Item, Killed, Note, Setup
from extract.cluster.node_extraction import (
    ExtractionWork,
    NotWritten,
    SnippetsDone,
    Video,
    VideoOpened,
    Written,
    file_size,
)
from extract.config import EncoderFingerprint, ExtractConfig, ExtractRuntime
from extract.decode.worker import Failed
from extract.errors import InputError
from extract.feature_index import FeatureIndex
from extract.manifest import VideoRecord
from extract.outcomes import Outcomes
from extract.retry_times import AT_ONCE_S, SOON_S
from extract.store import FeatureFileError
from extract.weights import require_weights

_BLIND_AFTER = 10
"""A node that has not found so many videos, and none before, does not see their folder."""


class RayCluster:
    """The devices of a Ray cluster, as a context manager; its tasks have ended when it is left."""

    def __init__(self, index: FeatureIndex, config: ExtractConfig, runtime: ExtractRuntime) -> None:
        """Raises InputError if Ray is not installed, MissingFileError without CLIP's weights."""
        self._index = index
        weights = _weights_file(config.weights)
        work = ExtractionWork(config, runtime, weights)
        self._connection = ClusterConnection(
            Setup(runtime.ray_address, runtime.device.partition(":")[0], runtime.workers, work)
        )
        self._missed: Counter[str] = Counter()
        """Videos that a node has not found, by host; no count for one that has found any."""
        self._seeing: set[str] = set()

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.__exit__(*error)

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """The encoder of the nodes, once the first of them has loaded it. Raises InputError."""
        fingerprint: EncoderFingerprint = self._connection.connect()
        return fingerprint

    def extract(self, todo: Iterable[VideoRecord], outcomes: Outcomes) -> None:
        """Extract the videos, in this order. Raises InputError if the cluster is lost for long."""
        records = {record.name: record for record in todo}
        for message in self._connection.run([self._item(record) for record in records.values()]):
            if isinstance(message, Done):
                self._finish(records[message.name], message.value, outcomes)
            elif isinstance(message, Killed):
                outcomes.failed(records[message.name], Failed(message.reason, first_wait_s=SOON_S))
            elif isinstance(message, Note) and isinstance(message.value, VideoOpened):
                outcomes.opened(records[message.value.name], message.value.snippets)
            elif isinstance(message, Note) and isinstance(message.value, SnippetsDone):
                outcomes.snippets_done(message.value.count)
            outcomes.report()

    def _item(self, record: VideoRecord) -> Item:
        size = file_size(record.path)
        return Item(record.name, size or 0, Video(record, size, self._index.known_digest(record.path)))

    def _finish(self, record: VideoRecord, result: Written | NotWritten, outcomes: Outcomes) -> None:
        if isinstance(result, NotWritten):
            outcomes.failed(record, result.failed)
            self._note_missing(record, result)
            return
        self._seeing.add(result.host)
        try:
            self._index.accept(record.name, result.image)
        except (OSError, FeatureFileError, MemoryError) as error:
            cause = "out of memory" if isinstance(error, MemoryError) else error
            outcomes.failed(record, Failed(f"the features can't be written: {cause}", first_wait_s=AT_ONCE_S))
            return
        self._index.remember_video(record.path, self._index.read_meta(record.name).source)
        outcomes.written(record, result.duration_s, result.timing)

    def _note_missing(self, record: VideoRecord, result: NotWritten) -> None:
        """Raises InputError for a node without the videos' folder: it would soon have failed all of them."""
        if not result.missing:
            self._seeing.add(result.host)
        elif result.host not in self._seeing and record.path.exists():
            self._missed[result.host] += 1
            if self._missed[result.host] >= _BLIND_AFTER:
                raise InputError(
                    f"node {result.host} of the Ray cluster finds none of the videos, the last one "
                    f"{record.path}; every node must have their folder at the same path (or give their "
                    "addresses in an object store)"
                )


def _weights_file(weights: str) -> Path | None:
    """The file of CLIP's weights on this machine; None for random ones."""
    if weights == "random":
        return None
    if weights == "openai":
        from extract.clip import download_openai_weights

        return download_openai_weights()
    require_weights(weights)
    return Path(weights)
