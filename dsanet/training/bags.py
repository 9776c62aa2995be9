"""Bags: feature files to batches of (features_BTD, lengths_B, labels_BC).

A bag is one crop of one video with at most T snippets: a longer video is averaged down, a shorter one is
zero-padded and keeps its length. A `BagList` knows everything of them but the features; `Bags` has those too,
as float16 like in the files, in memory or on disk (`training.bag_sources`).

B bags, V videos, T snippets, D width, C classes (column 0 of the labels = normal).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsanet.layers.split_batch import Rows
from dsanet.training.feature_bags import BagShape, FileFacts, require_same_features
from dsanet.training.file_facts import all_facts
from dsanet.training.seeding import generator
from extract.config import FEATURE_DIM, EncoderFingerprint, ExtractConfig
from extract.errors import InputError
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.store import feature_path, read_meta

_VALIDATION_STREAM, _SAMPLER_STREAM = 1, 2


class Batch(NamedTuple):
    """Zero-padded bags with their valid lengths, multi-hot labels and video names.

    Lengths and labels stay on the CPU when the features are on a GPU (`layers.ragged`). With `rows` the batch
    is computed by several processes: the features are those of `rows.computed`, the rest is of the whole
    batch.
    """

    features_BTD: Tensor
    lengths_B: Tensor
    labels_BC: Tensor
    names: tuple[str, ...]
    rows: Rows | None = None

    @property
    def computed_lengths_B(self) -> Tensor:  # noqa: N802
        """Lengths of the bags whose features are here."""
        return self.lengths_B if self.rows is None else self.lengths_B[self.rows.computed]

    def to(self, device: torch.device) -> "Batch":
        return self._replace(features_BTD=self.features_BTD.to(device, non_blocking=True))


class BagSource(Protocol):
    """Gives the features of bags, from memory or from disk."""

    def fill(self, bags_B: npt.NDArray[np.int64], out_BTD: npt.NDArray[np.float16]) -> npt.NDArray[np.int64]:
        """Write these bags, zero-padded, into `out_BTD`; returns their lengths (B,)."""


@dataclass(frozen=True, eq=False)
class BagList:
    """The bags of several videos, in the order of the videos and their crops, without the features."""

    names: tuple[str, ...]
    """Names of the videos."""
    paths: tuple[Path, ...]
    """Feature files of the videos."""
    facts: tuple[FileFacts, ...]
    """Facts about each feature file."""
    labels_VC: npt.NDArray[np.float32]
    """Multi-hot labels of the videos."""
    crops_V: npt.NDArray[np.int64]
    """Bags of each video."""
    shape: BagShape
    encoder: EncoderFingerprint
    extract: ExtractConfig

    @cached_property
    def video_of_bag(self) -> npt.NDArray[np.int64]:
        """(bags,) number of the video of each bag."""
        return np.repeat(np.arange(len(self.names)), self.crops_V)

    @cached_property
    def first_bag(self) -> npt.NDArray[np.int64]:
        """(V,) number of the first bag of each video."""
        return np.cumsum(self.crops_V) - self.crops_V

    @property
    def anomalous(self) -> npt.NDArray[np.bool_]:
        """(bags,) bool: the bag is not labelled normal."""
        return np.asarray(self.labels_VC[self.video_of_bag, 0] == 0)

    @property
    def digests(self) -> dict[str, str]:
        """Content digests of the feature files by video name."""
        return {name: fact.digest for name, fact in zip(self.names, self.facts, strict=True)}

    @cached_property
    def snippets(self) -> npt.NDArray[np.int64]:
        """(V,) length of the bags of each video."""
        return np.array([self.shape.rows(fact.snippets) for fact in self.facts])

    @property
    def key(self) -> str:
        """Digest of everything that the features of the bags depend on."""
        parts = [
            *self.shape,
            [(fact.digest, crops) for fact, crops in zip(self.facts, self.crops_V.tolist(), strict=True)],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Bags:
    """Bags with their features."""

    listed: BagList
    source: BagSource
    rank: int = 0
    processes: int = 1
    """Processes that compute a batch together; this one is number `rank` of them."""

    def __len__(self) -> int:
        return len(self.listed.video_of_bag)

    def half_batch(self, bags_B: npt.NDArray[np.int64], *, pinned: bool = False) -> Batch:
        """A batch in float16 on the CPU; `pinned` memory can be copied to a GPU without waiting."""
        rows = Rows.of(len(bags_B), self.rank, self.processes) if self.processes > 1 else None
        filled_B = bags_B if rows is None else bags_B[rows.computed]
        shape = (len(filled_B), self.listed.shape.length, FEATURE_DIM)
        features_BTD = torch.empty(shape, dtype=torch.float16, pin_memory=pinned)
        lengths_B = self.source.fill(filled_B, features_BTD.numpy())
        videos_B = self.listed.video_of_bag[bags_B]
        if rows is not None:
            lengths_B = self.listed.snippets[videos_B]
        labels_BC = torch.from_numpy(self.listed.labels_VC[videos_B])
        names = tuple(self.listed.names[video] for video in videos_B)
        return Batch(features_BTD, torch.from_numpy(lengths_B), labels_BC, names, rows)


def label_vector(labels: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.float32]:
    """(C,) multi-hot float32. Raises ValueError for a label that is not a class."""
    if unknown := set(labels) - set(classes):
        raise InputError(f"labels {sorted(unknown)} are not among the model's classes {list(classes)}")
    return np.array([name in labels for name in classes], dtype=np.float32)


def list_bags(
    records: Sequence[VideoRecord],
    features_dir: Path,
    classes: Sequence[str],
    length: int,
    *,
    segmented: bool = False,
    every_crop: bool = True,
    like: BagList | None = None,
) -> BagList:
    """The bags of the videos' feature files, one per crop, or of the first crop only.

    A bag has at most `length` snippets, with `segmented` exactly `length` segments. Only the headers of files
    are read, and only of those that the folder's index does not know. Raises MissingFileError for a missing
    feature file, FeatureFileError for one that has no readable header, and InputError for a file whose
    encoder or extraction settings differ from those of the first file (of `like`, if given).
    """
    if not records:
        raise InputError("no videos to train on; the manifest has none in the train split")
    paths = tuple(feature_path(features_dir, record.name) for record in records)
    first = like or read_meta(paths[0])
    encoder, extract = first.encoder, first.extract if isinstance(first, BagList) else first.config
    facts = tuple(all_facts([record.name for record in records], features_dir))
    for path in {fact.settings: path for fact, path in zip(facts[::-1], paths[::-1], strict=True)}.values():
        require_same_features(read_meta(path), encoder, extract, path)
    return BagList(
        tuple(record.name for record in records),
        paths,
        facts,
        np.stack([label_vector(record.labels, classes) for record in records]),
        np.array([fact.crops if every_crop else 1 for fact in facts]),
        BagShape(length, segmented),
        encoder,
        extract,
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
        self._epoch, self._orders = -1, list[npt.NDArray[np.int64]]()

    def step(self, step: int) -> npt.NDArray[np.int64]:
        """Indices of the bags of a step (0-based)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:  # a million bags take longer to shuffle than a step takes on a GPU
            self._epoch, self._orders = (
                epoch,
                [
                    generator(self.seed, _SAMPLER_STREAM, epoch, i).permutation(stream)
                    for i, stream in enumerate(self.streams)
                ],
            )
        part = slice(position * self.batch_size, (position + 1) * self.batch_size)
        return np.concatenate([order[part] for order in self._orders])


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
