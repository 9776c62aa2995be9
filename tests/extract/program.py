"""An extraction in a process of its own, for the tests that kill it.

python tests/extract/program.py VIDEOS OUT [seconds to wait before each batch] [largest file in bytes]
"""

import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
from tests.extract.media import NumberEncoder, records_of


class SlowEncoder(NumberEncoder):
    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(self._delay_s)
        return super().embed(images)


def main() -> None:
    videos, out, delay_s, largest = [*sys.argv[1:], "0", "0"][:4]
    if int(largest):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
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
