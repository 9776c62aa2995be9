"""Extract a folder of videos in a separate process, for the tests that kill it.

    python tests/extract/run_extraction.py VIDEOS OUT [SECONDS_PER_BATCH] [MAX_FILE_BYTES]

SECONDS_PER_BATCH delays every batch; MAX_FILE_BYTES limits the size of the files that the process may write.
"""

import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
from tests.extract.numbered_clips import NumberEncoder, records_of


class SlowEncoder(NumberEncoder):
    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(self._delay_s)
        return super().embed(images)


def main() -> None:
    videos, out, delay_s, max_file_bytes = [*sys.argv[1:], "0", "0"][:4]
    if limit := int(max_file_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    result = extract_videos(
        records_of(*sorted(Path(videos).iterdir())),
        Path(out),
        ExtractConfig(),
        ExtractRuntime(workers=2),
        encoder=SlowEncoder(float(delay_s)),
    )
    for failure in result.failures:
        print(failure.name, failure.reason)


if __name__ == "__main__":
    main()
