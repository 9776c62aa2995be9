"""Each detector's own losses against cases worked out by hand, and the gradient of the perturbed top-κ."""

import math

import pytest
import torch
from torch import Tensor

from dsanet.detectors.clip_tsa import CLIPTSAConfig, CLIPTSAOutput, magnitude_loss, perturbed_topk
from dsanet.detectors.mil_ranking import MILRankingConfig, MILRankingOutput, ranking_loss
from dsanet.detectors.registry import build_detector
from dsanet.detectors.vla_gated import class_loss, consistency_loss, segment_alignment_loss
from dsanet.layers.bag_losses import smoothness

NORMAL, ANOMALOUS = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
LABELS = torch.tensor([NORMAL, ANOMALOUS])
CLASSES = ("normal", "fire", "riot")


def logit(*scores: float) -> Tensor:
    return torch.tensor(scores).logit()


# --- MIL ranking --------------------------------------------------------------------------------------------


def test_ranking_is_the_mean_hinge_of_all_pairs() -> None:
    scores = torch.tensor([[0.2, 0.4], [0.1, 0.3], [0.9, 0.0], [0.5, 0.6]])
    labels = torch.tensor([NORMAL, NORMAL, ANOMALOUS, ANOMALOUS])
    pairs = [1 - 0.9 + 0.4, 1 - 0.9 + 0.3, 1 - 0.6 + 0.4, 1 - 0.6 + 0.3]
    assert ranking_loss(scores, labels).item() == pytest.approx(sum(pairs) / 4)
    assert ranking_loss(scores[:2], labels[:2]) == 0
    assert ranking_loss(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), LABELS) == 0


def test_smoothness_and_sparsity_count_true_rows_of_anomalous_videos_alone() -> None:
    model = build_detector(MILRankingConfig(classes=CLASSES))
    anomaly = torch.stack([logit(0.9, 0.1, 0.9), logit(0.2, 0.5, 0.9)])
    output = MILRankingOutput(anomaly, torch.zeros(2, 3, 32))
    terms = model.loss_terms(output, LABELS, torch.tensor([3, 2]))
    assert terms["smooth"].item() == pytest.approx(0.3**2)
    assert terms["sparse"].item() == pytest.approx(0.2 + 0.5)
    assert terms["rank"].item() == pytest.approx(1 - 0.5 + 0.9)
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    assert terms["decay"].item() == pytest.approx(sum(w.square().sum().item() for w in weights))
    preset = MILRankingConfig.preset("ucf-crime").train
    total = terms["rank"] + 8e-5 * (terms["smooth"] + terms["sparse"]) + 1e-3 * terms["decay"]
    torch.testing.assert_close(model.total_loss(terms, preset), total)


def test_neighbours_across_the_end_of_a_video_are_none() -> None:
    scores, mask = torch.tensor([[0.1, 0.4, 0.9]]), torch.tensor([[True, True, False]])
    assert smoothness(scores, mask).item() == pytest.approx(0.09)
    assert smoothness(scores, torch.ones(1, 3)).item() == pytest.approx(0.09 + 0.25)


# --- CLIP-TSA -----------------------------------------------------------------------------------------------


def test_perturbed_topk_is_the_share_of_draws_and_its_gradient_that_of_the_expectation() -> None:
    sigma, samples = 0.1, 400_000
    scores = torch.tensor([[0.30, 0.42]], requires_grad=True)
    noise = torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))
    share = perturbed_topk(scores, torch.tensor([1]), noise, sigma)
    # The first is higher where the difference of two noises, N(0, 2σ²), exceeds 0.12.
    z = -0.12 / (sigma * math.sqrt(2))
    expected = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    assert share[0].tolist() == pytest.approx([expected, 1 - expected], abs=5e-3)
    share[0, 0].backward()
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (sigma * math.sqrt(2))
    assert scores.grad is not None
    assert scores.grad[0].tolist() == pytest.approx([density, -density], rel=0.02)


def test_rows_beyond_a_video_are_never_nominated_and_counts_are_each_videos_own() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.8, -math.inf]], requires_grad=True)
    noise = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    share = perturbed_topk(scores, torch.tensor([2, 1]), noise, 0.01)
    assert share.tolist() == [[1, 1, 0], [0, 1, 0]]
    share.sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_magnitudes_pair_up_in_order() -> None:
    labels = torch.tensor([NORMAL, NORMAL, ANOMALOUS, ANOMALOUS])
    lengths = torch.tensor([3.0, 5.0, 90.0, 104.0])
    assert magnitude_loss(lengths, labels, 100.0).item() == pytest.approx(((10 + 3) ** 2 + (4 + 5) ** 2) / 2)
    assert magnitude_loss(lengths[:2], labels[:2], 100.0) == 0


def test_the_longest_rows_speak_for_the_video() -> None:
    model = build_detector(CLIPTSAConfig(classes=CLASSES, chosen=0.5)).eval()
    features = torch.zeros(2, 4, 512)
    features[:, :, 0] = torch.tensor([[1.0, 4.0, 3.0, 2.0], [6.0, 1.0, 9.0, 9.0]])
    anomaly = torch.stack([logit(0.9, 0.2, 0.4, 0.9), logit(0.7, 0.1, 0.9, 0.9)])
    terms = model.loss_terms(CLIPTSAOutput(anomaly, features), LABELS, torch.tensor([4, 2]))
    # Of the normal video rows 1 and 2, of the anomalous one, two rows long, its first.
    assert terms["det"].item() == pytest.approx(-(math.log(1 - 0.3) + math.log(0.7)) / 2)
    assert terms["magnitude"].item() == pytest.approx((100 - 6 + 3.5) ** 2)
    assert terms["smooth"].item() == pytest.approx(0.36)
    assert terms["sparse"].item() == pytest.approx(math.hypot(0.7, 0.1))


# --- gated vision-language alignment ------------------------------------------------------------------------


def cross_entropy(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[target]


def test_the_rows_nearest_to_the_true_class_are_aligned_with_it() -> None:
    rows = [
        [[2.0, 1.0, 0.0], [3.0, 0.0, 1.0], [9.0, 9.0, 9.0]],
        [[0.0, 2.0, 1.0], [1.0, 4.0, 0.0], [0.0, 3.0, 2.0]],
    ]
    lengths = torch.tensor([2, 3])  # of which half, rounded up, are 1 and 2 rows
    expected = [
        cross_entropy(rows[0][1], 0),
        (cross_entropy(rows[1][1], 1) + cross_entropy(rows[1][2], 1)) / 2,
    ]
    loss = segment_alignment_loss(torch.tensor(rows), LABELS, lengths, 0.5)
    assert loss.item() == pytest.approx(sum(expected) / 2)
    both = torch.tensor([[0.0, 1.0, 1.0]])
    by_class = [cross_entropy(rows[1][1], 1), cross_entropy(rows[1][2], 2)]
    loss = segment_alignment_loss(torch.tensor(rows[1:]), both, torch.tensor([3]), 0.1)
    assert loss.item() == pytest.approx(sum(by_class) / 2)


def test_normal_videos_shall_be_far_from_every_anomaly() -> None:
    rows = torch.tensor([[[4.0, 2.0, 1.0]], [[1.0, 5.0, 3.0]]])
    scores = class_loss(rows, LABELS, torch.tensor([1, 1]), calm=2.0, temperature=0.1)
    entropy = (cross_entropy([4.0, 2.0, 1.0], 0) + cross_entropy([1.0, 5.0, 3.0], 1)) / 2
    assert scores.item() == pytest.approx(entropy + 2 * (0.2**2 + 0.1**2) / 2)


def test_the_branches_video_scores_shall_agree() -> None:
    visual = torch.tensor([[0.9, 0.1], [0.4, 0.8]])
    semantic = torch.tensor([[0.5, 0.2], [0.3, 0.9]])
    lengths = torch.tensor([2, 1])
    assert consistency_loss(visual, semantic, lengths).item() == pytest.approx((0.4**2 + 0.1**2) / 2)
