"""Each equation of the paper, and what the release changes in it, on a case small enough to do by hand."""

import math

import pytest
import torch
from torch import tensor

from dsanet.detectors.config import TrainConfig
from dsanet.detectors.dsanet.losses import TERMS, background_target, consistency_loss, loss_terms
from dsanet.detectors.dsanet.normality import compactness, normal_candidates
from dsanet.detectors.dsanet.output import DSANetOutput
from dsanet.detectors.dsanet.variant import PAPER, RELEASE
from dsanet.layers.alignment import alignment_map, class_logits, enhance_text, prototypes
from dsanet.layers.bag_losses import alignment_loss, detection_loss, separation_loss, soft_cross_entropy
from dsanet.layers.belief import belief_modulation
from dsanet.layers.clip_text import AdaptedText
from dsanet.layers.ragged import RaggedBatch, topk_mean
from dsanet.layers.temporal import MLP, GraphConvolution, QuickGELU, distance_graph, similarity_graph
from tests.dsanet.helpers import small_model

CPU = torch.device("cpu")
LOG_HALF, LOG_3 = math.log(0.5), math.log(3)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def close(got: torch.Tensor, expected: object, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=got.dtype), atol=tolerance, rtol=1e-5)


def test_top_k_takes_a_sixteenth_of_the_true_rows_plus_one() -> None:
    values = torch.arange(32.0).repeat(3, 1)[..., None]
    # 15 rows: the largest (14); 16 rows: two (15, 14); 32 rows: three (31, 30, 29). Padding is excluded.
    close(topk_mean(values, tensor([15, 16, 32]))[:, 0], [14.0, 14.5, 30.0])


def test_eq_1_detection_loss() -> None:
    logits = tensor([[logit(0.8), logit(0.3), 50.0], [logit(0.2), logit(0.1), logit(0.1)]])
    labels = tensor([[0.0, 1.0], [1.0, 0.0]])
    # Video 1 is anomalous with p = 0.8 (its third row is padding), video 2 is normal with p = 0.2.
    close(detection_loss(logits, labels, tensor([2, 3])), -(math.log(0.8) + math.log(0.8)) / 2)


def test_eq_1_in_log_space_is_the_same_loss_and_keeps_its_gradient_where_sigmoids_saturate() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, lengths = tensor([[1.0, 0], [0, 1], [0, 1]]), tensor([40, 16, 3])
    logits = torch.randn(3, 40, generator=generator) * 4
    assert torch.allclose(
        detection_loss(logits, labels, lengths), detection_loss(logits, labels, lengths, in_log_space=False)
    )
    for in_log_space in (True, False):
        wrong = torch.full((1, 2), 200.0, requires_grad=True)
        detection_loss(wrong, tensor([[1.0, 0]]), tensor([2]), in_log_space).backward()
        assert wrong.grad is not None
        assert bool(wrong.grad.any()) is in_log_space
    assert detection_loss(tensor([[200.0]]), tensor([[1.0, 0]]), tensor([1])) == 200  # the default


def test_eq_2_alignment_loss_shares_a_multi_label_target() -> None:
    # Top-1 of each class over time: (0, log 3, 0) → softmax (1/5, 3/5, 1/5).
    classes = tensor([[[0.0, LOG_3, -5.0], [-5.0, 0.0, 0.0]]])
    close(alignment_loss(classes, tensor([[0.0, 1.0, 0.0]]), tensor([2])), -math.log(3 / 5))
    both = -(math.log(3 / 5) + math.log(1 / 5)) / 2
    close(alignment_loss(classes, tensor([[0.0, 1.0, 1.0]]), tensor([2])), both)


def test_eq_3_compactness_is_the_mean_smallest_distance() -> None:
    candidates = tensor([[[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [9.0, 9.0]]])
    patterns = tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    # Distances to the nearest pattern: 0, 1, 1 − 1/√2; the fourth candidate does not count.
    mask = tensor([[True, True, True, False]])
    close(compactness(candidates, mask, patterns).mean(), (0 + 1 + 1 - 1 / math.sqrt(2)) / 3)


def test_candidates_are_the_lowest_scores_and_carry_no_gradient() -> None:
    video = torch.arange(10.0).reshape(1, 5, 2).repeat(2, 1, 1).requires_grad_()
    anomaly = tensor([[3.0, 1.0, 2.0, 0.0, 4.0], [0.0, 5.0, -9.0, -9.0, -9.0]])
    rows = RaggedBatch(tensor([5, 2]), 5, CPU)
    candidates, counts = normal_candidates(video, anomaly, rows, 0.8)
    assert not candidates.requires_grad
    assert counts.mask_BT.tolist() == [
        [True] * 4,
        [True, False, False, False],
    ]  # int(0.8 · 5) and int(0.8 · 2)
    assert candidates[0, :, 0].tolist() == [6.0, 2.0, 4.0, 0.0]
    assert candidates[1, 0].tolist() == [0.0, 1.0]  # not one of the padded rows, whose logits are lower


def test_eq_4_consistency_counts_true_rows_only() -> None:
    logits, rebuilt = (
        tensor([[0.0, logit(0.9), 9.0], [0.0, 9.0, 9.0]]),
        tensor([[0.2, 0.4, 0.0], [0.5, 0.0, 0.0]]),
    )
    # (0.5 − 0.2)², (0.9 − 0.4)², and (0.5 − 0.5)² of the other video: mean over three rows.
    close(consistency_loss(logits, rebuilt, tensor([2, 1])), (0.09 + 0.25 + 0) / 3)


def test_eq_5_prototypes() -> None:
    video = tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    anomaly = tensor([[LOG_3, 0.0, 70.0]])
    event, background = prototypes(video, anomaly, RaggedBatch(tensor([2]), 3, CPU), PAPER.prototype_weights)
    close(event, [[0.75, 0.25]])
    close(background, [[0.25, 0.75]])


def test_eq_5_in_the_release() -> None:
    video = tensor([[[1.0, 0.0], [0.0, 1.0]]])
    event, background = prototypes(
        video, tensor([[logit(0.5), logit(0.2)]]), RaggedBatch(tensor([2]), 2, CPU), RELEASE.prototype_weights
    )
    up, down = math.exp(5) - 1, math.exp(2) - 1
    close(event, [[up / (up + down), down / (up + down)]])
    normal = math.exp(8) - 1
    close(background, [[up / (up + normal), normal / (up + normal)]])


def test_eq_6_separation() -> None:
    text = tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0], [-5.0, 0.0]])
    close(separation_loss(text, PAPER.mean_separation), 0 + 0.6 + 1)
    close(separation_loss(text, RELEASE.mean_separation), 1.6 / 3)


def test_eq_8_and_9_without_and_with_smoothing() -> None:
    logits = tensor([[0.0, LOG_3]])  # softmax (1/4, 3/4)
    close(soft_cross_entropy(logits, tensor([[0.0, 1.0]]), PAPER.label_smoothing), -math.log(0.75))
    smoothed = -(0.95 * math.log(0.75) + 0.05 * math.log(0.25))
    close(soft_cross_entropy(logits, tensor([[0.0, 1.0]]), RELEASE.label_smoothing), smoothed)
    anomalous = tensor([[0.0, 1.0]])
    assert background_target(anomalous, PAPER.background_floor).tolist() == [[1, 0]]
    normal_share = 0.9 * (1 / 1.01) + 0.05
    bkg = -(normal_share * math.log(0.25) + (1 - normal_share) * math.log(0.75))
    close(
        soft_cross_entropy(
            logits, background_target(anomalous, RELEASE.background_floor), RELEASE.label_smoothing
        ),
        bkg,
    )


def test_loss_terms_are_the_equations_on_the_parts_of_the_output() -> None:
    output = DSANetOutput(
        anomaly_BT=tensor([[0.0, LOG_3], [LOG_3, 9.0]]),
        classes_BTC=tensor([[[0.0, LOG_3], [-5.0, -5.0]], [[LOG_3, 0.0], [9.0, 99.0]]]),
        event_BC=tensor([[0.0, LOG_3], [0.0, LOG_3]]),
        background_BC=tensor([[LOG_3, 0.0], [0.0, 0.0]]),
        text_CD=tensor([[1.0, 0.0], [3.0, 4.0]]),
        video_BTD=torch.zeros(2, 2, 2),
        scores_rec_BT=tensor([[0.5, 0.25], [0.75, 0.0]]),
        compact_B=tensor([0.125]),
    )
    labels, lengths = tensor([[0, 1], [1, 0]]), tensor([2, 1])  # an anomalous and a normal video
    terms = loss_terms(output, labels, lengths, "paper")
    assert tuple(terms) == TERMS
    expected = {
        "det": -(math.log(3 / 4) + math.log(1 / 4)) / 2,
        "align": -math.log(3 / 4),
        "consist": (0 + 0.5**2 + 0) / 3,
        "compact": 0.125,
        "event": -(math.log(3 / 4) + math.log(1 / 4)) / 2,
        "bkg": -(math.log(3 / 4) + math.log(1 / 2)) / 2,
        "sep": 0.6,
    }
    for name, value in expected.items():
        close(terms[name], value)
    release = loss_terms(output, labels, lengths, "release")
    close(release["event"], soft_cross_entropy(output.event_BC, labels.float(), 0.1))
    background = background_target(labels.float(), 0.01)
    close(release["bkg"], soft_cross_entropy(output.background_BC, background, 0.1))

    off = output._replace(scores_rec_BT=None, compact_B=None, event_BC=None, background_BC=None)
    terms = loss_terms(off, labels, lengths, "paper")
    for name in ("consist", "compact", "event", "bkg"):
        assert terms[name].shape == ()
        assert terms[name] == 0
    one = loss_terms(output._replace(background_BC=None), labels, lengths, "paper")
    assert (one["event"], one["bkg"]) == (0, 0)  # both prototypes or none


def test_the_variant_decides_about_detection_and_separation() -> None:
    saturated = DSANetOutput(
        anomaly_BT=tensor([[200.0]]),
        classes_BTC=torch.zeros(1, 1, 3),
        event_BC=None,
        background_BC=None,
        text_CD=tensor([[1.0, 0.0], [3.0, 4.0], [1.0, 0.0]]),
        video_BTD=torch.zeros(1, 1, 2),
        scores_rec_BT=None,
        compact_B=None,
    )
    for variant, det, sep in (("paper", 200.0, 1.6), ("release", 100.0, 0.8)):  # clipped at log −100
        terms = loss_terms(saturated, tensor([[1.0, 0.0, 0.0]]), tensor([1]), variant)
        close(terms["det"], det)
        close(terms["sep"], sep)


def test_eq_10_blends_in_an_adapted_direction_at_the_same_norm() -> None:
    adapted = AdaptedText.__new__(AdaptedText)
    torch.nn.Module.__init__(adapted)
    linear = torch.nn.Linear(2, 2, bias=False)
    linear.weight.data = tensor([[0.0, 7.0], [-7.0, 0.0]])
    adapted.adapters, adapted.weight = (
        torch.nn.ModuleList([torch.nn.Sequential(linear, torch.nn.LeakyReLU())]),
        0.25,
    )
    x = tensor([[3.0, 4.0]])
    # linear: (28, −21); LeakyReLU: (28, −0.21); rescaled to the norm 5 of x.
    norm = math.hypot(28, 0.21)
    expected = [[0.75 * 3 + 0.25 * 5 * 28 / norm, 0.75 * 4 - 0.25 * 5 * 0.21 / norm]]
    close(adapted._adapt(0, x), expected)
    assert adapted._adapt(1, x) is x  # only the first L blocks have one


def test_eq_11_weighs_alignment_alone() -> None:
    terms = {name: tensor(float(i)) for i, name in enumerate(("det", "align", "consist", "compact", "event"))}
    assert small_model().total_loss(terms, TrainConfig(align_weight=5.0)) == 0 + 5 * 1 + 2 + 3 + 4


def test_visual_cue_weighs_by_logits_and_is_added_before_the_mlp() -> None:
    mlp = MLP(2)
    for parameter in mlp.parameters():
        parameter.data.zero_()
    mlp[2].bias.data = tensor([10.0, 0.0])
    video, anomaly = tensor([[[3.0, 0.0], [0.0, 4.0]]]), tensor([[1.0, -1.0]])
    # V = Norm(1·(3, 0) − 1·(0, 4)) = (0.6, −0.8); the MLP adds (10, 0).
    close(enhance_text(tensor([[1.0, 1.0]]), anomaly, video, mlp), [[[11.6, 0.2]]])


def test_alignment_map_is_cosine_over_temperature() -> None:
    got = alignment_map(tensor([[[2.0, 0.0]]]), tensor([[[3.0, 4.0], [-1.0, 0.0]]]), 0.07)
    close(got, [[[0.6 / 0.07, -1 / 0.07]]], 1e-5)
    close(class_logits(tensor([[2.0, 0.0]]), tensor([[3.0, 4.0]]), 0.07), [[0.6 / 0.07]], 1e-5)


def test_similarity_graph_keeps_cosines_above_the_threshold_and_their_zeros() -> None:
    x = tensor([[[1.0, 0.0], [4.0, 3.0], [0.0, 1.0], [9.0, 9.0]]])
    graph = similarity_graph(x, tensor([3]), 0.7)[0]
    # Cosines of row 0 to the three true rows: 1, 0.8, 0; the last takes part in the softmax as 0.
    total = math.e + math.exp(0.8) + 1
    close(graph[0], [math.e / total, math.exp(0.8) / total, 1 / total, 0])
    close(graph[1, 2], 1 / (math.exp(0.8) + math.e + 1))  # 0.6 is not above 0.7
    assert graph[3].tolist() == [0, 0, 0, 0]


def test_distance_graph() -> None:
    close(distance_graph(3, torch.device("cpu"))[0], [1, math.exp(-1 / math.e), math.exp(-2 / math.e)])


def test_graph_convolution_adds_identity_or_a_convolution_of_five() -> None:
    same = GraphConvolution(1, 1)
    same.weight.data = tensor([[2.0]])
    rows, x, graph = RaggedBatch(tensor([3]), 3, CPU), tensor([[1.0], [2.0], [4.0]]), torch.ones(3, 3)
    close(same(x, graph, rows), [[14 + 1.0], [14 + 2.0], [14 + 4.0]])
    narrow = GraphConvolution(2, 1)
    narrow.weight.data.zero_()
    narrow.residual.weight.data = tensor([[[1.0, 10.0, 100.0, 1000.0, 10000.0], [0.0] * 5]])
    narrow.residual.bias.data = tensor([0.5])
    x = torch.stack([tensor([1.0, 2.0, 4.0]), torch.ones(3)], dim=1)
    close(narrow(x, graph, rows)[:, 0], [100 + 2000 + 40000 + 0.5, 10 + 200 + 4000 + 0.5, 1 + 20 + 400 + 0.5])


def test_quick_gelu() -> None:
    close(QuickGELU()(tensor([2.0, -1.0])), [2 * sigmoid(3.404), -sigmoid(-1.702)])


def test_belief_modulation() -> None:
    p = belief_modulation(tensor([[5 * logit(0.9)]]), tensor([[[7.0, 5 * LOG_3, 0.0]]]), 5.0)
    close(p, [[[0.1, 0.9 * 0.75, 0.9 * 0.25]]])
    assert p.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_belief_modulation_is_a_distribution_for_extreme_logits(dtype: torch.dtype) -> None:
    anomaly = tensor([[-400.0, 0.0, 400.0]], dtype=dtype)
    classes = tensor([[[400.0, -400.0, 14.0], [0.0, 0.0, 0.0], [-14.0, 400.0, 399.0]]], dtype=dtype)
    p = belief_modulation(anomaly, classes, 1.0)
    assert p.dtype == torch.float32
    close(p.sum(-1), [[1.0, 1.0, 1.0]])
    assert (1 - p[..., 0]).diff().ge(0).all()  # monotone in the anomaly logit
