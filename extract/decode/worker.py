"""The decoder process: decodes one video after the other and sends the frames back.

Decoding runs in a process of its own because decoders hang, crash or run out of memory on malformed videos;
`extract.decode.pool` starts, watches and kills it. torch, pydantic and h5py are not imported, for a fast
start.

Protocol over one connection: the process receives a `Job` and sends `Opened`; for each picture a
`PictureHeader` followed by the raw bytes; and at the end `Finished` or `Failed`. While it has nothing else to
send, it sends `Alive` about once a second.
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

from extract.decode.decoder_choice import Choice
from extract.decode.decoders import Picture
from extract.decode.packets import VideoError, short_reason
from extract.decode.probe import VideoInfo, probe
from extract.decode.reader import FrameReader
from extract.display import encodable
from extract.snippets import Picks, Sampling, intact_snippets, pick_frames
from extract.source import SourceInfo, file_digest


@dataclass(frozen=True)
class Job:
    """One video to decode."""

    path: Path
    sampling: Sampling
    decoder: Choice
    partial: bool


@dataclass(frozen=True)
class FrameJob:
    """One frame of a video to decode; the answer is its picture, or `Failed`."""

    path: Path
    frame: int


@dataclass(frozen=True)
class FramesJob:
    """Frames of a video to decode; the answer is `Facts`, the pictures in ascending order, and `Sent`.

    A `PictureHeader.pick` is then the frame's number.
    """

    path: Path
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """A video that can be opened."""

    n_frames: int
    fps: float


class Sent:
    """All pictures of a `FramesJob` were sent."""


@dataclass(frozen=True)
class Opened:
    """The video can be decoded; the pictures of `picks` follow."""

    picks: Picks
    duration_s: float


@dataclass(frozen=True)
class PictureHeader:
    """Raw RGB bytes of this shape follow; `pick` is the index into `Picks.frames`."""

    pick: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Finished:
    """All pictures were sent. With `partial`, only the first `len(frame_index)` snippets are intact."""

    source: SourceInfo
    frame_index: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.float64]
    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    decoder: str
    decoder_reason: str


@dataclass(frozen=True)
class Failed:
    """The video can't be decoded; `frame` is the first missing frame, if known."""

    reason: str
    frame: int | None = None


class Alive:
    """A sign of life during long operations."""


def main() -> None:
    """Serve the connection whose file descriptor is the first argument, until it is closed."""
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    with Connection(int(sys.argv[1])) as connection:
        while True:
            try:
                serve(connection.recv(), connection)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return


def serve(job: Job | FrameJob | FramesJob, connection: Connection) -> None:
    """Decode one video and send the result; every error but a lost connection becomes a `Failed`."""
    try:
        if isinstance(job, FrameJob):
            _send_frame(job, connection)
        elif isinstance(job, FramesJob):
            _send_frames(job, connection)
        else:
            connection.send(_decode(job, connection))
    except VideoError as error:
        connection.send(Failed(str(error), error.frame))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # decoders raise errors of any kind; the process continues with the next video
        connection.send(Failed(f"{type(error).__name__}: {short_reason(error)}"))


def _decode(job: Job, connection: Connection) -> Finished:
    status = _file_status(job.path)
    heartbeat = _Heartbeat(connection)
    sha256 = file_digest(job.path, heartbeat)
    info = probe(job.path, heartbeat)
    if info.damage is not None and not job.partial:
        raise _with_way_on(info.damage, job)
    picks = _picks(info, job.sampling)
    connection.send(Opened(picks, info.duration_s))
    reader = FrameReader(info, job.decoder)
    damage = info.damage
    try:
        _send_pictures(reader, picks, connection, heartbeat)
    except VideoError as error:
        if not job.partial:
            raise _with_way_on(error, job) from error
        damage = error
    _require_unchanged(job.path, status)
    starts = np.arange(picks.n_snippets) * job.sampling.snippet_length
    ends = np.minimum(starts + job.sampling.snippet_length, info.n_frames)
    finished = Finished(
        source=_source_info(info, sha256, status),
        frame_index=picks.representative,
        time_s=info.time_s[picks.representative],
        start_s=info.time_s[starts],
        end_s=info.timeline.end_s[ends - 1],
        decoder=reader.decoder,
        decoder_reason=reader.reason,
    )
    return finished if damage is None else _before_damage(finished, damage, job.sampling, info)


def _send_frame(job: FrameJob, connection: Connection) -> None:
    _file_status(job.path)
    heartbeat = _Heartbeat(connection)
    reader = FrameReader(probe(job.path, heartbeat))
    _, picture = next(reader.frames([job.frame], heartbeat))
    _send_picture(connection, 0, picture)


def _send_frames(job: FramesJob, connection: Connection) -> None:
    _file_status(job.path)
    heartbeat = _Heartbeat(connection)
    info = probe(job.path, heartbeat)
    if info.damage is not None:
        raise info.damage
    connection.send(Facts(info.n_frames, info.fps))
    for number, picture in FrameReader(info).frames(job.frames, heartbeat):
        _send_picture(connection, number, picture)
    connection.send(Sent())


def _with_way_on(damage: VideoError, job: Job) -> VideoError:
    """The error, which also names `--partial` if whole snippets lie before the damage."""
    snippets = intact_snippets(damage.frame or 0, job.sampling)
    if not snippets:
        return damage
    return VideoError(f"{damage}; --partial keeps the {snippets} snippets before it", damage.frame)


def _file_status(path: Path) -> os.stat_result:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would block forever
        raise VideoError("is not a regular file")
    return status


def _picks(info: VideoInfo, sampling: Sampling) -> Picks:
    picks = pick_frames(info.n_frames, sampling)
    if picks.n_snippets == 0:
        raise VideoError(f"has {info.n_frames} frames, fewer than one snippet, and keep_last is off")
    return picks


def _send_pictures(
    reader: FrameReader, picks: Picks, connection: Connection, heartbeat: "_Heartbeat"
) -> None:
    for number, picture in reader.frames(np.unique(picks.frames).tolist(), heartbeat):
        for pick in range(*np.searchsorted(picks.frames, (number, number + 1)).tolist()):
            _send_picture(connection, pick, picture)


def _send_picture(connection: Connection, pick: int, picture: Picture) -> None:
    connection.send(PictureHeader(pick, picture.shape))
    _write_all(connection.fileno(), np.ascontiguousarray(picture).data.cast("B"))


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _require_unchanged(path: Path, before: os.stat_result) -> None:
    """Raise VideoError if the file was removed or changed since `before`: its digest would be wrong."""
    try:
        after = path.stat()
    except FileNotFoundError as error:
        raise VideoError("the file was removed while it was read") from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise VideoError("the file was changed while it was read")


def _source_info(info: VideoInfo, sha256: str, status: os.stat_result) -> SourceInfo:
    return SourceInfo(
        file_name=encodable(info.path.name),
        sha256=sha256,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        codec=info.codec,
        fps=info.fps,
        n_frames=info.n_frames,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
        timing="; ".join(info.notes),
    )


def _before_damage(finished: Finished, damage: VideoError, sampling: Sampling, info: VideoInfo) -> Finished:
    """The result cut to the whole snippets before the damage, as if the video ended there."""
    snippets = intact_snippets(damage.frame or 0, sampling)
    if snippets == 0:
        raise damage
    n_frames = snippets * sampling.snippet_length
    source = replace(
        finished.source,
        n_frames=n_frames,
        duration_s=float(info.timeline.end_s[n_frames - 1]),
        damage=f"frame {damage.frame}: {damage}",
    )
    return replace(
        finished,
        source=source,
        frame_index=finished.frame_index[:snippets],
        time_s=finished.time_s[:snippets],
        start_s=finished.start_s[:snippets],
        end_s=finished.end_s[:snippets],
    )


class _Heartbeat:
    """Sends `Alive` when called, at most once a second."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = time.monotonic() + 1

    def __call__(self) -> None:
        if time.monotonic() >= self._next:
            self._connection.send(Alive())
            self._next = time.monotonic() + 1


def _exit_with_parent(parent: int) -> None:
    """Exit once the parent process has ended, even if a decoder hangs in another thread."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    # `main` of the imported module: pickled classes must not belong to `__main__`.
    from extract.decode.worker import main as _main

    _main()
