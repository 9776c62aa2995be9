"""Bags, batches, the sampler and the carved validation split."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dsanet.training.bag_sources import MemoryBags
from dsanet.training.bags import BagList, Bags, Batch, Sampler, hold_out_validation, label_vector, list_bags
from dsanet.training.feature_bags import average_down
from extract.config import PUBLISHED
from extract.manifest import VideoRecord
from tests.dsanet.helpers import CLASSES, ENCODER, write_video


def whole_batch(listed: BagList) -> Batch:
    """All bags of a list in one batch."""
    bags = Bags(listed, MemoryBags(listed))
    return bags.half_batch(np.arange(len(bags)))


def test_averaging_takes_the_means_between_integer_edges() -> None:
    # linspace(0, 5, 4) = 0, 1.67, 3.33, 5 → edges 0, 1, 3, 5.
    got = average_down(np.array([[1.0], [2.0], [4.0], [10.0], [20.0]]), 3)
    assert got.tolist() == [[1.0], [3.0], [15.0]]


@pytest.mark.parametrize("count", [257, 300, 511, 512, 1000])
def test_averaging_equals_the_loop(count: int) -> None:
    rows = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    edges = np.linspace(0, count, 257).astype(int)
    expected = [rows[a:b].mean(0) if b > a else rows[a] for a, b in pairwise(edges)]
    np.testing.assert_allclose(average_down(rows, 256), expected, atol=1e-6)


def test_a_short_video_is_padded_and_keeps_its_length(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 512)).astype(np.float16)
    write_video(tmp_path, "short", rows)
    write_video(tmp_path, "long", np.ones((9, 512)))
    records = [
        VideoRecord("short", Path("a"), ("normal",), "train"),
        VideoRecord("long", Path("b"), ("riot", "abuse"), "train"),
    ]
    bags = list_bags(records, tmp_path, CLASSES, 8)
    batch = whole_batch(bags)
    assert batch.lengths_B.tolist() == [5, 8]
    np.testing.assert_array_equal(batch.features_BTD[0, :5], rows)
    assert batch.features_BTD[0, 5:].count_nonzero() == 0
    assert batch.labels_BC.tolist() == [[1, 0, 0, 0], [0, 1, 0, 1]]
    assert bags.anomalous.tolist() == [False, True]


def test_every_crop_is_a_training_sample_but_one_a_video_is_validated(tmp_path: Path) -> None:
    write_video(tmp_path, "v", np.arange(5, dtype=float)[None, :, None].repeat(4, 0).repeat(512, 2))
    record = VideoRecord("v", Path("v"), ("riot",), "train")
    batch = whole_batch(list_bags([record], tmp_path, CLASSES, 8))
    assert batch.features_BTD[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    one = list_bags([record], tmp_path, CLASSES, 8, every_crop=False)
    assert whole_batch(one).features_BTD[:, 0, 0].tolist() == [0]


def test_features_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    records = [VideoRecord(name, Path(name), ("normal",), "train") for name in ("a", "b")]
    write_video(tmp_path, "a", np.ones((3, 512)))
    with pytest.raises(FileNotFoundError, match=r"b\.h5; extract"):
        list_bags(records, tmp_path, CLASSES, 8)
    write_video(
        tmp_path, "b", np.ones((3, 512)), encoder=ENCODER.model_copy(update={"weights_digest": "other"})
    )
    with pytest.raises(ValueError, match=r"b\.h5 holds features of another encoder"):
        list_bags(records, tmp_path, CLASSES, 8)
    write_video(tmp_path, "b", np.ones((3, 512)), frame_pick="first")
    with pytest.raises(ValueError, match="frame_pick = first, expected middle"):
        list_bags(records, tmp_path, CLASSES, 8)
    write_video(tmp_path, "b", np.ones((3, 512)), resize="squash")
    with pytest.raises(ValueError, match="resize = squash, expected shorter-224"):
        list_bags(records, tmp_path, CLASSES, 8)
    write_video(tmp_path, "b", np.ones((3, 512)), encoder=ENCODER.model_copy(update={"precision": "fp16"}))
    assert list_bags(records, tmp_path, CLASSES, 8).crops_V.tolist() == [1, 1]


def test_published_features_go_with_those_of_any_recipe(tmp_path: Path) -> None:
    records = [VideoRecord(name, Path(name), ("normal",), "train") for name in ("a", "b")]
    published = ENCODER.model_copy(update={"weights_digest": PUBLISHED})
    write_video(tmp_path, "a", np.ones((3, 512)), encoder=published)
    write_video(tmp_path, "b", np.ones((3, 512)), frame_pick="first", resize="340x256", crop=5)
    assert list_bags(records, tmp_path, CLASSES, 8).crops_V.tolist() == [1, 1]
    write_video(tmp_path, "b", np.ones((3, 512)), snippet_length=8)
    with pytest.raises(ValueError, match="snippet_length = 8, expected 16"):
        list_bags(records, tmp_path, CLASSES, 8)


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(ValueError, match=r"\['fire'\] are not among"):
        label_vector(("riot", "fire"), CLASSES)


def test_balanced_batches_hold_as_many_of_each_side_once_an_epoch() -> None:
    anomalous = np.array([False] * 10 + [True] * 7)
    sampler = Sampler(anomalous, batch_size=3, balanced=True, seed=0)
    assert sampler.steps_per_epoch == 2  # 7 // 3
    steps = [sampler.step(step) for step in range(4)]
    for step in steps:
        assert anomalous[step].tolist() == [False] * 3 + [True] * 3
    assert len(set(np.concatenate(steps[:2]))) == 12
    assert steps[0].tolist() != steps[2].tolist()
    assert [sampler.step(step).tolist() for step in (3, 0)] == [steps[3].tolist(), steps[0].tolist()]
    again = Sampler(anomalous, batch_size=3, balanced=True, seed=0)
    assert again.step(3).tolist() == steps[3].tolist()  # a function of the step alone


def test_a_batch_is_clamped_to_what_there_is() -> None:
    sampler = Sampler(np.array([False, False, True]), batch_size=64, balanced=True, seed=0)
    assert (sampler.steps_per_epoch, len(sampler.step(0))) == (1, 2)


def test_an_unbalanced_epoch_drops_nothing() -> None:
    sampler = Sampler(np.array([False] * 5 + [True] * 2), batch_size=4, balanced=False, seed=1)
    assert sorted(np.concatenate([sampler.step(0), sampler.step(1)]).tolist()) == list(range(7))


def test_one_side_alone_cannot_be_trained_on() -> None:
    with pytest.raises(ValueError, match="got 4 and 0"):
        Sampler(np.zeros(4, dtype=bool), 2, True, 0)


def test_the_carved_split_is_stratified_and_seeded() -> None:
    labels = [("normal",)] * 10 + [("fire",)] * 10 + [("riot",)] * 2 + [("fire", "riot")]
    records = [VideoRecord(f"v{i}", Path(f"v{i}"), label, "train") for i, label in enumerate(labels)]
    train, val = hold_out_validation(records, 0.2, seed=0)
    held = [record.labels for record in val]
    assert [held.count(label) for label in dict.fromkeys(labels)] == [
        2,
        2,
        1,
        0,
    ]  # never the last of its kind
    assert {r.name for r in train} | {r.name for r in val} == {r.name for r in records}
    assert hold_out_validation(list(reversed(records)), 0.2, seed=0)[1] == list(reversed(val))
    assert hold_out_validation(records, 0.2, seed=1)[1] != val
