"""Which decoder returns the right frames of which kind of stream, and how fast; prints Markdown tables.

    python tests/benchmarks/extract_decoders.py [--frames 480] [--repeats 3] [--only vp9] [--python PATH]
        [--files PATH]

The decoders are full and sparse decoding with PyAV, decord (or decord2) and torchcodec, as far as this Python
has them; `--python` adds those of another environment. Each decodes in a process of its own, on one thread,
as it comes: without the restrictions of `choose_decoder`. The first column has source frames a CPU second of
full decoding with PyAV, the others their ratio to it, best of `--repeats` alternating passes; or how many
frames were wrong, or that the decoder failed. A frame is wrong if another picture of the clip, as it was
before encoding, is nearer to it, or if it is not upright. `±` is the largest difference of a pixel to full
decoding. The last column is the decoder that `auto` chooses.

`--files` measures video files or folders of them instead of generated clips; full decoding with PyAV is then
taken to be right.
"""

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from extract.decode.decoder_choice import choose_decoder
from extract.decode.decoders import Frames, decode_all, decode_sparse, decode_with_decord
from extract.decode.packets import VideoError
from extract.decode.probe import VideoInfo, probe

SIZE = (320, 240)
STEP = 4
"""Pictures are compared at every fourth pixel of every fourth row."""
MOST_DIFFERENCE = 16
"""A picture that differs more from full decoding, on average of 255, is not upright."""
TIMEOUT_S = 60.0
LONG_GOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "h264, key frame every 12": ("a.mp4", {"options": {"preset": "fast", "g": "12"}}),
    "h264, key frame every 250": ("a.mp4", {"options": {"preset": "fast", "g": "250"}}),
    "vp9, key frame every 250": ("a.webm", {"codec": "libvpx-vp9", "options": {"g": "250", "cpu-used": "8"}}),
    "av1, key frame every 250": ("a.mp4", {"codec": "libsvtav1", "options": {"g": "250", "preset": "12"}}),
}
START = {
    "PyAV": "import av; next(av.open(PATH).decode(video=0)).to_ndarray(format='rgb24')",
    "decord": "import decord; decord.VideoReader(PATH, ctx=decord.cpu(0), num_threads=1)[0].asnumpy()",
    "torchcodec": "from torchcodec.decoders import VideoDecoder; VideoDecoder(PATH, device='cpu')[0].numpy()",
}


# --- the process that decodes: no torch, unless for torchcodec ----------------------------------------------


def decode_with_torchcodec(info: VideoInfo, indices: Sequence[int]) -> Frames:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(info.path), dimension_order="NHWC", num_ffmpeg_threads=1, device="cpu")
    if len(decoder) != info.n_frames:
        raise VideoError(f"torchcodec sees {len(decoder)} frames, the stream holds {info.n_frames}")
    for start in range(0, len(indices), 32):
        batch = list(indices[start : start + 32])
        yield from zip(batch, decoder.get_frames_at(batch).data.numpy(), strict=True)


DECODERS: dict[str, Callable[[VideoInfo, Sequence[int]], Frames]] = {
    "full": decode_all,
    "sparse": decode_sparse,
    "decord": decode_with_decord,
    "torchcodec": decode_with_torchcodec,
}


def installed_decoders() -> dict[str, str]:
    """Decoder to the name and version of its package; only those that work here."""
    found = {}
    for package in ("decord", "decord2", "torchcodec"):
        with contextlib.suppress(PackageNotFoundError):
            found[package.removesuffix("2")] = f"{package} {version(package)}"
    if "torchcodec" in found:
        try:
            import torchcodec._core as core

            core.get_ffmpeg_library_versions()
        except Exception as error:
            print(f"torchcodec can't be loaded: {str(error).splitlines()[0]}", file=sys.stderr)
            del found["torchcodec"]
    return {"full": f"PyAV {version('av')}", "sparse": f"PyAV {version('av')}"} | found


def serve() -> None:
    """Answer one request per line: decode the wanted frames, and compare them or measure the time."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print
    print(json.dumps(installed_decoders()), file=replies)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            info = probe(Path(request["path"]))
            decode = DECODERS[request["decoder"]]
            if request["decoder"] == "sparse" and info.full_decode_reason:
                raise VideoError("–")
            wanted = list(range(min(request["step"] // 2, info.n_frames - 1), info.n_frames, request["step"]))
            answer = check(info, decode, wanted, request["truth"]) if "truth" in request else None
            start = time.process_time()
            count = sum(1 for _ in decode(info, wanted))
            answer = answer or {"seconds": time.process_time() - start}
            if count != len(wanted):
                answer = {"error": f"{count} of {len(wanted)} frames"}
        except Exception as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=replies)


def check(
    info: VideoInfo, decode: Callable[[VideoInfo, Sequence[int]], Frames], wanted: list[int], truth: str
) -> dict[str, float]:
    """Wrong frames, and the largest difference of a pixel to full decoding with PyAV."""
    pictures_NHWC = np.load(truth).astype(np.int16)
    wrong, largest = 0, 0
    for (number, picture), (_, same) in zip(decode(info, wanted), decode_all(info, wanted), strict=True):
        small = picture[::STEP, ::STEP].astype(np.int16)
        if small.shape != pictures_NHWC.shape[1:]:
            wrong += 1
            continue
        distances = np.abs(pictures_NHWC - small).mean((1, 2, 3))
        difference = np.abs(picture.astype(np.int16) - same) if picture.shape == same.shape else np.array(255)
        if distances[number] > distances.min() + 0.5 or difference.mean() > MOST_DIFFERENCE:
            wrong += 1
        else:
            largest = max(largest, int(difference.max()))
    return {"wanted": len(wanted), "wrong": wrong, "largest": largest}


# --- the process that asks ----------------------------------------------------------------------------------


class Column:
    """One decoder of one Python, in a process that is replaced when it hangs or crashes."""

    def __init__(self, python: str, decoder: str) -> None:
        self.python, self.decoder = python, decoder
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [self.python, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.packages = json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer, or an error."""
        print(json.dumps(request | {"decoder": self.decoder}), file=self._process.stdin, flush=True)
        ready, _, _ = select.select([self._process.stdout], [], [], TIMEOUT_S)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.close()
        self._start()
        return {"error": "crashes" if ready else "hangs"}

    @property
    def title(self) -> str:
        how = f" {self.decoder}" if self.decoder in ("full", "sparse") else ""
        return self.packages[self.decoder] + how


def open_columns(pythons: list[str]) -> list[Column]:
    """The decoders of all Pythons; a version that was seen before is left out."""
    columns: dict[str, Column] = {}
    for python in pythons:
        column = Column(python, "full")
        for decoder in column.packages:
            column = Column(python, decoder) if decoder != "full" else column
            if columns.setdefault(column.title, column) is not column:
                column.close()
    return list(columns.values())


@dataclass(frozen=True)
class Row:
    """A clip, and a file with its pictures before encoding, or those of full decoding."""

    name: str
    path: Path
    truth: Path


def generated_rows(folder: Path, frames: int, only: str) -> Iterator[Row]:
    from tests.benchmarks.extract_footage import cctv_like
    from tests.extract.clip_kinds import CLIPS, DERIVED, Clip, make_derived, make_kind, quiet
    from tests.extract.numbered_clips import make_clip

    for name in [*LONG_GOPS, *CLIPS, *DERIVED]:
        if only not in name or "odd size" in name:
            continue
        if name in DERIVED:
            clip = make_derived(name, folder, frames, SIZE, cctv_like)
        else:
            if name in CLIPS:
                path = make_kind(name, folder, frames, size=SIZE, picture=cctv_like)
            else:
                file_name, options = LONG_GOPS[name]
                with quiet():
                    path = make_clip(folder / file_name, frames, size=SIZE, picture=cctv_like, **options)
            clip = Clip(path, lambda number: cctv_like(number, *SIZE))
        truth = folder / "truth.npy"
        np.save(truth, [clip.shown(number)[::STEP, ::STEP] for number in range(frames)])
        yield Row(name, clip.path, truth)


def rows_of_files(paths: list[Path], folder: Path) -> Iterator[Row]:
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    for path in files:
        try:
            info = probe(path)
            pictures = [picture[::STEP, ::STEP] for _, picture in decode_all(info, range(info.n_frames))]
        except VideoError:
            continue  # not a video, or damaged
        truth = folder / "truth.npy"
        np.save(truth, pictures)
        yield Row(path.name, path, truth)


def measure(row: Row, step: int, columns: list[Column], repeats: int) -> list[dict[str, Any]]:
    """One result per column: what `check` says, and the least CPU seconds of the passes."""
    request = {"path": str(row.path), "step": step}
    results = [column.ask(**request, truth=str(row.truth)) for column in columns]
    for _ in range(repeats):
        for column, result in zip(columns, results, strict=True):
            if result.get("wrong") == 0:
                seconds = column.ask(**request).get("seconds", float("inf"))
                result["seconds"] = min(seconds, result.get("seconds", seconds))
    return results


def cell(result: dict[str, Any], full: dict[str, Any], frames: int) -> str:
    """A result in words; the ratio is that of the least times."""
    if "error" in result:
        return result["error"] if len(result["error"]) < 8 else "fails"
    if result["wrong"]:
        return f"{result['wrong']} of {result['wanted']} wrong"
    if result is full:
        return f"{frames / result['seconds']:,.0f}"
    difference = f", ±{result['largest']}" if result["largest"] else ""
    return f"{full.get('seconds', float('nan')) / result['seconds']:.2f}{difference}"


def start_up(path: Path, columns: list[Column], repeats: int) -> list[str]:
    """Wall seconds from the start of Python to the first picture, as table rows."""
    rows = []
    for column in columns:
        name = "PyAV" if column.decoder == "full" else column.decoder
        if name in START:
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                code = START[name].replace("PATH", repr(str(path)))
                subprocess.run([column.python, "-c", code], check=True, stderr=subprocess.DEVNULL)
                times.append(time.perf_counter() - start)
            rows.append(f"| {column.packages[column.decoder]} | {min(times):.2f} s |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=480, help="frames per clip")
    parser.add_argument("--repeats", type=int, default=3, help="passes; the fastest counts")
    parser.add_argument("--only", default="", help="kinds whose name holds this text")
    parser.add_argument("--python", action="append", default=[], help="another Python to measure as well")
    parser.add_argument("--files", action="append", type=Path, default=[], help="videos to measure")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    columns = open_columns([sys.executable, *options.python])
    titles = " | ".join(column.title for column in columns)
    tables = {16: "every 16th frame", 1: "every frame"}
    lines: dict[int, list[str]] = {
        step: [f"| {title} | {titles} | chosen |", f"|---|{'---|' * len(columns)}---|"]
        for step, title in tables.items()
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = (
            rows_of_files(options.files, folder)
            if options.files
            else generated_rows(folder, options.frames, options.only)
        )
        for row in rows:
            info = probe(row.path)
            for step, table in lines.items():
                results = measure(row, step, columns, options.repeats)
                cells = [cell(result, results[0], info.n_frames) for result in results]
                table.append(f"| {row.name} | {' | '.join(cells)} | {choose_decoder(info, 'auto')[0]} |")
                print(table[-1], flush=True, file=sys.stderr)
                for column, result in zip(columns, results, strict=True):
                    if "error" in result:
                        print(f"  {column.title}: {result['error'][:200]}", file=sys.stderr)
        starts = start_up(row.path, columns, options.repeats)
    for table in lines.values():
        print("\n".join(table), end="\n\n")
    print("\n".join(["| from the start of Python to the first picture | |", "|---|---|", *starts]))
    for column in columns:
        column.close()


if __name__ == "__main__":
    main()
