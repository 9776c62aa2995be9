"""The functions that run on the nodes of a cluster, as Ray tasks."""

import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from extract.cluster.messages import Done, Item, Loaded, Note, Started, Taken, Work
from extract.cluster.versions import versions
from extract.errors import InputError

_MESSAGE_INTERVAL_S = 0.5
_loaded: dict[bytes, Loaded] = {}
"""By the work's key; of the last work only. Ray keeps the process for the next tasks of the same run."""


def load(work: Work, key: bytes, files: Mapping[str, Any], cores: int, like: Any) -> Started:
    """Load what the work needs, unless this process has it. `files` are references to their bytes."""
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = _load(work, files, cores, like)
    node = ray.get_runtime_context().get_node_id()
    return Started(node, socket.gethostname(), _loaded[key].description, versions())


def run_shard(
    work: Work, key: bytes, files: Mapping[str, Any], cores: int, like: Any, items: Sequence[Item]
) -> Iterator[list[Started | Taken | Note | Done]]:
    """Do the work on the items; yields messages, several at a time while no item begins or ends."""
    yield [load(work, key, files, cores, like)]
    messages: list[Started | Taken | Note | Done] = []
    sent = time.monotonic()
    for message in _loaded[key].run(items):
        if message is not None:
            messages.append(message)
        due = time.monotonic() >= sent + _MESSAGE_INTERVAL_S
        if messages and (due or not isinstance(message, Note | None)):
            yield messages
            messages, sent = [], time.monotonic()
    if messages:
        yield messages


def _load(work: Work, references: Mapping[str, Any], cores: int, like: Any) -> Loaded:
    device = "cuda" if ray.get_gpu_ids() else "cpu"
    with tempfile.TemporaryDirectory(prefix="dsanet-") as folder:
        files = {name: Path(folder, name) for name in references}
        for name, path in files.items():
            ray.get(references[name]).tofile(path)
        try:
            return work.load(files, device, cores, like)
        except InputError as error:
            text = str(error)
            for name, path in files.items():  # the user knows the files of their own machine
                text = text.replace(str(path), str(work.files[name]))
            raise InputError(text) from error
