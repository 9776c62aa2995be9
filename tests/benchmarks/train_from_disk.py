"""Training with bags from disk against bags in memory: time of a step, seconds to the first one, peak memory.

    python tests/benchmarks/train_from_disk.py [--detector mil-ranking --batch 64] [--files 100] [--repeats 3]
    python tests/benchmarks/train_from_disk.py --detector mil-ranking --files 100 --links 1000 --no-memory

Makes feature files of random numbers, then trains a few steps on them: from memory; from disk as in the first
epoch, in which feature files are read and their bags stored, without and with the folder's index, which an
extraction writes; and once more from the bag file, as in all later epochs. The batches are the same, and the
losses are compared bit by bit. Each training is a process of its own, and they take turns. A figure is the
best repeat: the mean time of the steps after the first one, their CPU time with that of the processes that
read, which other programs change less, and the seconds from the call of `train` to the end of the first step,
model included. Peak memory is that of the training's process (VmHWM: pages of files that it maps count) plus
that of the processes that read for it (Linux only).

With `--links 1000` every file stands under 1000 names, so that 100 files of 2.6 MB stand for 100,000 videos
with 256 GB of features: names, headers, order and bag file are as large as with real ones, the bytes read
come from the page cache, and only the bags of the steps that run are stored.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dsanet.training.bag_sources as bag_sources
from dsanet.checkpoint import DRAFT
from dsanet.detectors.config import TextConfig, TrainConfig
from dsanet.detectors.registry import DETECTORS, detector_preset
from dsanet.training.loop import TrainProgress
from dsanet.training.train import train
from extract.digest_index import INDEX_FILE
from extract.feature_index import FeatureIndex
from extract.manifest import VideoRecord
from extract.source import file_state
from extract.store import feature_path
from tests.dsanet.helpers import write_video

MEMORY, HEADERS = "memory", "disk, first epoch, no index"
FIRST, LATER = "disk, first epoch", "disk, later epochs"


class EnoughError(Exception):
    """The steps to be measured are done; the training stays unfinished, and its bag file stays."""


def make_features(folder: Path, files: int, links: int, snippets: int, crops: int) -> None:
    random = np.random.default_rng(0)
    for i in range(files):
        write_video(folder, name(i, 0), random.normal(size=(snippets, crops, 512)))
        for link in range(1, links):
            os.link(feature_path(folder, name(i, 0)), feature_path(folder, name(i, link)))
    fill_index(folder, files, links)


def fill_index(folder: Path, files: int, links: int) -> None:
    """Record all files, of which only one of each content is read."""
    time.sleep(0.2)  # only files whose last change is that old are remembered
    with closing(FeatureIndex(folder)) as index:
        for i in range(files):
            digest = index.features_digest(name(i, 0))
            note = index._digests.note(feature_path(folder, name(i, 0)), digest)
            for link in range(1, links):
                path = feature_path(folder, name(i, link))
                index._digests.remember(path, file_state(path.stat()), digest, note)


def name(file: int, link: int) -> str:
    return f"video{file:04d}-{link:04d}"


def measure(arguments: argparse.Namespace) -> None:
    """One training in this process; prints its figures as JSON."""
    if arguments.child == MEMORY:
        bag_sources.IN_MEMORY_BYTES = bag_sources.IN_MEMORY_VIDEOS = 1 << 60
    else:
        bag_sources.IN_MEMORY_VIDEOS = 0
        bag_sources._FREE_BYTES = -(1 << 60)  # linked files: only some of the bags are ever stored
    preset = detector_preset(arguments.detector, "ucf-crime")
    text = {"clip_weights": "random"} if isinstance(preset.model, TextConfig) else {}
    config = TrainConfig(batch_size=arguments.batch, steps=1 << 30, save_every=1 << 30, select_on="none")
    labels = preset.model.classes[:2]
    records = [
        VideoRecord(name(i, link), Path("v"), (labels[i % 2],), "train")
        for i in range(arguments.files)
        for link in range(arguments.links)
    ]
    times, cpu, losses, readers = [time.perf_counter()], [], [], 0

    def on_progress(progress: TrainProgress) -> None:
        nonlocal readers
        children = psutil.Process().children()
        times.append(time.perf_counter())
        cpu.append(sum(sum(process.cpu_times()[:2]) for process in [psutil.Process(), *children]))
        losses.append(progress.losses)
        readers = max(readers, sum(child.memory_info().rss for child in children))
        if progress.step == arguments.steps:
            raise EnoughError

    model = preset.model.model_copy(update=text)
    try:
        train(
            records, arguments.folder / "features", arguments.folder / "out", model, config,
            device=arguments.device, on_progress=on_progress,
        )  # fmt: skip
    except EnoughError:
        steps = np.diff(times)
        figures = [float(steps[1:].mean()), float(np.diff(cpu).mean()), float(steps[0])]
        print(json.dumps([*figures, peak() / 1e6, readers / 1e6, losses]))


def peak() -> int:
    """Bytes at the peak of this process. Not `ru_maxrss`, which the process that started it can raise."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measured(arguments: argparse.Namespace, kind: str) -> list:
    if kind in (FIRST, HEADERS):
        shutil.rmtree(arguments.folder / "out" / DRAFT, ignore_errors=True)
    index, aside = arguments.folder / "features" / INDEX_FILE, arguments.folder / "index"
    if kind == HEADERS:
        index.rename(aside)
    command = [sys.executable, __file__, *sys.argv[1:], "--folder", str(arguments.folder), "--child", kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    if kind == HEADERS:
        aside.rename(index)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--detector", choices=list(DETECTORS), default="dsanet")
    parser.add_argument("--batch", type=int, default=4, help="normal bags, and as many anomalous ones")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--links", type=int, default=1, help="names of each file")
    parser.add_argument("--snippets", type=int, default=256)
    parser.add_argument("--crops", type=int, choices=(1, 5, 10), default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leave out the training from memory")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure(arguments)
        return
    kinds = [*([] if arguments.no_memory else [MEMORY]), HEADERS, FIRST, LATER]
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = Path(folder)
        make_features(
            arguments.folder / "features",
            arguments.files,
            arguments.links,
            arguments.snippets,
            arguments.crops,
        )
        runs: dict[str, list] = {kind: [] for kind in kinds}
        for _ in range(arguments.repeats):
            for kind in kinds:
                runs[kind].append(measured(arguments, kind))
    same = all(run[-1] == runs[FIRST][0][-1] for kind in kinds for run in runs[kind])
    videos = arguments.files * arguments.links
    gigabytes = videos * arguments.crops * arguments.snippets * 1024 / 1e9
    print(f"{arguments.detector}, {arguments.batch} + {arguments.batch} bags, {arguments.steps} steps")
    print(f"{videos} videos with {arguments.crops} crops, {gigabytes:.1f} GB of features")
    print(f"losses of all trainings {'equal' if same else 'DIFFER'}\n")
    print("| bags from | step | against memory | CPU time | first step after | peak memory |")
    print("|---|---|---|---|---|---|")
    base = min(run[0] for run in runs[kinds[0]])
    for kind in kinds:
        step, cpu, first, process, readers = (min(run[i] for run in runs[kind]) for i in range(5))
        ratio = f"{step / base:.2f}" if kinds[0] == MEMORY else "–"
        print(
            f"| {kind} | {step:.2f} s | {ratio} | {cpu:.2f} s | {first:.1f} s | "
            f"{process / 1e3:.2f} GB + {readers / 1e3:.2f} GB |"
        )


if __name__ == "__main__":
    main()
