"""Hierarchical Belief Modulation (DSANet, section 3.5): one class distribution from both branches' outputs.

B videos, T snippets, C classes (0 = normal).
"""

import torch
from torch import Tensor


def belief_modulation(anomaly_logits_BT: Tensor, classes_BTC: Tensor, beta: float) -> Tensor:
    """(B, T, C) float32 class probabilities that sum to 1 along C.

    With p = σ(S_det / β), P(normal) = 1 − p, and p is distributed over the anomaly classes by
    softmax(S_align / β) among them (DSANet, section 3.5). 1 − P(normal) is monotone in S_det, so it has the
    same AUC and AP as S_det.

    Args:
        anomaly_logits_BT: Logits S_det of the detection branch.
        classes_BTC: Alignment map S_align: cosine / τ.
        beta: Temperature β > 0.

    Examples:
        >>> import torch
        >>> from dsanet import belief_modulation
        >>> belief_modulation(torch.zeros(1, 1), torch.zeros(1, 1, 3), beta=1.0)
        tensor([[[0.5000, 0.2500, 0.2500]]])
    """
    logits_BT = anomaly_logits_BT.float() / beta
    share_BTC = (classes_BTC.float()[..., 1:] / beta).softmax(-1)
    anomalous_BTC = torch.sigmoid(logits_BT)[..., None] * share_BTC
    return torch.cat([torch.sigmoid(-logits_BT)[..., None], anomalous_BTC], dim=-1)
