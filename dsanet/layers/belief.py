"""Hierarchical Belief Modulation (DSANet, section 3.5): one distribution from an anomaly score and classes.

B videos, T rows, C classes (0 = normal).
"""

import torch
from torch import Tensor


def belief_modulation(anomaly_logits_BT: Tensor, classes_BTC: Tensor, beta: float) -> Tensor:
    """(B, T, C) float32 probabilities that sum to 1.

    p = σ(S_det / β) is spread over the anomaly classes as softmax(S_align / β) among them would;
    P(normal) = 1 − p. Monotone in S_det: an AUC of 1 − P(normal) is that of S_det.
    """
    logits_BT = anomaly_logits_BT.float() / beta
    share_BTC = (classes_BTC.float()[..., 1:] / beta).softmax(-1)
    anomalous_BTC = torch.sigmoid(logits_BT)[..., None] * share_BTC
    return torch.cat([torch.sigmoid(-logits_BT)[..., None], anomalous_BTC], dim=-1)
