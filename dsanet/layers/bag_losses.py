"""Loss terms over bags that several detectors share. Everything is computed in float32.

B bags, T snippets, C classes (0 = normal), D width. `labels_BC` are multi-hot floats, column 0 = normal;
a bag is anomalous if it is not normal. Labels and `lengths_B` are best on the CPU (`layers.ragged`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dsanet.layers.ragged import topk, topk_mean
from dsanet.layers.transfer import to_device


def detection_loss(
    anomaly_BT: Tensor, labels_BC: Tensor, lengths_B: Tensor, in_log_space: bool = True
) -> Tensor:
    """L_det (DSANet, eq. 1): binary cross-entropy of the top-k mean of the anomaly probabilities.

    `anomaly_BT` are logits. The log-space form has the same value but keeps a gradient where a sigmoid
    saturates at 0 or 1 in float32.
    """
    anomalous_B = 1 - to_device(labels_BC, anomaly_BT.device)[:, 0]
    if not in_log_space:
        video_B = topk_mean(torch.sigmoid(anomaly_BT)[..., None], lengths_B).squeeze(-1)
        return F.binary_cross_entropy(video_B, anomalous_B)
    ranked_BK1, used_BK = topk(anomaly_BT.float()[..., None], lengths_B)
    ranked_BK = ranked_BK1.squeeze(-1)
    log_k_B = used_BK.sum(1).log()
    log_p_B, log_q_B = (
        F.logsigmoid(logits_BK).masked_fill(~used_BK, float("-inf")).logsumexp(1) - log_k_B
        for logits_BK in (ranked_BK, -ranked_BK)
    )
    return -(anomalous_B * log_p_B + (1 - anomalous_B) * log_q_B).mean()


def alignment_loss(classes_BTC: Tensor, labels_BC: Tensor, lengths_B: Tensor) -> Tensor:
    """L_align (DSANet, eq. 2): cross-entropy of the top-k means of the alignment map (cosine / τ)."""
    return soft_cross_entropy(topk_mean(classes_BTC, lengths_B), labels_BC, 0.0)


def soft_cross_entropy(logits_BC: Tensor, target_BC: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy against targets normalised to sum 1, then smoothed (DSANet, eq. 2, 8, 9)."""
    target_BC = to_device(target_BC / target_BC.sum(1, keepdim=True), logits_BC.device)
    return F.cross_entropy(logits_BC, target_BC, label_smoothing=smoothing)


def separation_loss(text_CD: Tensor, mean: bool) -> Tensor:
    """L_sep (DSANet, eq. 6): |cosine| between the normal class and each anomaly class, summed or averaged."""
    cosine_C = F.cosine_similarity(text_CD[:1], text_CD[1:]).abs()
    return cosine_C.mean() if mean else cosine_C.sum()


def anomalous_and_normal(values_B: Tensor, labels_BC: Tensor) -> tuple[Tensor, Tensor]:
    """`values_B` of the anomalous bags, and of the normal bags."""
    normal_B = labels_BC[:, 0].cpu() > 0
    anomalous_A, normal_N = (
        values_B[to_device(chosen_B.nonzero().squeeze(1), values_B.device)]
        for chosen_B in (~normal_B, normal_B)
    )
    return anomalous_A, normal_N


def smoothness(scores_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum of the squared differences of adjacent scores; both snippets must be valid (`mask_BT`)."""
    return ((scores_BT[:, 1:] - scores_BT[:, :-1]).square() * mask_BT[:, 1:]).sum()
