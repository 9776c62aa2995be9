"""Training and inference on PyTorch's `meta` device, whose tensors have shapes and no values.

What a GPU would have to be waited for (a scalar, the positions of a mask) fails there, and tensors of two
devices in one operation are found on a machine without a card. `tests/dsanet/test_cuda.py` does it on one.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dsanet.training.loop
from dsanet.detectors.base import Detector
from dsanet.detectors.config import InferConfig, TextConfig, TrainConfig
from dsanet.detectors.registry import DETECTORS, build_detector, detector_preset
from dsanet.layers.ragged import RaggedBatch
from dsanet.layers.transfer import HostCopy
from dsanet.training.bags import Batch
from dsanet.training.loop import train_step
from dsanet.training.optim import StableAdamW, build_optimizers
from tests.dsanet.helpers import CLASSES, copies_of_random_clip, padded_bags

META = torch.device("meta")
CASES = [(name, {}) for name in DETECTORS] + [("dsanet", {"variant": "release"})]
LENGTHS = ((32, 32, 32, 32), (32, 1, 17, 9))


@pytest.fixture(scope="module", autouse=True)
def one_random_clip() -> Iterator[None]:
    with copies_of_random_clip():
        yield


class OneDevice(TorchDispatchMode):
    """Fails on an operation whose tensors are on several devices, as a GPU would; single values may be."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.dim()}
        assert len(devices) <= 1, f"{func} with tensors on {sorted(devices)}"
        return func(*args, **(kwargs or {}))


def on_meta(detector: str, changes: dict[str, object]) -> Detector:
    model = detector_preset(detector, "small").model
    text = {"clip_weights": "random"} if isinstance(model, TextConfig) else {}
    values = model.model_dump() | {"classes": CLASSES, "bag_length": 32} | text | changes
    return build_detector(type(model).model_validate(values)).to(META)


def batch_of(lengths: tuple[int, ...]) -> Batch:
    features_BTD, lengths_B = padded_bags(lengths, 32)
    return Batch(features_BTD, lengths_B, torch.eye(4), tuple("abcd"))


@pytest.mark.parametrize(("detector", "changes"), CASES)
def test_a_training_step_reads_the_losses_once_and_nothing_else(
    detector: str, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[Tensor] = []

    class Losses(HostCopy):
        """Stands for the values that `meta` does not have."""

        def __init__(self, tensor: Tensor) -> None:
            assert tensor.device == META
            copies.append(tensor)

        def read(self) -> Tensor:
            return torch.ones(copies[-1].shape)

    monkeypatch.setattr(dsanet.training.loop, "HostCopy", Losses)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # off here, and unknown on `meta`
    net = on_meta(detector, changes)
    # "adam" stands for "adamw", whose fused kernel `meta` lacks.
    config = TrainConfig(optimizer="adam")
    optimizers = build_optimizers(net, config, 1)
    with OneDevice():
        for step, lengths in enumerate(LENGTHS):
            losses = train_step(net, batch_of(lengths), optimizers, config, step)
    assert list(losses) == [*net.terms, "total"]
    assert [copy.shape for copy in copies] == [(len(net.terms) + 1,)] * 2
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    assert len(optimizers[0].optimizer.state) == len(trained)


@pytest.mark.parametrize(("detector", "changes"), CASES)
def test_scores_are_computed_without_reading_values(detector: str, changes: dict[str, object]) -> None:
    net, batch = on_meta(detector, changes).eval(), batch_of(LENGTHS[1])
    config = InferConfig(learned_features=True, normal_distance=detector == "dsanet")
    with torch.inference_mode(), OneDevice():
        output = net(batch.features_BTD.to(META), batch.lengths_B, net.text_embeddings())
        arrays = net.scores(output, batch.lengths_B, config)
    assert {array.device for array in arrays.values()} == {META}


def test_an_update_of_stable_adamw_reads_nothing() -> None:
    parameters = [torch.nn.Parameter(torch.empty(shape, device=META)) for shape in ((3, 2), (4,))]
    optimizer = StableAdamW(parameters, lr=0.1)
    with OneDevice():
        for _ in range(2):
            for parameter in parameters:
                parameter.grad = torch.empty_like(parameter)
            optimizer.step()
    assert {state["step"].item() for state in optimizer.state.values()} == {2.0}


def test_the_checks_find_what_a_gpu_would_wait_for_or_refuse() -> None:
    values_BT, mask_BT = torch.empty(2, 3, device=META), torch.ones(2, 3, dtype=torch.bool)
    for read in (lambda: values_BT.max().item(), lambda: values_BT[mask_BT.to(META)], values_BT.tolist):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read()
    ragged = RaggedBatch(torch.tensor([2, 1]), 3, torch.device("cpu"))  # the wrong device
    with OneDevice(), pytest.raises(AssertionError, match=r"tensors on \['cpu', 'meta'\]"):
        ragged.pack(values_BT)
