"""Causal scores: their definition, their equality however snippets arrive, and what is left out."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from dsanet.causal.history import History
from dsanet.causal.scorer import CausalScorer
from dsanet.causal.windows import KeptValues, LastSnippets, SingleSnippets, Windows
from dsanet.checkpoint import Checkpoint, CheckpointInfo
from dsanet.detectors.config import InferConfig
from dsanet.detectors.registry import DETECTORS, build_detector, detector_preset
from dsanet.inference import Scorer
from dsanet.layers.clip_text import FixedText
from dsanet.snippet_scores import ArrayScores
from extract.config import ExtractConfig
from extract.errors import InputError
from tests.dsanet.helpers import CLASSES, ENCODER

WIDTH = 64
"""Of the features: nothing here depends on it but the time."""
WINDOW = 20
LENGTHS = (1, 9, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 4)
"""Around every border: of the kept values' reach (9 snippets), of the window, of the ring buffer."""
TOLERANCE = 1e-5
RELEASED = "dsanet, release"
MODELS = [*DETECTORS, RELEASED]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small products, many of them: on a busy machine threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def checkpoint(name: str, window: int = WINDOW, **changes: Any) -> Checkpoint:
    """A detector with random weights, far from any symmetry, and windows of so many snippets."""
    detector = name.partition(",")[0]
    config = detector_preset(detector, "ucf-crime").model
    changes |= {"classes": CLASSES, "feature_dim": WIDTH}
    changes |= {"window_length" if config.segmented else "bag_length": window}
    if detector in ("vadclip", "dsanet"):
        changes |= {"window": 4}
    if name == RELEASED:
        changes |= {"variant": "release"}
    config = config.model_validate(config.model_dump() | changes)
    torch.manual_seed(0)
    model = build_detector(config, FixedText(torch.randn(len(CLASSES), WIDTH))).eval()
    info = CheckpointInfo(
        model=config, infer=InferConfig(beta=2.0), encoder=ENCODER, extract=ExtractConfig(), notes=()
    )
    return Checkpoint(model, info)


@cache
def scorer_of(name: str, reuse: bool = True) -> CausalScorer:
    """One for all tests: it knows nothing of its cameras."""
    return CausalScorer(checkpoint(name), reuse=reuse)


@cache
def features(snippets: int = max(LENGTHS), crops: int = 1, seed: int = 0) -> np.ndarray:
    """(T, crops, D): neighbours are similar, as in a video, and a scene lasts some snippets."""
    random = np.random.default_rng(seed)
    scenes = np.repeat(random.normal(size=(-(-snippets // 6), crops, WIDTH)), 6, axis=0)[:snippets]
    return (0.3 * scenes + 0.1 * random.normal(size=scenes.shape)).astype(np.float32)


def arrays_of(scores: ArrayScores) -> np.ndarray:
    """(T, 1 or 1 + C): everything that is scored, for one comparison."""
    anomaly_T1 = scores.anomaly_T[:, None]
    return anomaly_T1 if scores.classes_TC is None else np.hstack([anomaly_T1, scores.classes_TC])


def pushed(scorer: CausalScorer, video: np.ndarray, pieces: Sequence[int]) -> np.ndarray:
    """The scores of a video that arrives in pieces of these sizes, over and over."""
    camera, found, begin = scorer.stream(video.shape[1]), [], 0
    while begin < len(video):
        size = pieces[len(found) % len(pieces)]
        found.append(arrays_of(scorer.push([(camera, video[begin : begin + size])])[0]))
        begin += size
    return np.concatenate(found)


@pytest.mark.parametrize("name", MODELS)
def test_a_score_is_the_last_one_of_the_window_that_ends_with_the_snippet(name: str) -> None:
    video, offline = features(), Scorer(checkpoint(name))
    found = arrays_of(scorer_of(name).score_array(video))
    assert found[:, 0].std() > 1e-4, "scores that are all alike would show nothing"
    for t in (0, 1, 7, 8, 9, WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + 3, len(video) - 1):
        window = video[max(0, t - WINDOW + 1) : t + 1]
        expected = arrays_of(offline.score_array(window))[-1]
        np.testing.assert_allclose(found[t], expected, atol=TOLERANCE, rtol=0, err_msg=f"snippet {t}")


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_equal_to_the_last_bit_however_the_snippets_arrive(name: str) -> None:
    scorer, video = scorer_of(name), features()
    whole = arrays_of(scorer.score_array(video))
    for length in LENGTHS:
        recorded = arrays_of(scorer.score_array(video[:length]))
        np.testing.assert_array_equal(recorded, whole[:length], err_msg="the future matters")
    np.testing.assert_array_equal(pushed(scorer, video, [1]), whole)
    np.testing.assert_array_equal(pushed(scorer, video, [3, 1, WINDOW + 2, 7]), whole)


@pytest.mark.parametrize("name", MODELS)
def test_cameras_that_share_a_call_do_not_change_each_others_scores(name: str) -> None:
    scorer = scorer_of(name)
    videos = [features(25, seed=seed) for seed in range(3)]
    alone = [arrays_of(scorer.score_array(video)) for video in videos]
    cameras, together = [scorer.stream() for _ in videos], [[], [], []]
    cameras.reverse()
    for begin in range(0, 25, 5):
        # The third camera is asked first, and the second one sends its snippets in two arrivals.
        arrivals = [(camera, video[begin : begin + 5]) for camera, video in zip(cameras, videos, strict=True)]
        split = [arrivals[2], (cameras[1], videos[1][begin : begin + 2]), arrivals[0]]
        split.append((cameras[1], videos[1][begin + 2 : begin + 5]))
        results = [arrays_of(scores) for scores in scorer.push(split)]
        for video, parts in enumerate(([results[2]], [results[1], results[3]], [results[0]])):
            together[video] += parts
    for parts, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("name", MODELS)
def test_batches_of_windows_differ_by_rounding_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: windows of all lengths, crops and cameras in one batch."""
    scorer = scorer_of(name)
    videos = [features(26, crops=2, seed=seed) for seed in range(2)]
    alone = [arrays_of(scorer.score_array(video)) for video in videos]
    monkeypatch.setattr(scorer, "_batch_size", 7)
    cameras = [scorer.stream(crops=2) for _ in videos]
    together = [arrays_of(one) for one in scorer.push(list(zip(cameras, videos, strict=True)))]
    for one, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mil-ranking", SingleSnippets),
        ("clip-tsa", LastSnippets),
        ("vla-gated", KeptValues),
        ("vadclip", Windows),
        ("dsanet", Windows),
    ],
)
def test_left_out_work_changes_rounding_only(name: str, kind: type[Windows]) -> None:
    video = features(WINDOW + 12, crops=2)
    scorers = scorer_of(name), scorer_of(name, reuse=False)
    assert [type(scorer.windows) for scorer in scorers] == [kind, Windows]
    reused, whole = (arrays_of(scorer.score_array(video)) for scorer in scorers)
    np.testing.assert_allclose(reused, whole, atol=TOLERANCE, rtol=0)


def test_values_are_kept_only_in_windows_that_are_longer_than_their_reach() -> None:
    """And several layers of the encoder: only the first one's values can be kept."""
    for window, kind in ((16, Windows), (17, KeptValues)):
        made = checkpoint("vla-gated", window, layers=2)
        scorer = CausalScorer(made)
        assert type(scorer.windows) is kind
        whole = CausalScorer(made, reuse=False).score_array(features())
        np.testing.assert_allclose(
            arrays_of(scorer.score_array(features())), arrays_of(whole), atol=TOLERANCE, rtol=0
        )


def test_several_crops_are_averaged_or_one_is_chosen() -> None:
    made, video = checkpoint("clip-tsa"), features(WINDOW + 4, crops=3)
    each = [CausalScorer(made, InferConfig(crop=crop)).score_array(video).anomaly_T for crop in range(3)]
    mean = CausalScorer(made).score_array(video).anomaly_T
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_array_equal(CausalScorer(made).score_array(video[:, 1]).anomaly_T, each[1])
    with pytest.raises(InputError, match="the stream has 3 crops, there is no crop 3"):
        CausalScorer(made, InferConfig(crop=3)).stream(crops=3)


def test_features_that_do_not_fit_change_no_camera() -> None:
    scorer, video = CausalScorer(checkpoint("clip-tsa")), features(12)
    camera, other = scorer.stream(), scorer.stream(crops=2)
    before = scorer.push([(camera, video[:6])])[0].anomaly_T
    broken = np.full((1, WIDTH), np.nan)
    for bad, message in (
        (np.zeros((2, 100)), r"features have shape \(2, 100\), expected \(T, 64\) or \(T, crops, 64\)"),
        (np.zeros((0, WIDTH)), r"features have shape \(0, 64\)"),
        (broken, "features hold values that are not finite numbers"),
        (np.zeros((1, WIDTH)), "features have 1 crops, those of the stream have 2"),
    ):
        with pytest.raises(InputError, match=message):
            scorer.push([(camera, video[6:]), (other, bad)])
    after = scorer.push([(camera, video[6:])])[0].anomaly_T
    np.testing.assert_array_equal(np.concatenate([before, after]), scorer.score_array(video).anomaly_T)


def test_a_call_without_cameras_returns_nothing() -> None:
    assert CausalScorer(checkpoint("mil-ranking")).push([]) == []


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_history_holds_the_last_rows_in_order(length: int) -> None:
    history = History(length, (2,), torch.device("cpu"))
    memory = history._buffer.data_ptr()
    for number in range(37):
        history.append(torch.tensor([number, -number]))
        expected = list(range(max(0, number - length + 1), number + 1))
        assert history.rows[:, 0].tolist() == expected
        assert history.rows[:, 1].tolist() == [-n for n in expected]
        assert (history.count, history._buffer.data_ptr()) == (number + 1, memory)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_windows_of_256_snippets(name: str) -> None:
    made, scorer = checkpoint(name, 256), CausalScorer(checkpoint(name, 256))
    offline, whole = Scorer(made), arrays_of(scorer.score_array(features(700)))
    for length in (1, 15, 255, 256, 257, 700):
        video = features(700)[max(0, length - 256) : length]
        np.testing.assert_allclose(
            whole[length - 1], arrays_of(offline.score_array(video))[-1], atol=TOLERANCE, rtol=0
        )
    np.testing.assert_array_equal(pushed(scorer, features(700)[:300], [1, 100, 40]), whole[:300])
