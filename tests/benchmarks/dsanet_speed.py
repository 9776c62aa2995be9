"""DSANet against the loop-by-loop rewrite: time of a training step and of inference, and peak memory.

    python tests/benchmarks/dsanet_speed.py [--threads 1] [--device cuda --batch 64] [--repeats 5]

The rewrite (`tests/dsanet/reference.py`, release variant) does as the field's code: SG-NM runs at
inference too, videos are looped over in the similarity graph and the losses, classes in the text,
attention is a masked T × T matrix, the text reads all 77 positions, padded rows are computed,
inference takes one video after the other, and AdamW is PyTorch's default one. On the other side stands
what the package itself calls: `train_step()` with its optimiser, and batches of the default size.

Each side is a process of its own and holds what it needs: the field's code all of CLIP, the package its text
tower in training and, as from a checkpoint, the constant class embeddings at inference. The sides take
turns, repeat by repeat, so that whatever else the machine does meets all of them. A figure is the fastest
repeat: wall time and, on a CPU, the process's CPU time, which other processes change less, with the peak of
memory while the repeats ran (Linux only). The ratios are what counts.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dsanet.detectors.config import InferConfig, TrainConfig
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.dsanet.model import DSANet
from dsanet.layers.belief import belief_modulation
from dsanet.layers.clip_text import FixedText, TextTower
from dsanet.released_weights import release_name
from dsanet.training.bags import Batch
from dsanet.training.loop import train_step
from dsanet.training.optim import build_optimizers
from tests.dsanet.helpers import padded_bags, random_clip
from tests.dsanet.reference import Reference
from tests.dsanet.reference import losses as reference_losses

WHO = ("rewrite", "release", "paper")
FILLS = {"full": 1.0, "a quarter full": 0.25}
TRAIN, INFER = TrainConfig(lr=1e-6, precision="fp32"), InferConfig()


class Figures(NamedTuple):
    wall: float
    cpu: float
    memory: float
    """MiB at the peak: of the process on a CPU, of tensors on a GPU."""


def lengths_of(fill: float, videos: int, rows: int) -> list[int]:
    """All full, or scattered evenly around `fill` of the rows."""
    if fill == 1:
        return [rows] * videos
    return torch.linspace(rows * fill / 2, rows * fill * 3 / 2, videos).round().int().tolist()


def build(who: str, device: str) -> DSANet:
    variant = "paper" if who == "paper" else "release"
    config = ModelConfig.model_validate(
        ModelConfig.preset("ucf-crime").model.model_dump() | {"variant": variant}
    )
    torch.manual_seed(0)
    return DSANet(config, DSANet.text_module(config, TextTower(random_clip()))).to(device)


def rewrite_of(model: DSANet, device: str) -> Reference:
    """The rewrite on the model's own parameters, and on all of CLIP's."""
    config = model.config
    weights = {
        f"clip_adapter.clipmodel.{name}": p.to(device) for name, p in random_clip().state_dict().items()
    }
    weights |= {release_name(name, config): p for name, p in model.named_parameters() if "tower" not in name}
    return Reference(
        weights, config.texts, config.window, config.adapter_layers, config.adapter_weight, release=True
    )


def training_step(who: str, device: str, lengths: list[int]) -> Callable[[], object]:
    model = build(who, device)
    features, lengths_B = padded_bags(lengths, model.config.bag_length)
    features, classes = features.to(device), len(model.config.classes)
    labels = torch.eye(classes)[[i % classes for i in range(len(lengths))]]
    if who != "rewrite":
        batch = Batch(features, lengths_B, labels, ("",) * len(lengths))
        optimizers = build_optimizers(model, TRAIN, steps_per_epoch=100)
        return lambda: train_step(model, batch, optimizers, TRAIN, 0)
    reference, labels = rewrite_of(model, device), labels.to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=TRAIN.lr)

    def step() -> None:
        terms = reference_losses(reference.forward(features, lengths), labels, lengths, release=True)
        optimizer.zero_grad()
        model.total_loss(terms, TRAIN).backward()
        optimizer.step()

    return step


def inference(who: str, device: str, lengths: list[int]) -> Callable[[], object]:
    model = build(who, device)
    features, lengths_B = padded_bags(lengths, model.config.bag_length)
    features = features.to(device)
    model.eval()
    with torch.inference_mode():
        text_CD = model.text_embeddings()  # both know the text: neither trains now
    if who == "rewrite":
        reference = rewrite_of(model, device)
        reference.text = lambda: text_CD
    else:
        model.text = FixedText(text_CD)

    @torch.inference_mode()
    def rewrite() -> None:
        for b, n in enumerate(lengths):
            out = reference.forward(features[b : b + 1], [n])
            belief_modulation(out["anomaly"], out["classes"], INFER.beta)

    @torch.inference_mode()
    def package() -> None:
        batches = zip(features.split(INFER.batch_size), lengths_B.split(INFER.batch_size), strict=True)
        for windows, rows in batches:
            model.scores(model(windows, rows, text_CD), rows, INFER)

    return rewrite if who == "rewrite" else package


CASES = {"training step": training_step, "inference": inference}


def serve(who: str, case: str, fill: str, device: str, videos: int) -> None:
    """One repeat for each line of the standard input."""
    run = CASES[case](who, device, lengths_of(FILLS[fill], videos, 256))
    random_clip.cache_clear()
    # The peak so far, of building, is forgotten.
    Path("/proc/self/clear_refs").write_text("5")
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        if device != "cpu":
            torch.cuda.synchronize(device)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps([wall, cpu, peak_memory(device)]), flush=True)


def peak_memory(device: str) -> float:
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    return int(peak[1]) / 2**10


def compare(case: str, fill: str, repeats: int) -> list[Figures]:
    """The best of each side; the first repeat warms up."""
    sides = [
        subprocess.Popen(
            [sys.executable, *sys.argv, "--serve", who, case, fill],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in WHO
    ]
    rounds: list[list[Figures]] = []
    for _ in range(repeats + 1):
        rounds.append([_ask(side) for side in sides])
    for side in sides:
        side.communicate()
    return [
        Figures(min(f.wall for f in own), min(f.cpu for f in own), own[-1].memory)
        for own in zip(*rounds[1:], strict=True)
    ]


def _ask(side: subprocess.Popen[str]) -> Figures:
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write("\n")
    side.stdin.flush()
    return Figures(*json.loads(side.stdout.readline()))


def cell(own: Figures, rewrite: Figures, on_cpu: bool) -> str:
    cpu = f", {own.cpu:.2f} s CPU" if on_cpu else ""
    cpu_ratio = f", CPU {rewrite.cpu / own.cpu:.1f}×" if on_cpu else ""
    return f"{own.wall:.2f} s{cpu}, {own.memory:.0f} MiB ({rewrite.wall / own.wall:.1f}×{cpu_ratio})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=8, help="bags a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.serve:
        serve(*arguments.serve, arguments.device, 2 * arguments.batch)
        return
    print(f"{arguments.device}, {2 * arguments.batch} videos, {arguments.threads} threads, float32")
    print("| | rewrite | release variant | paper variant |\n|---|---|---|---|")
    for case in CASES:
        for fill in FILLS:
            figures = compare(case, fill, arguments.repeats)
            cells = [cell(own, figures[0], arguments.device == "cpu") for own in figures]
            print(f"| {case}, bags {fill} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
