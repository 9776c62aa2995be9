"""DSANet's seven loss terms: L_det (eq. 1), L_align (2), L_compact (3), L_consist (4), L_sep (6), L_event (8)
and L_bkg (9). Eq. (11) weights L_align with λ and the others with 1.

The release differs in `Variant.detection_in_log_space`, `label_smoothing`, `background_floor` and
`mean_separation`. Everything is computed in float32.

B videos, T snippets, C classes (0 = normal). `labels_BC` are multi-hot, column 0 = normal.
"""

import torch
from torch import Tensor

from dsanet.detectors.dsanet.output import DSANetOutput
from dsanet.detectors.dsanet.variant import Variant, variant_rules
from dsanet.layers.bag_losses import alignment_loss, detection_loss, separation_loss, soft_cross_entropy
from dsanet.layers.ragged import prefix_mask

TERMS = ("det", "align", "consist", "compact", "event", "bkg", "sep")


def loss_terms(
    output: DSANetOutput, labels_BC: Tensor, lengths_B: Tensor, variant: str | Variant
) -> dict[str, Tensor]:
    """DSANet's unweighted loss terms by name, scalars.

    A term is 0 if its branch did not run: switched off by the config, or SG-NM's terms in eval mode.

    Args:
        output: The result of `DSANet.forward` for the bags.
        labels_BC: Multi-hot labels of the bags, column 0 = normal; on the CPU.
        lengths_B: Number of valid snippets of each bag; on the CPU.
        variant: `paper`, `release`, or the rules themselves.

    Raises:
        ValueError: The variant is unknown.

    Examples:
        >>> import torch
        >>> from dsanet import DSANet, loss_terms
        >>> from dsanet.detectors.dsanet.config import ModelConfig
        >>> model = DSANet(ModelConfig(classes=("normal", "fire"), clip_weights="random"))
        >>> lengths_B, labels_BC = torch.tensor([64, 40]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> terms = loss_terms(model(torch.randn(2, 64, 512), lengths_B), labels_BC, lengths_B, "paper")
        >>> list(terms)
        ['det', 'align', 'consist', 'compact', 'event', 'bkg', 'sep']
    """
    rules = variant_rules(variant)
    labels_BC = labels_BC.float()
    zero = output.anomaly_BT.new_zeros(())
    terms = {
        "det": detection_loss(output.anomaly_BT, labels_BC, lengths_B, rules.detection_in_log_space),
        "align": alignment_loss(output.classes_BTC, labels_BC, lengths_B),
        "consist": zero,
        "compact": zero if output.compact_B is None else output.compact_B.mean().float(),
        "event": zero,
        "bkg": zero,
        "sep": separation_loss(output.text_CD, rules.mean_separation),
    }
    if output.scores_rec_BT is not None:
        terms["consist"] = consistency_loss(output.anomaly_BT, output.scores_rec_BT, lengths_B)
    if output.event_BC is not None and output.background_BC is not None:
        # Event prototype against the video's classes (eq. 8), background prototype against normal (eq. 9).
        background_BC = background_target(labels_BC, rules.background_floor)
        terms["event"] = soft_cross_entropy(output.event_BC, labels_BC, rules.label_smoothing)
        terms["bkg"] = soft_cross_entropy(output.background_BC, background_BC, rules.label_smoothing)
    return terms


def consistency_loss(anomaly_BT: Tensor, scores_rec_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """L_consist (eq. 4): mean over all valid snippets of (σ(S_det) − S_rec)²."""
    valid_BT = prefix_mask(lengths_B, anomaly_BT.shape[1], anomaly_BT.device)
    squared_BT = (torch.sigmoid(anomaly_BT) - scores_rec_BT).square()
    return (squared_BT * valid_BT).sum() / lengths_B.sum()


def background_target(labels_BC: Tensor, floor: float) -> Tensor:
    """(B, C): target of L_bkg (eq. 9), independent of the labels: 1 for normal, else `floor`."""
    target_BC = torch.full_like(labels_BC, floor)
    target_BC[:, 0] = 1
    return target_BC
