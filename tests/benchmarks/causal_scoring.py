"""What a moving window costs a snippet and camera: recomputed fully, against with the work that it shares.

    python tests/benchmarks/causal_scoring.py [--cameras 1 8] [--snippets 20] [--detectors dsanet]

Every detector has random weights, the architecture of its source for UCF-Crime, and windows of 256 snippets
that are full: the state of a camera after some minutes. The sides are `CausalScorer` with and without its
`reuse`;
a call scores one new snippet of every camera. They take turns, repeat by repeat; a figure is the fastest
repeat. `batched` computes the windows of all cameras at once, which a CPU does not (`dsanet.causal.scorer`).
"""

import argparse
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dsanet.detectors.base
from dsanet.causal.scorer import CausalScorer, CausalStream
from dsanet.checkpoint import Checkpoint, CheckpointInfo
from dsanet.detectors.config import TextConfig
from dsanet.detectors.registry import DETECTORS, build_detector, detector_preset
from extract.config import EncoderFingerprint, ExtractConfig
from tests.dsanet.helpers import random_clip

ENCODER = EncoderFingerprint(
    architecture="synthetic", weights_digest="random", preprocessing="none", precision="fp32"
)


def checkpoint(detector: str, device: str) -> Checkpoint:
    config = detector_preset(detector, "ucf-crime").model
    if isinstance(config, TextConfig):
        config = config.model_copy(update={"clip_weights": "random"})
    torch.manual_seed(0)
    model = build_detector(config).eval().to(device)
    return Checkpoint(model, CheckpointInfo(model=config, encoder=ENCODER, extract=ExtractConfig()))


def full_cameras(scorer: CausalScorer, count: int) -> list[CausalStream]:
    """Cameras whose windows have moved; the snippets before are not scored."""
    random = np.random.default_rng(0)
    cameras = [scorer.stream() for _ in range(count)]
    with torch.inference_mode():
        for camera in cameras:
            for _ in scorer._new_windows(camera, random.normal(size=(300, 1, 512)).astype(np.float32) * 0.3):
                pass
    return cameras


def per_snippet(scorer: CausalScorer, cameras: list[CausalStream], snippets: int) -> float:
    """Milliseconds a snippet and camera."""
    arrivals = np.random.default_rng(1).normal(size=(snippets, len(cameras), 1, 512)) * 0.3
    began = time.perf_counter()
    for features in arrivals:
        scorer.push(list(zip(cameras, features, strict=True)))
    return 1e3 * (time.perf_counter() - began) / snippets / len(cameras)


def measure(detector: str, device: str, cameras: int, snippets: int, repeats: int) -> dict[str, float]:
    made = checkpoint(detector, device)
    sides = {"full": CausalScorer(made, reuse=False), "reuse": CausalScorer(made)}
    if cameras > 1:
        sides["batched"] = CausalScorer(made)
        sides["batched"]._batch_size = cameras
    states = {side: full_cameras(scorer, cameras) for side, scorer in sides.items()}
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats):
        for side, scorer in sides.items():
            best[side] = min(best[side], per_snippet(scorer, states[side], snippets))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--snippets", type=int, default=20, help="new snippets of each camera in a repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clip = cache(lambda weights: (random_clip(), "random"))
    dsanet.detectors.base.build_clip = clip  # type: ignore[assignment]
    print(f"ms a snippet and camera, {args.device}, {args.threads} threads, torch {torch.__version__}")
    print(f"{'detector':<12}{'cameras':>8}{'full':>10}{'reuse':>10}{'ratio':>8}{'batched':>10}")
    for detector in args.detectors:
        for cameras in args.cameras:
            ms = measure(detector, args.device, cameras, args.snippets, args.repeats)
            batched = f"{ms['batched']:>10.2f}" if "batched" in ms else ""
            ratio = ms["full"] / ms["reuse"]
            row = f"{detector:<12}{cameras:>8}{ms['full']:>10.2f}{ms['reuse']:>10.2f}{ratio:>8.2f}{batched}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
