"""Frames of several videos by number, decoded in a process of their own and kept as long as there is room."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extract.decode.packets import VideoError
from extract.decode.process import DecoderProcess, PictureData
from extract.decode.worker import Facts, Failed, FramesJob

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) uint8 RGB"""
_ROOM_BYTES = 600_000_000


class Footage:
    """The videos by name; a context manager, which ends the decoder process."""

    def __init__(self, paths: Mapping[str, Path], timeout_s: float = 120.0) -> None:
        self._paths = paths
        self._timeout_s = timeout_s
        self._process: DecoderProcess | None = None
        self._facts: dict[str, Facts] = {}
        self._kept: OrderedDict[tuple[str, int], Picture] = OrderedDict()
        self._bytes = 0

    def __enter__(self) -> "Footage":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()

    def facts(self, name: str) -> Facts:
        """Number and rate of the frames. Raises VideoError if the video can't be read."""
        if name not in self._facts:
            list(self._decode(name, ()))
        return self._facts[name]

    def pictures(self, name: str, frames: Iterable[int]) -> Iterator[tuple[int, Picture]]:
        """(frame number, picture) of each frame once: those that are kept, then the others, decoded.

        Raises VideoError for a frame that can't be decoded.
        """
        wanted = sorted(set(frames))
        kept = [frame for frame in wanted if (name, frame) in self._kept]
        for frame in kept:
            yield frame, self._kept[name, frame]
        try:
            for frame, picture in self._decode(name, tuple(f for f in wanted if f not in set(kept))):
                self._keep((name, frame), picture)
                yield frame, picture
        except VideoError as error:
            raise VideoError(f"{self._paths[name]}: {error}; leave this video out", error.frame) from error

    def _decode(self, name: str, frames: tuple[int, ...]) -> Iterator[tuple[int, Picture]]:
        if not frames and name in self._facts:
            return
        if self._process is None or not self._process.alive:
            self._process = DecoderProcess(self._timeout_s)
        complete = False
        try:
            for message in self._process.decode_frames(FramesJob(self._paths[name].absolute(), frames)):
                if isinstance(message, Failed):
                    raise VideoError(message.reason, message.frame)
                if isinstance(message, PictureData):
                    yield message.pick, message.pixels
                else:
                    self._facts[name] = message
            complete = True
        finally:
            if not complete:  # its connection may be in the middle of a picture
                self._process.close()

    def _keep(self, key: tuple[str, int], picture: Picture) -> None:
        self._kept[key] = picture
        self._bytes += picture.nbytes
        while self._bytes > _ROOM_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
