"""A decoder process: takes one video after the other and sends its frames back.

It is a process of its own because decoders hang, crash and run out of memory on odd videos: its
owner (`extract.decode.pool`) watches it and kills it. It imports neither torch nor pydantic nor h5py, for
each starts anew. Protocol, over one connection: a `Job` comes in; `Opened`, then for each picture
`Picture` and its raw bytes, then `Finished` or `Failed` go out; `Alive` now and then while nothing
else is to be said.
"""

import os
import stat
import sys
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extract.decode.packets import short_reason
from extract.decode.reader import Choice, FrameReader, VideoError, VideoInfo, probe
from extract.snippets import Picks, Sampling, pick_frames
from extract.source import SourceInfo, file_digest


@dataclass(frozen=True)
class Job:
    """One video to decode."""

    path: Path
    sampling: Sampling
    decoder: Choice
    partial: bool


@dataclass(frozen=True)
class Opened:
    """The video is readable; these frames will come."""

    picks: Picks
    duration_s: float


@dataclass(frozen=True)
class Picture:
    """Raw RGB bytes of this shape follow; `pick` counts the picks from 0."""

    pick: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Finished:
    """All pictures were sent. With `partial`, only the first `len(frame_index)` snippets are good."""

    source: SourceInfo
    frame_index: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.float64]
    decoder: str
    decoder_reason: str


@dataclass(frozen=True)
class Failed:
    reason: str
    frame: int | None = None


class Alive:
    """Nothing to say, but working."""


def main() -> None:
    """Serve the connection whose file descriptor is the first argument, until it is closed."""
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    with Connection(int(sys.argv[1])) as connection:
        while True:
            try:
                serve(connection.recv(), connection)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return


def serve(job: Job, connection: Connection) -> None:
    """Decode one video into the connection; whatever goes wrong with it becomes a `Failed`."""
    try:
        connection.send(_decode(job, connection))
    except VideoError as error:
        connection.send(Failed(str(error), error.frame))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # decoders raise anything on odd input, and the next video is waiting
        connection.send(Failed(f"{type(error).__name__}: {short_reason(error)}"))


def _decode(job: Job, connection: Connection) -> Finished:
    alive = _Heartbeat(connection)
    before = job.path.stat()
    if not stat.S_ISREG(before.st_mode):  # a pipe would be waited for forever
        raise VideoError("is not a regular file")
    sha256 = file_digest(job.path, alive)
    info = probe(job.path, alive)
    if info.damage is not None and not job.partial:
        raise info.damage
    picks = pick_frames(info.n_frames, job.sampling)
    if picks.n_snippets == 0:
        raise VideoError(f"has {info.n_frames} frames, fewer than one snippet, and keep_last is off")
    connection.send(Opened(picks, info.duration_s))
    reader = FrameReader(info, job.decoder)
    damage = info.damage
    try:
        _send_pictures(reader, picks, connection)
    except VideoError as error:
        if not job.partial:
            raise
        damage = error
    try:
        after = job.path.stat()
    except FileNotFoundError as error:
        raise VideoError("the file vanished while it was read") from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise VideoError("the file changed while it was read")
    source = SourceInfo(
        file_name=job.path.name,
        sha256=sha256,
        size=before.st_size,
        mtime_ns=before.st_mtime_ns,
        codec=info.codec,
        fps=info.fps,
        n_frames=info.n_frames,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
    )
    finished = Finished(
        source, picks.representative, info.time_s[picks.representative], reader.decoder, reader.reason
    )
    return finished if damage is None else _before_damage(finished, damage, job.sampling.snippet_length, info)


def _send_pictures(reader: FrameReader, picks: Picks, connection: Connection) -> None:
    frames = picks.frames.tolist()
    for pick, (_, picture) in enumerate(reader.frames(frames)):
        connection.send(Picture(pick, picture.shape))
        _write_all(connection.fileno(), np.ascontiguousarray(picture).data.cast("B"))


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _before_damage(finished: Finished, damage: VideoError, snippet_length: int, info: VideoInfo) -> Finished:
    """The whole snippets before the damaged place, as if the video ended with them."""
    snippets = (damage.frame or 0) // snippet_length
    if snippets == 0:
        raise damage
    n_frames = snippets * snippet_length
    source = replace(
        finished.source,
        n_frames=n_frames,
        duration_s=float(info.time_s[n_frames - 1]) + 1 / info.fps,
        damage=f"frame {damage.frame}: {damage}",
    )
    return replace(
        finished,
        source=source,
        frame_index=finished.frame_index[:snippets],
        time_s=finished.time_s[:snippets],
    )


class _Heartbeat:
    """Sends `Alive` at most once a second."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = time.monotonic() + 1

    def __call__(self) -> None:
        if time.monotonic() >= self._next:
            self._connection.send(Alive())
            self._next = time.monotonic() + 1


def _die_with(parent: int) -> None:
    """End this process, however deep in a decoder it hangs, once its owner is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    # Under its importable name: what is pickled must not belong to `__main__`.
    from extract.decode.worker import main as _main

    _main()
