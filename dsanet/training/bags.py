"""Bags: feature files to batches of (features_BTD, lengths_B, labels_BC).

A bag is one crop of one video with at most T snippets: a longer video is averaged down, a shorter one is
zero-padded and keeps its length. Bags are held in memory as float16, like in the files: at most T × 1 kB
each.

B bags, T snippets, D width, C classes (column 0 of the labels = normal).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dsanet.training.seeding import generator
from extract.config import COMPARED_SETTINGS, PUBLISHED, EncoderFingerprint, ExtractConfig
from extract.errors import InputError
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.store import FeatureMeta, content_digest, feature_path, read_features

_VALIDATION_STREAM, _SAMPLER_STREAM = 1, 2


class Batch(NamedTuple):
    """Zero-padded bags with their valid lengths, multi-hot labels and video names.

    Lengths and labels stay on the CPU when the features are on a GPU (`layers.ragged`).
    """

    features_BTD: Tensor
    lengths_B: Tensor
    labels_BC: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        return self._replace(features_BTD=self.features_BTD.to(device, non_blocking=True))


class Bag(NamedTuple):
    """One crop of one video: float16 features without padding, multi-hot labels."""

    name: str
    features_TD: np.ndarray
    labels_C: np.ndarray


@dataclass(frozen=True)
class Bags:
    """Bags of several videos; `digests` are the content digests of their feature files by video name."""

    bags: tuple[Bag, ...]
    digests: Mapping[str, str]
    encoder: EncoderFingerprint
    extract: ExtractConfig

    @property
    def anomalous(self) -> np.ndarray:
        """(bags,) bool: the bag is not labelled normal."""
        return np.array([not bag.labels_C[0] for bag in self.bags])


def average_down(features_TD: np.ndarray, length: int) -> np.ndarray:
    """The features unchanged, or `length` segments if there are more than `length` snippets."""
    return features_TD if len(features_TD) <= length else segments(features_TD, length)


def segments(features_TD: np.ndarray, length: int) -> np.ndarray:
    """(length, D) float32: means of the spans between the integer parts of linspace(0, n, length + 1).

    An empty span takes the snippet at its start, so that a short video repeats its snippets.
    """
    edges = np.linspace(0, len(features_TD), length + 1).astype(np.int64)
    # For an empty span reduceat returns the snippet at its start.
    sums = np.add.reduceat(features_TD.astype(np.float32), edges[:-1], axis=0)
    return sums / np.maximum(np.diff(edges), 1)[:, None]


def label_vector(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(C,) multi-hot float32. Raises ValueError for a label that is not a class."""
    if unknown := set(labels) - set(classes):
        raise InputError(f"labels {sorted(unknown)} are not among the model's classes {list(classes)}")
    return np.array([name in labels for name in classes], dtype=np.float32)


def load_bags(
    records: Sequence[VideoRecord],
    features_dir: Path,
    classes: Sequence[str],
    length: int,
    *,
    segmented: bool = False,
    every_crop: bool = True,
    like: Bags | None = None,
) -> Bags:
    """Bags of the videos' feature files, one per crop, or of the first crop only.

    A bag has at most `length` snippets, with `segmented` exactly `length` segments. Raises FileNotFoundError
    for a missing feature file, and ValueError for a file whose encoder or extraction settings differ from
    those of the first file (of `like`, if given).
    """
    bags: list[Bag] = []
    digests: dict[str, str] = {}
    encoder, extract = (like.encoder, like.extract) if like else (None, None)
    shorten = segments if segmented else average_down
    for record in records:
        path = feature_path(features_dir, record.name)
        features = read_features(path)
        encoder, extract = encoder or features.meta.encoder, extract or features.meta.config
        require_same_features(features.meta, encoder, extract, path)
        digests[record.name] = content_digest(path)
        labels_C = label_vector(record.labels, classes)
        for crop in range(features.features.shape[1] if every_crop else 1):
            rows = shorten(features.features[:, crop], length).astype(np.float16)
            bags.append(Bag(record.name, rows, labels_C))
    if encoder is None or extract is None:
        raise InputError("no videos to train on; the manifest has none in the train split")
    return Bags(tuple(bags), digests, encoder, extract)


def require_same_features(
    meta: FeatureMeta, encoder: EncoderFingerprint, extract: ExtractConfig, path: Path
) -> None:
    """Raise ValueError unless the file's features are comparable with those of `encoder` and `extract`."""
    if not meta.encoder.same_features_as(encoder):
        raise InputError(
            f"{path} holds features of another encoder ({meta.encoder.digest}, expected {encoder.digest}: "
            f"{encoder.architecture}, weights {encoder.weights_digest[:23]}); extract the video with that one"
        )
    # Nobody knows how published features were made: their own settings are placeholders.
    published = PUBLISHED in (meta.encoder.weights_digest, encoder.weights_digest)
    for field in ("snippet_length",) if published else COMPARED_SETTINGS:
        got, expected = getattr(meta.config, field), getattr(extract, field)
        if got != expected:
            raise InputError(
                f"{path} was extracted with {field} = {got}, expected {expected}; extract it again"
            )


def make_batch(bags: Sequence[Bag], length: int) -> Batch:
    """Zero-pad bags to (B, length, D)."""
    features_BTD = torch.zeros(len(bags), length, bags[0].features_TD.shape[1])
    for row_TD, bag in zip(features_BTD, bags, strict=True):
        row_TD[: len(bag.features_TD)] = torch.from_numpy(bag.features_TD)
    return Batch(
        features_BTD,
        torch.tensor([len(bag.features_TD) for bag in bags]),
        torch.from_numpy(np.stack([bag.labels_C for bag in bags])),
        tuple(bag.name for bag in bags),
    )


class Sampler:
    """The bags of each step, a function of the seed and the step alone, so that resuming needs no state.

    Balanced: `batch_size` normal and as many anomalous bags; an epoch ends with the smaller of the two groups
    and drops incomplete batches, as is usual in the field. Otherwise: one shuffled stream, nothing dropped.
    """

    def __init__(self, anomalous: np.ndarray, batch_size: int, balanced: bool, seed: int) -> None:
        sides = [np.flatnonzero(~anomalous), np.flatnonzero(anomalous)]
        if any(len(side) == 0 for side in sides):
            raise InputError(
                f"training needs normal and anomalous bags, got {len(sides[0])} and {len(sides[1])}"
            )
        self.streams = sides if balanced else [np.arange(len(anomalous))]
        shortest = min(len(stream) for stream in self.streams)
        self.batch_size = min(batch_size, shortest)
        self.steps_per_epoch = shortest // self.batch_size if balanced else -(-shortest // self.batch_size)
        self.seed = seed

    def step(self, step: int) -> np.ndarray:
        """Indices of the bags of a step (0-based)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        part = slice(position * self.batch_size, (position + 1) * self.batch_size)
        orders = (
            generator(self.seed, _SAMPLER_STREAM, epoch, i).permutation(stream)
            for i, stream in enumerate(self.streams)
        )
        return np.concatenate([order[part] for order in orders])


def hold_out_validation(
    records: Sequence[VideoRecord], fraction: float, seed: int
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """Training records, and the `fraction` of each label set that is held out for validation.

    At least one video per label set is held out if the set has two or more.
    """
    strata: dict[tuple[str, ...], list[VideoRecord]] = {}
    for record in sorted(records, key=lambda record: record.name):
        strata.setdefault(tuple(sorted(record.labels)), []).append(record)
    held_out: set[str] = set()
    for i, labels in enumerate(sorted(strata, key=lambda labels: (labels != (NORMAL,), labels))):
        names = [record.name for record in strata[labels]]
        count = min(max(1, round(fraction * len(names))), len(names) - 1)
        held_out.update(generator(seed, _VALIDATION_STREAM, i).permutation(names)[:count].tolist())
    return (
        [record for record in records if record.name not in held_out],
        [record for record in records if record.name in held_out],
    )
