"""Context along time at several scales at once: parallel convolutions of width 3 with growing dilation.

B bags, T rows, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DilatedBank(nn.Module):
    """Width-3 convolutions side by side, one a dilation, each to `width_out`; ReLU, concatenated."""

    def __init__(self, width_in: int, width_out: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv1d(width_in, width_out, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, T, width_out × dilations); rows that don't count are 0, before and after."""
        x_BDT = (x_BTD * mask_BT[..., None]).transpose(1, 2)
        scales_BT = torch.cat([branch(x_BDT) for branch in self.branches], dim=1).transpose(1, 2).relu()
        return scales_BT * mask_BT[..., None]
