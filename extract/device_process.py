"""The process of one device: loads the encoder, and extracts the videos that its parent hands out.

`extract.devices` starts and watches it, and describes the messages.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection

from extract.decode.worker import Failed, exit_with_parent
from extract.devices import Event, Ready, Request, Setup, SnippetsDone, Stopped
from extract.encoder import load_encoder
from extract.errors import InputError
from extract.extraction import OneDevice
from extract.feature_index import FeatureIndex
from extract.manifest import VideoRecord


def main() -> None:
    """Serve the connection whose file descriptor is the first argument."""
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    with Connection(int(sys.argv[1])) as connection:
        try:
            _extract(connection, connection.recv())
        except InputError as error:
            connection.send(Stopped(str(error), by_input=True))
        except Exception as error:
            connection.send(Stopped(f"{type(error).__name__}: {error}", by_input=False))
            raise


def _extract(connection: Connection, setup: Setup) -> None:
    config, runtime = setup.config, setup.runtime
    encoder = load_encoder(config.weights, runtime.device, config.precision, runtime.batch_size)
    connection.send(Ready(encoder.fingerprint))
    parent = _Parent(connection)
    with closing(FeatureIndex(setup.features_dir)) as index:
        OneDevice(index, config, runtime, encoder).extract(parent.videos(), parent)


class _Parent:
    """The parent's list of videos, and its account of them, with the methods of `Account`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        """Decoder threads ask for videos while the main thread reports."""
        self._snippets = 0

    def videos(self) -> Iterator[VideoRecord]:
        """The videos for this process; waits while other processes may still leave it one."""
        while True:
            self._send(Request())
            record = self._connection.recv()
            if record is None:
                return
            yield record

    def opened(self, record: VideoRecord, snippets: int) -> None:
        self._send(Event("opened", record.name, (snippets,)))

    def snippets_done(self, count: int) -> None:
        self._snippets += count

    def written(self, record: VideoRecord, duration_s: float, timing: str) -> None:
        self._send(Event("written", record.name, (duration_s, timing)))

    def failed(self, record: VideoRecord, failed: Failed) -> None:
        self._send(Event("failed", record.name, (failed,)))

    def report(self) -> None:
        if self._snippets:
            self._send(SnippetsDone(self._snippets))
            self._snippets = 0

    def _send(self, message: object) -> None:
        with self._sending:
            self._connection.send(message)


if __name__ == "__main__":
    # `main` of the imported module: pickled classes must not belong to `__main__`.
    from extract.device_process import main as _main

    _main()
