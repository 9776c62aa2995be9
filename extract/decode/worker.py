"""The decoder process: decodes one video after the other and sends the frames back.

Decoding runs in a process of its own because decoders hang, crash or run out of memory on malformed videos;
`extract.decode.pool` starts, watches and kills it. torch, pydantic and h5py are not imported, for a fast
start.

Protocol over one connection: the process receives a `Job` and sends `Opened`; for pictures, which are in
shared memory, `SharedPictures`; and at the end `Finished` or `Failed`. While it has nothing else to send, it
sends `Alive` about once a second. It receives an empty message for each `SharedPictures`.
"""

import gc
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from extract.decode.decoder_choice import Choice
from extract.decode.packets import VideoError, short_reason
from extract.decode.probe import VideoInfo, probe
from extract.decode.reader import FrameReader
from extract.decode.shared_pictures import PictureSender, SharedMemory
from extract.display import encodable
from extract.retry_times import AT_ONCE_S, LATER_S, SOON_S
from extract.snippets import Picks, Sampling, intact_snippets, pick_frames
from extract.source import KnownDigest, SourceInfo, digest_in_background, video_state


@dataclass(frozen=True)
class Job:
    """One video to decode."""

    path: Path
    sampling: Sampling
    decoder: Choice
    partial: bool
    known: KnownDigest | None = None
    """Digest of the file at an earlier time; that of a file in another state is computed while decoding."""
    card: str = "cuda"
    """The CUDA device of the decoder `nvdec`."""


@dataclass(frozen=True)
class FrameJob:
    """One frame of a video to decode; the answer is its picture, or `Failed`."""

    path: Path
    frame: int


@dataclass(frozen=True)
class FramesJob:
    """Frames of a video to decode; the answer is `Facts`, the pictures in ascending order, and `Sent`.

    `SharedPictures.picks` are then the frames' numbers.
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
    """The video can be decoded; the pictures of `picks` follow, each with its index into `Picks.frames`."""

    picks: Picks
    duration_s: float


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
    first_wait_s: float = LATER_S
    """Seconds until the next try after a first failure for this reason (`extract.retry_times`)."""


class Alive:
    """A sign of life during long operations."""


class _FileChangedError(VideoError):
    """The file is not the one that was opened."""


def main() -> None:
    """Serve the connection until it is closed; the arguments are its file descriptor and the memory's."""
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    gc.freeze()  # collecting garbage is fast without the modules
    with Connection(int(sys.argv[1])) as connection:
        pictures = PictureSender(connection, SharedMemory(int(sys.argv[2])))
        while True:
            try:
                serve(connection.recv(), connection, pictures)
                pictures.reset()
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return


def serve(job: Job | FrameJob | FramesJob, connection: Connection, pictures: PictureSender) -> None:
    """Decode one video and send the result; every error but a lost connection becomes a `Failed`."""
    try:
        if isinstance(job, FrameJob):
            _send_frame(job, connection, pictures)
        elif isinstance(job, FramesJob):
            _send_frames(job, connection, pictures)
        else:
            connection.send(_decode(job, connection, pictures))
    except VideoError as error:
        connection.send(Failed(str(error), error.frame, _first_wait_s(error)))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # decoders raise errors of any kind; the process continues with the next video
        reason = f"{type(error).__name__}: {short_reason(error)}"
        connection.send(Failed(reason, first_wait_s=_first_wait_s(error)))


def _first_wait_s(error: BaseException) -> float:
    """Seconds after which a video that failed with this error is tried again.

    FFmpeg also reports damaged files as I/O errors and lack of memory: these wait, if only for a minute.
    """
    if isinstance(error, OSError | _FileChangedError) and not isinstance(error, av.FFmpegError):
        return AT_ONCE_S
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError | MemoryError):
            return SOON_S
        cause = cause.__cause__
    return LATER_S


def _decode(job: Job, connection: Connection, pictures: PictureSender) -> Finished:
    status = _file_status(job.path)
    known = job.known
    if known is not None and known.state == video_state(status):
        return _decode_video(job, connection, pictures, status, lambda tick: known.sha256)
    with digest_in_background(job.path) as digest:
        return _decode_video(job, connection, pictures, status, digest)


def _decode_video(
    job: Job,
    connection: Connection,
    pictures: PictureSender,
    status: os.stat_result,
    digest: Callable[[Callable[[], None]], str],
) -> Finished:
    """`digest` returns the file's sha256; it is called at the end, with the heartbeat."""
    heartbeat = _Heartbeat(connection)
    info = probe(job.path, heartbeat)
    if info.damage is not None and not job.partial:
        raise _with_way_on(info.damage, job)
    picks = _picks(info, job.sampling)
    connection.send(Opened(picks, info.duration_s))
    reader = FrameReader(info, job.decoder, job.card)
    damage = info.damage
    try:
        _send_pictures(reader, picks, pictures, heartbeat)
    except VideoError as error:
        if not job.partial:
            raise _with_way_on(error, job) from error.__cause__  # not from itself: chains of causes end
        damage = error
    sha256 = digest(heartbeat)
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


def _send_frame(job: FrameJob, connection: Connection, pictures: PictureSender) -> None:
    _file_status(job.path)
    heartbeat = _Heartbeat(connection)
    reader = FrameReader(probe(job.path, heartbeat))
    _, picture = next(reader.frames([job.frame], heartbeat))
    pictures.add(0, picture)
    pictures.flush()


def _send_frames(job: FramesJob, connection: Connection, pictures: PictureSender) -> None:
    _file_status(job.path)
    heartbeat = _Heartbeat(connection)
    info = probe(job.path, heartbeat)
    if info.damage is not None:
        raise info.damage
    connection.send(Facts(info.n_frames, info.fps))
    for number, picture in FrameReader(info).frames(job.frames, heartbeat):
        pictures.add(number, picture)
    pictures.flush()
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
    reader: FrameReader, picks: Picks, pictures: PictureSender, heartbeat: "_Heartbeat"
) -> None:
    def tick() -> None:
        heartbeat()
        pictures.tick()

    try:
        for number, picture in reader.frames(np.unique(picks.frames).tolist(), tick):
            for pick in range(*np.searchsorted(picks.frames, (number, number + 1)).tolist()):
                pictures.add(pick, picture)
    finally:
        pictures.flush()


def _require_unchanged(path: Path, before: os.stat_result) -> None:
    """Raise VideoError if the file was removed or changed since `before`: its digest would be wrong."""
    try:
        after = path.stat()
    except FileNotFoundError as error:
        raise _FileChangedError("the file was removed while it was read") from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise _FileChangedError("the file was changed while it was read")


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


def exit_with_parent(parent: int) -> None:
    """Exit once the parent process has ended, even if a decoder hangs in another thread."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    # `main` of the imported module: pickled classes must not belong to `__main__`.
    from extract.decode.worker import main as _main

    _main()
