"""DSANet against the loop-by-loop rewrite: time of a training step and of inference, and peak memory.

    python tests/benchmarks/dsanet_speed.py [--device cuda --batch 64 --repeats 5]

The rewrite (`tests/dsanet_reference.py`, release variant) does as the field's code: SG-NM runs at
inference too, videos are looped over in the similarity graph and the losses, classes in the text,
attention is a masked T × T matrix, the text reads all 77 positions, padded rows are computed, and
inference takes one video after the other. Each figure is the fastest of some repeats, in a process
of its own; the ratios are what counts.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from dsanet_helpers import padded_bags, random_clip
from dsanet_reference import Reference
from dsanet_reference import losses as reference_losses

from dsanet.config import ModelConfig, preset
from dsanet.infer import belief_modulation
from dsanet.losses import loss_terms, total_loss
from dsanet.model import DSANet
from dsanet.release import release_name
from dsanet.text import TextTower, build_text

WHO = ("rewrite", "release", "paper")
CASES = ("training step", "inference")
FILLS = {"full": 1.0, "a quarter full": 0.25}


def lengths_of(fill: float, videos: int, rows: int) -> list[int]:
    """All full, or scattered evenly around `fill` of the rows."""
    if fill == 1:
        return [rows] * videos
    return torch.linspace(rows * fill / 2, rows * fill * 3 / 2, videos).round().int().tolist()


def build(who: str, device: str) -> tuple[DSANet, Reference]:
    """The model, and the rewrite on the very same parameters."""
    variant = "paper" if who == "paper" else "release"
    config = ModelConfig.model_validate(preset("ucf-crime").model.model_dump() | {"variant": variant})
    torch.manual_seed(0)
    model = DSANet(config, build_text(TextTower(random_clip()), config)).to(device)
    parameters = {
        release_name(name, config): p for name, p in model.named_parameters() if "tower" not in name
    }
    clip = {f"clip_adapter.clipmodel.{name}": p.to(device) for name, p in random_clip().state_dict().items()}
    reference = Reference(
        parameters | clip, config.texts, config.window, config.adapter_layers, config.adapter_weight, True
    )
    return model, reference


def training_step(who: str, device: str, lengths: list[int]) -> Callable[[], None]:
    model, reference = build(who, device)
    features, lengths_B = (x.to(device) for x in padded_bags(lengths, model.config.bag_length))
    classes = len(model.config.classes)
    labels = torch.eye(classes, device=device)[[i % classes for i in range(len(lengths))]]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6, fused=True)
    model.train()

    def step() -> None:
        if who == "rewrite":
            terms = reference_losses(reference.forward(features, lengths), labels, lengths, release=True)
        else:
            terms = loss_terms(model(features, lengths_B), labels, lengths_B, model.config.rules)
        optimizer.zero_grad()
        total_loss(terms, 1.1).backward()
        optimizer.step()

    return step


def inference(who: str, device: str, lengths: list[int]) -> Callable[[], None]:
    model, reference = build(who, device)
    features, lengths_B = (x.to(device) for x in padded_bags(lengths, model.config.bag_length))
    model.eval()
    with torch.inference_mode():
        text_CD = model.text_embeddings()  # both know the text: neither trains now

    @torch.inference_mode()
    def run() -> None:
        if who == "rewrite":
            reference.text = lambda: text_CD
            for b, n in enumerate(lengths):
                out = reference.forward(features[b : b + 1], [n])
                belief_modulation(out["anomaly"], out["classes"], 5.0)
        else:
            output = model(features, lengths_B, text_CD)
            belief_modulation(output.anomaly_BT, output.classes_BTC, 5.0)

    return run


def measure(who: str, case: str, fill: str, device: str, videos: int, repeats: int) -> tuple[float, float]:
    """Seconds of the fastest repeat, and MiB at the peak (of the process on a CPU, of tensors on a GPU)."""
    make = training_step if case == "training step" else inference
    run = make(who, device, lengths_of(FILLS[fill], videos, 256))
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    if device == "cuda":
        return min(times[1:]), torch.cuda.max_memory_allocated() / 2**20
    return min(times[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=8, help="bags a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    settings = (arguments.device, 2 * arguments.batch, arguments.repeats)
    if arguments.one:
        print(json.dumps(measure(*arguments.one, *settings)))
        return
    print(f"{arguments.device}, {settings[1]} videos, float32")
    print("| | rewrite | release variant | paper variant |\n|---|---|---|---|")
    for case in CASES:
        for fill in FILLS:
            results = []
            for who in WHO:
                command = [sys.executable, *sys.argv, "--one", who, case, fill]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                results.append(json.loads(output.splitlines()[-1]))
            cells = [
                f"{seconds:.2f} s, {memory:.0f} MiB ({results[0][0] / seconds:.1f}×)"
                for seconds, memory in results
            ]
            print(f"| {case}, bags {fill} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
