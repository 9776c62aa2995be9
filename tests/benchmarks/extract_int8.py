"""The image tower with int8 matrix products in its MLPs against the tower in bfloat16, on a CPU.

    python tests/benchmarks/extract_int8.py [--threads 1] [--repeats 6]

A trial that is not in the product. The MLPs' linear layers are torch's static int8 kernels (engine x86): one
scale for each output of the weights and one for each layer's activations, measured on two pictures. The rest
is in bfloat16. Prints milliseconds an image, best of the repeats, which take turns, and the least cosine of
an embedding to that in float32. The weights are random: trained ones have larger outliers.
"""

import argparse
import copy
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from extract.clip import build_clip
from extract.encoder import _sample_pictures
from extract.preprocess import normalise, resize_and_crop
from tests.extract.test_encoder import natural_picture

IMAGES = 4


class Int8Linear(nn.Module):
    """A linear layer that first measures the range of its inputs and outputs, and then computes in int8."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.weight = layer.weight  # CLIP reads its type
        self._inputs = self._outputs = 0.0
        self._packed: object = None

    def pack(self) -> None:
        weight, bias = self.layer.weight.detach().float(), self.layer.bias.detach().float()
        zeros = torch.zeros(len(weight), dtype=torch.long)
        int8 = torch.quantize_per_channel(weight, weight.abs().amax(1) / 127, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(int8, bias)

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is None:
            y = self.layer(x)
            self._inputs = max(self._inputs, float(x.abs().max()))
            self._outputs = max(self._outputs, float(y.abs().max()))
            return y
        x_int8 = torch.quantize_per_tensor(x.float(), self._inputs / 127, 128, torch.quint8)
        y_int8 = torch.ops.quantized.linear(x_int8, self._packed, self._outputs / 127, 128)
        return y_int8.dequantize().to(x.dtype)


def with_int8(tower: nn.Module) -> nn.Module:
    """A copy of a float32 tower in bfloat16, with its MLPs in int8."""
    copied = copy.deepcopy(tower)
    replaced = []
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if name in ("c_fc", "c_proj"):
                replaced.append(Int8Linear(child))
                setattr(module, name, replaced[-1])
    copied(normalise(_sample_pictures(), torch.float32))
    copied.bfloat16()
    for layer in replaced:
        layer.pack()
    return copied


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.quantized.engine = "x86"
    frames = [torch.from_numpy(natural_picture(240, 320, seed))[None] for seed in range(IMAGES)]
    images = normalise(torch.cat([resize_and_crop(frame, 1)[0] for frame in frames]), torch.float32)
    tower = build_clip("random")[0].visual.eval().float()
    towers = {"bf16": copy.deepcopy(tower).bfloat16(), "int8 MLPs": with_int8(tower)}
    exact, low = tower(images), images.bfloat16()
    best = dict.fromkeys(towers, float("inf"))
    for _ in range(options.repeats):
        for name, one in towers.items():
            start = time.perf_counter()
            one(low)
            best[name] = min(best[name], time.perf_counter() - start)
    print("| | ms an image | × bf16 | least cosine to fp32 |\n|---|---|---|---|")
    for name, one in towers.items():
        cosine = float(torch.cosine_similarity(exact, one(low).float(), dim=-1).min())
        print(
            f"| {name} | {1000 * best[name] / IMAGES:.0f} | {best['bf16'] / best[name]:.2f} | {cosine:.5f} |"
        )


if __name__ == "__main__":
    main()
