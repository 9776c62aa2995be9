"""The seven loss terms, one function each, and the one place that weighs them (eq. 11).

The release differs in `Variant.detection_in_log_space`, `label_smoothing`, `background_floor` and
`mean_separation`.
Everything in float32. `labels_BC` are multi-hot, column 0 = normal.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dsanet.detectors.dsanet.config import Variant, variant_rules
from dsanet.layers.ragged import topk, topk_mean

if TYPE_CHECKING:
    from dsanet.detectors.dsanet.model import DSANetOutput

TERMS = ("det", "align", "consist", "compact", "event", "bkg", "sep")


def loss_terms(
    output: "DSANetOutput", labels_BC: Tensor, lengths_B: Tensor, variant: str | Variant
) -> dict[str, Tensor]:
    """The terms by name, scalars. A term whose branch did not run (switched off, or in eval mode) is 0."""
    rules = variant_rules(variant)
    labels_BC = labels_BC.float()
    zero = output.anomaly_BT.new_zeros(())
    terms = {
        "det": detection_loss(output.anomaly_BT, labels_BC, lengths_B, rules.detection_in_log_space),
        "align": alignment_loss(output.classes_BTC, labels_BC, lengths_B),
        "consist": zero,
        "compact": zero if output.compact is None else output.compact,
        "event": zero,
        "bkg": zero,
        "sep": separation_loss(output.text_CD, rules.mean_separation),
    }
    if output.scores_rec_BT is not None:
        terms["consist"] = consistency_loss(output.anomaly_BT, output.scores_rec_BT, lengths_B)
    if output.event_BC is not None and output.background_BC is not None:
        background_BC = background_target(labels_BC, rules.background_floor)
        terms["event"] = soft_cross_entropy(output.event_BC, labels_BC, rules.label_smoothing)
        terms["bkg"] = soft_cross_entropy(output.background_BC, background_BC, rules.label_smoothing)
    return terms


def total_loss(terms: Mapping[str, Tensor], align_weight: float) -> Tensor:
    """Eq. (11): L_det + λ·L_align + the other terms."""
    return torch.stack([align_weight * t if name == "align" else t for name, t in terms.items()]).sum()


def detection_loss(
    anomaly_BT: Tensor, labels_BC: Tensor, lengths_B: Tensor, in_log_space: bool = True
) -> Tensor:
    """L_det (eq. 1): binary cross-entropy of the top-k mean probability; anomalous is what is not normal.

    In log space it is the same number, but keeps its gradient where a sigmoid has reached 0 or 1 in float32.
    """
    anomalous_B = 1 - labels_BC[:, 0]
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
    """L_align (eq. 2): cross-entropy of the alignment map's top-k means (already over τ) and the labels."""
    return soft_cross_entropy(topk_mean(classes_BTC, lengths_B), labels_BC, 0.0)


def consistency_loss(anomaly_BT: Tensor, scores_rec_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """L_consist (eq. 4): mean over all true rows of (σ(S_det) − S_rec)²."""
    true_BT = torch.arange(anomaly_BT.shape[1], device=lengths_B.device) < lengths_B[:, None]
    squared_BT = (torch.sigmoid(anomaly_BT) - scores_rec_BT).square()
    return (squared_BT * true_BT).sum() / lengths_B.sum()


def soft_cross_entropy(logits_BC: Tensor, target_BC: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against targets made to sum to 1, then smoothed (eq. 2, 8, 9); mean over the batch."""
    target_BC = target_BC / target_BC.sum(1, keepdim=True)
    return F.cross_entropy(logits_BC, target_BC, label_smoothing=smoothing)


def background_target(labels_BC: Tensor, floor: float) -> Tensor:
    """(B, C): 1 for normal, `floor` for the rest, whatever the video's label (eq. 9)."""
    target_BC = torch.full_like(labels_BC, floor)
    target_BC[:, 0] = 1
    return target_BC


def separation_loss(text_CD: Tensor, mean: bool) -> Tensor:
    """L_sep (eq. 6): |cosine| of normal to each anomaly class, summed (or averaged)."""
    cosine_C = F.cosine_similarity(text_CD[:1], text_CD[1:]).abs()
    return cosine_C.mean() if mean else cosine_C.sum()
