"""One of two processes that compute training steps together, and alone for comparison.

Run by `test_several_devices.py`: `python -m tests.dsanet.two_processes RANK FOLDER`. The first process writes
`FOLDER/results.json`: for each case the losses and the largest difference of gradients, weights and buffers
from those of one process with the whole batch.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

import dsanet.detectors.base
from dsanet.detectors.base import Detector
from dsanet.detectors.config import TextConfig, TrainConfig
from dsanet.detectors.registry import DETECTORS, build_detector, detector_preset
from dsanet.layers.split_batch import Rows
from dsanet.training.bags import Batch
from dsanet.training.group import Group, joined_group, stay_on_this_machine
from dsanet.training.loop import train_step
from dsanet.training.optim import build_optimizers
from dsanet.training.split_step import require_splittable
from tests.dsanet.helpers import CLASSES, padded_bags, random_clip

CPU = torch.device("cpu")
TRAIN = TrainConfig(lr=1e-3, optimizer="adagrad")
FIVE_BAGS, ONE_BAG = (32, 1, 17, 9, 30), (32,)
CASES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    **{name: (name, {}, FIVE_BAGS) for name in DETECTORS},
    "dsanet, release": ("dsanet", {"variant": "release"}, FIVE_BAGS),
    "dsanet, learned context": ("dsanet", {"text_tuning": "learned", "context_tokens": 2}, (32, 5, 17)),
    "clip-tsa, one bag": ("clip-tsa", {}, ONE_BAG),
    "vla-gated, one bag": ("vla-gated", {}, ONE_BAG),
    "dsanet, one bag": ("dsanet", {}, ONE_BAG),
}
"""Detector, changes of its settings, lengths of the bags."""


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    clip = random_clip()
    clip.transformer.resblocks = clip.transformer.resblocks[:3]  # for speed
    dsanet.detectors.base.build_clip = lambda weights: (clip, weights)
    stay_on_this_machine()
    with joined_group(CPU, rank, 2, 2, (folder / "rendezvous").as_uri()) as group:
        results = {name: compare(group, *case) for name, case in CASES.items()}
    if group.first:
        (folder / "results.json").write_text(json.dumps(results))


def compare(group: Group, detector: str, changes: dict[str, Any], lengths: tuple[int, ...]) -> dict[str, Any]:
    """Two steps of both processes together against two of the first one alone."""
    torch.manual_seed(0)
    together, alone = (a_detector(detector, changes) for _ in range(2))
    group.share_model(together)
    require_splittable(together)
    alone.load_state_dict(together.state_dict())
    state = torch.get_rng_state()
    losses, gradients = train(together, lengths, group)
    if not group.first:
        return {}
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    expected, expected_gradients = train(alone, lengths, None)
    return {
        "losses": losses,
        "expected": expected,
        "gradients": largest_difference(gradients, expected_gradients),
        "statistics": largest_difference(statistics(together), statistics(alone)),
        "same random state": torch.equal(after, torch.get_rng_state()),
    }


def a_detector(detector: str, changes: dict[str, Any]) -> Detector:
    model = detector_preset(detector, "small").model
    text = {"clip_weights": "random"} if isinstance(model, TextConfig) else {}
    values = model.model_dump() | {"classes": CLASSES, "bag_length": 32} | text | changes
    return build_detector(type(model).model_validate(values))


def train(
    net: Detector, lengths: tuple[int, ...], group: Group | None
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The losses of two steps, and the gradients of the first one."""
    features_BTD, lengths_B = padded_bags(lengths, 32)
    labels_BC = torch.eye(4)[torch.arange(len(lengths)) % 4]
    rows = None if group is None else Rows.of(len(lengths), group.rank, group.size)
    own_BTD = features_BTD if rows is None else features_BTD[rows.computed]
    batch = Batch(own_BTD, lengths_B, labels_BC, tuple(map(str, lengths)), rows)
    optimizers = build_optimizers(net, TRAIN, 1)
    losses = [train_step(net, batch, optimizers, TRAIN, 0, group)]
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return [*losses, train_step(net, batch, optimizers, TRAIN, 1, group)], gradients


def statistics(net: Detector) -> dict[str, torch.Tensor]:
    """The statistics of batch norms."""
    return {name: buffer for name, buffer in net.named_buffers() if "running" in name}


def largest_difference(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """Relative to the largest value of each tensor, or to a thousandth of the largest value of all."""
    assert some.keys() == others.keys()
    largest = max((float(tensor.abs().max()) for tensor in others.values()), default=0.0)
    return max(
        (
            float((some[name] - expected).abs().max()) / max(float(expected.abs().max()), largest / 1000)
            for name, expected in others.items()
        ),
        default=0.0,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
