"""Every detector in bfloat16 and with `torch.compile` against float32: training step, inference, scores.

    python tests/benchmarks/detector_precision.py [--device cpu] [--batch 4] [--repeats 3] [--threads 2]
        [--detectors dsanet vadclip] [--compile]

Models have their source's sizes for UCF-Crime and random weights. A training step is `train_step()` on
`--batch` bags a side, half of them full and half of other lengths in each repeat; inference is a batch of 8
windows with a last one of another length. bf16 is autocast, as `train.precision=bf16` does it. The ways take
turns, repeat by repeat; a figure is the median of the repeats, a ratio the median of their ratios to float32:
of wall time on a GPU, of the process's time on a CPU, which other programs change less (least with
`--threads 1`). `warm-up` is the wall time that the first three calls of the compiled model take beyond those
of the other: it is compiled for the first lengths, and again for all when they differ.
"""

import argparse
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dsanet.detectors.base
from dsanet.detectors.base import Detector
from dsanet.detectors.config import InferConfig, TextConfig
from dsanet.detectors.registry import DETECTORS, build_detector, detector_preset
from dsanet.layers import linear
from dsanet.training.bags import Batch
from dsanet.training.loop import train_step
from dsanet.training.optim import build_optimizers
from tests.dsanet.helpers import padded_bags, random_clip

WARM_UP = 3
WINDOWS = 8
Run = Callable[[Tensor, Tensor], object]
"""Takes features on the device, and lengths on the CPU."""


def build(detector: str, device: str) -> Detector:
    model = detector_preset(detector, "ucf-crime").model
    text = {"clip_weights": "random"} if isinstance(model, TextConfig) else {}
    torch.manual_seed(0)
    return build_detector(model.model_copy(update=text)).to(device)


def training(net: Detector, precision: str) -> Run:
    """A training step."""
    config = detector_preset(net.config.detector, "ucf-crime").train
    config = config.model_copy(update={"precision": precision, "lr": 1e-6})
    optimizers, classes = build_optimizers(net, config, 100), len(net.config.classes)

    def step(features_BTD: Tensor, lengths_B: Tensor) -> object:
        labels_BC = torch.eye(classes)[[0, 1] * (len(lengths_B) // 2)]
        batch = Batch(features_BTD, lengths_B, labels_BC, ("",) * len(lengths_B))
        return train_step(net, batch, optimizers, config, 0)

    return step


def inference(net: Detector, precision: str) -> Run:
    """The scores of a batch of windows, on the CPU."""
    net.eval()
    with torch.inference_mode():
        text_CD = net.text_embeddings()

    @torch.inference_mode()
    def score(features_BTD: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        with torch.autocast(features_BTD.device.type, torch.bfloat16, enabled=precision == "bf16"):
            output = net(features_BTD, lengths_B, text_CD)
        arrays = net.scores(output, lengths_B, InferConfig())
        return {name: array.float().cpu() for name, array in arrays.items()}

    return score


def bags(repeat: int, count: int, longest: int, segmented: bool) -> list[int]:
    """Lengths of bags: full ones and others in turns, the others different in each repeat."""
    if segmented:
        return [longest] * count
    others = np.random.default_rng(repeat).integers(1, longest + 1, count)
    return [longest if i % 4 < 2 else int(others[i]) for i in range(count)]


def windows(repeat: int, longest: int) -> list[int]:
    """Lengths of the windows of a long video."""
    return [longest] * (WINDOWS - 1) + [1 + 37 * repeat % longest]


def seconds(run: Run, inputs: tuple[Tensor, Tensor], device: str, clock: Callable[[], float]) -> float:
    started = clock()
    run(*inputs)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return clock() - started


def measure(
    ways: dict[str, Run], lengths: Callable[[int], list[int]], rows: int, repeats: int, device: str
) -> list[str]:
    """Table cells: time in float32, and the ratio of every other way."""

    def inputs(repeat: int) -> tuple[Tensor, Tensor]:
        features_BTD, lengths_B = padded_bags(lengths(repeat), rows)
        return features_BTD.to(device), lengths_B

    warm_up = {
        name: sum(seconds(run, inputs(i), device, time.perf_counter) for i in range(WARM_UP))
        for name, run in ways.items()
    }
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    times = np.array(
        [
            [seconds(run, inputs(i), device, clock) for run in ways.values()]
            for i in range(WARM_UP, WARM_UP + repeats)
        ]
    )
    _, *ratios = np.median(times[:, :1] / times, axis=0)
    cells = [f"{np.median(times[:, 0]) * 1000:.1f} ms", *(f"{ratio:.2f}×" for ratio in ratios)]
    if "compiled" in ways:
        cells[-1] += f", warm-up {warm_up['compiled'] - warm_up['fp32']:.0f} s"
    return cells


def without_onednn(run: Run) -> Run:
    """The compiler refuses the operator of `layers.linear` on a CPU; it calls oneDNN itself where it pays."""

    def compiled(features_BTD: Tensor, lengths_B: Tensor) -> object:
        with patch.object(linear, "HAS_ONEDNN", False):
            return run(features_BTD, lengths_B)

    return compiled


def ways_of(
    detector: str, device: str, make: Callable[[Detector, str], Run], compiled: bool
) -> dict[str, Run]:
    ways = {precision: make(build(detector, device), precision) for precision in ("fp32", "bf16")}
    if compiled:
        net = build(detector, device)
        net.compile()
        ways["compiled"] = without_onednn(make(net, "fp32"))
    return ways


def row(detector: str, options: argparse.Namespace) -> list[str]:
    model, device, repeats = detector_preset(detector, "ucf-crime").model, options.device, options.repeats
    ways = ways_of(detector, device, training, options.compile)
    lengths = partial(bags, count=2 * options.batch, longest=model.bag_length, segmented=model.segmented)
    cells = measure(ways, lengths, model.bag_length, repeats, device)
    ways = ways_of(detector, device, inference, options.compile)
    lengths = partial(windows, longest=model.window_rows)
    cells += measure(ways, lengths, model.window_rows, repeats, device)
    features_BTD, lengths_B = padded_bags([model.window_rows], model.window_rows)
    exact, rounded = (ways[name](features_BTD.to(device), lengths_B) for name in ("fp32", "bf16"))
    return [*cells, f"{max((exact[name] - rounded[name]).abs().max() for name in exact):.4f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4, help="bags a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dsanet.detectors.base.build_clip = lambda weights: (deepcopy(random_clip()), "random")
    compiled = [", compiled"] * options.compile
    parts = [part + way for part in ("training step", "inference") for way in (", fp32", ", bf16", *compiled)]
    print(f"{options.device}, {2 * options.batch} bags, {WINDOWS} windows, {options.threads} threads")
    print(f"| | {' | '.join(parts)} | largest difference of a score in bf16 |")
    print("|---" * (len(parts) + 2) + "|")
    for detector in options.detectors:
        print(f"| {detector} | {' | '.join(row(detector, options))} |", flush=True)


if __name__ == "__main__":
    main()
