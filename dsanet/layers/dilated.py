"""Multi-scale temporal context: parallel width-3 convolutions with increasing dilation.

B bags, T snippets, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DilatedBank(nn.Module):
    """One width-3 convolution per dilation, each with `width_out` channels; ReLU, then concatenation."""

    def __init__(self, width_in: int, width_out: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv1d(width_in, width_out, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, T, width_out · dilations). Positions outside `mask_BT` are zero in the input and the output."""
        x_BDT = (x_BTD * mask_BT[..., None]).transpose(1, 2)
        scales_BT = torch.cat([branch(x_BDT) for branch in self.branches], dim=1).transpose(1, 2).relu()
        return scales_BT * mask_BT[..., None]
