"""Small pictures of single frames for the report.

They are decoded in another process, with a deadline: a bad video only lacks its pictures.
"""

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image

from extract.decode.process import DecoderProcess
from extract.decode.worker import Failed, FrameJob
from extract.manifest import VideoRecord
from extract.remote.cache import local_copy
from extract.remote.path import AnyPath
from extract.remote.store import StoreError

log = logging.getLogger(__name__)

HEIGHT = 90
"""In pixels."""


@contextmanager
def thumbnails(
    records: Iterable[VideoRecord], timeout_s: float
) -> Iterator[Callable[[str, int], bytes | None]]:
    """Yield a function (video name, frame number) → JPEG bytes, None if there is no picture.

    A picture takes at most about `timeout_s`. After a failure, the video is not tried again. A video in an
    object store is fetched for its pictures, and deleted when the next one is asked for.
    """
    reader = _Thumbnails(records, timeout_s)
    try:
        yield reader.read
    finally:
        reader.close()


class _Thumbnails:
    def __init__(self, records: Iterable[VideoRecord], timeout_s: float) -> None:
        self._paths = {record.name: record.path for record in records}
        self._timeout_s = timeout_s
        self._process: DecoderProcess | None = None
        self._file: tuple[str, Path] | None = None
        self._copy = ExitStack()

    def read(self, name: str, frame: int) -> bytes | None:
        path = self._paths.get(name)
        if path is None:
            return None
        try:
            if not path.exists():
                return None
            file = self._fetched(name, path)
            if self._process is None or not self._process.alive:
                self._process = DecoderProcess(self._timeout_s)
            answer = self._process.decode_frame(FrameJob(file, frame), self._timeout_s)
        except StoreError as error:
            log.warning("videos in an object store have no pictures in the report: %s", error)
            self._paths = {name: path for name, path in self._paths.items() if isinstance(path, Path)}
            return None
        except (OSError, MemoryError) as error:
            answer = Failed(f"{type(error).__name__} {error}")
            self.close()
        if isinstance(answer, Failed):
            log.debug("no picture of %s: %s", path, answer.reason)
            del self._paths[name]
            return None
        return _jpeg(Image.fromarray(answer.pixels))

    def _fetched(self, name: str, path: AnyPath) -> Path:
        """The file of a video."""
        if self._file is None or self._file[0] != name:
            self._file = None
            self._copy.close()
            self._file = name, self._copy.enter_context(local_copy(path)).absolute()
        return self._file[1]

    def close(self) -> None:
        self._file = None
        self._copy.close()
        if self._process is not None:
            self._process.close()
        self._process = None


def _jpeg(image: Image.Image) -> bytes:
    image.thumbnail((HEIGHT * 4, HEIGHT))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return buffer.getvalue()
