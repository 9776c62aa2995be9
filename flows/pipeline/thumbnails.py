"""Single frames of the footage as small JPEG pictures, for the report."""

import io
from collections.abc import Callable, Iterable

from PIL import Image

from extract.decode.reader import VideoError, read_frames
from extract.manifest import VideoRecord

HEIGHT = 90


def thumbnailer(records: Iterable[VideoRecord]) -> Callable[[str, int], bytes | None]:
    """A function (video name, frame number) → JPEG bytes, None where the frame cannot be had."""
    paths = {record.name: record.path for record in records}

    def thumbnail(name: str, frame: int) -> bytes | None:
        try:
            _, pixels = next(read_frames(paths[name], [frame]))
        except (VideoError, FileNotFoundError, StopIteration):
            return None
        image = Image.fromarray(pixels)
        image.thumbnail((HEIGHT * 4, HEIGHT))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=70)
        return buffer.getvalue()

    return thumbnail
