"""Speed of the three decoders for every 16th frame, in source frames per CPU second on one thread.

    python tests/benchmarks/extract_decoders.py [--frames 960]

The numbers in parentheses are ratios to full decoding with PyAV. The last column is the decoder that `auto`
chooses.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.decode.decoder_choice import choose_decoder
from extract.decode.decoders import Frames, decode_all, decode_sparse, decode_with_decord
from extract.decode.probe import VideoInfo, probe
from tests.benchmarks.extract_footage import cctv_like
from tests.extract.numbered_clips import make_clip

H265 = "keyint=48:open-gop=0:log-level=none"
CLIPS = {
    "h264, key frame every 12": ("a.mp4", {"options": {"preset": "fast", "g": "12"}}),
    "h264, key frame every 48": ("b.mp4", {"options": {"preset": "fast", "g": "48"}}),
    "h264, key frame every 250": ("c.mp4", {"options": {"preset": "fast", "g": "250"}}),
    "h265, key frame every 48": ("d.mp4", {"codec": "libx265", "options": {"x265-params": H265}}),
    "vp9, key frame every 48": ("e.webm", {"codec": "libvpx-vp9", "options": {"g": "48", "cpu-used": "8"}}),
    "mjpeg": ("f.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
}


def frames_per_cpu_second(info: VideoInfo, decode: Callable[[VideoInfo, Sequence[int]], Frames]) -> float:
    """Source frames per CPU second of the fastest of three passes."""
    wanted = range(8, info.n_frames, 16)
    times = []
    for _ in range(3):
        start = time.process_time()
        assert len(list(decode(info, wanted))) == len(wanted)
        times.append(time.process_time() - start)
    return info.n_frames / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=960, help="frames per clip")
    options = parser.parse_args()
    print(f"{'':28} {'full':>12} {'sparse':>14} {'decord':>14}   chosen")
    for name, (file_name, clip) in CLIPS.items():
        with tempfile.TemporaryDirectory() as folder:
            info = probe(
                make_clip(
                    Path(folder) / file_name, options.frames, size=(320, 240), picture=cctv_like, **clip
                )
            )
            full = frames_per_cpu_second(info, decode_all)
            rates = [frames_per_cpu_second(info, decode) for decode in (decode_sparse, decode_with_decord)]
        columns = [f"{rate:7.0f} ({rate / full:.1f}×)" for rate in rates]
        chosen = choose_decoder(info, "auto")[0]
        print(f"{name:28} {full:12.0f} {columns[0]:>14} {columns[1]:>14}   {chosen}")


if __name__ == "__main__":
    main()
