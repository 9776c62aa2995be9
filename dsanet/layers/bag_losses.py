"""Pieces of loss terms over bags that several detectors share.

B bags, T rows, C classes (0 = normal).
"""

from torch import Tensor


def anomalous_and_normal(values_B: Tensor, labels_BC: Tensor) -> tuple[Tensor, Tensor]:
    """The values of the batch's anomalous bags, and of its normal ones."""
    normal_B = labels_BC[:, 0] > 0
    return values_B[~normal_B], values_B[normal_B]


def smoothness(scores_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum of the squared differences of neighbours, both of them rows that count."""
    return ((scores_BT[:, 1:] - scores_BT[:, :-1]).square() * mask_BT[:, 1:]).sum()
