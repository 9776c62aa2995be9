"""Scores from a Ray cluster: the checkpoint and the features are sent to its nodes, the scores come back.

The windows of several videos share a batch, and the last digits of a score depend on the others of its batch.
So a node gets groups of videos whose windows fill whole batches: its batches are those of one machine.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from dsanet.causal.scorer import CausalScorer
from dsanet.checkpoint import load_checkpoint
from dsanet.checkpoint_info import INFO_FILE, WEIGHTS_FILE, CheckpointInfo, read_info, weights_file
from dsanet.detectors.config import InferConfig
from dsanet.inference import Scorer
from dsanet.training.feature_bags import require_same_features
from evaluate.scores import VideoScores
from extract.cluster.connection import ClusterConnection
from extract.cluster.messages import Done, Item, Killed, Note, Setup, Taken
from extract.config import ExtractRuntime
from extract.errors import InputError
from extract.store import feature_path, parse_features, read_features

_SHARD_BYTES = 64_000_000
"""Features of a shard; a few shards for each task are in memory."""


def cluster_scores(
    names: Sequence[str],
    features_dir: Path,
    checkpoint_dir: Path,
    config: InferConfig,
    runtime: ExtractRuntime,
    *,
    causal: bool = False,
) -> Iterator[VideoScores]:
    """The scores of each video of `names`, computed on the cluster of `runtime`, in any order.

    Raises:
        FileNotFoundError: The checkpoint or a feature file is missing.
        InputError: Ray is not installed, no cluster answers or it was lost for long, or as `dsanet.infer`.
    """
    info = read_info(checkpoint_dir)
    files = {INFO_FILE: checkpoint_dir / INFO_FILE, WEIGHTS_FILE: weights_file(checkpoint_dir)}
    work = _Scoring(files, config, causal)
    if causal:  # computed window by window
        groups = [[name] for name in names]
    else:
        groups = batch_groups(names, features_dir, config, info.model.window_rows)
    setup = Setup(runtime.ray_address, runtime.device.partition(":")[0], runtime.workers, work, _SHARD_BYTES)
    with ClusterConnection(setup) as connection:
        connection.connect()
        for message in connection.run([_item(group, features_dir) for group in groups]):
            if isinstance(message, Done):
                yield from message.value
            elif isinstance(message, Killed):
                raise InputError(f"{message.name} can't be scored: {message.reason}")


def batch_groups(
    names: Sequence[str], features_dir: Path, config: InferConfig, window_rows: int
) -> list[list[str]]:
    """The videos in groups, in order, whose windows fill whole batches; the last group has the rest.

    Raises FileNotFoundError, or FeatureFileError for a damaged file.
    """
    groups: list[list[str]] = [[]]
    windows = 0
    for name in names:
        snippets, crops = _shape(feature_path(features_dir, name))
        windows += (crops if config.crop == "mean" else 1) * -(-snippets // window_rows)
        groups[-1].append(name)
        if windows % config.batch_size == 0:
            groups.append([])
    return [group for group in groups if group]


def _shape(path: Path) -> tuple[int, int]:
    """Snippets and crops of a feature file, of which only the header is read."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            snippets, crops, _ = file["features"].shape
    except (OSError, KeyError, ValueError):
        snippets, crops, _ = read_features(path).features.shape  # says what is wrong
    return snippets, crops


def _item(group: Sequence[str], features_dir: Path) -> Item:
    paths = [feature_path(features_dir, name) for name in group]
    others = f" and {len(group) - 1} others" if len(group) > 1 else ""
    return Item(f"{group[0]}{others}", sum(path.stat().st_size for path in paths), paths)


@dataclass(frozen=True)
class _Scoring:
    """The work, as `extract.cluster.messages.Work`; an item's value is the paths of a group."""

    files: Mapping[str, Path]
    config: InferConfig
    causal: bool

    def content(self, value: Sequence[Path]) -> list[tuple[Path, bytes]]:
        return [(path, path.read_bytes()) for path in value]

    def load(self, files: Mapping[str, Path], device: str, cores: int, like: Any) -> "_NodeScoring":
        folder = next(iter(files.values())).parent
        checkpoint = load_checkpoint(folder, device)
        scorer = (CausalScorer if self.causal else Scorer)(checkpoint, self.config)
        return _NodeScoring(scorer, checkpoint.info)


@dataclass(frozen=True)
class _NodeScoring:
    """The detector of a process on a node."""

    scorer: Scorer | CausalScorer
    info: CheckpointInfo

    @property
    def description(self) -> str:
        return self.info.weights_digest

    def run(self, items: Iterable[Item]) -> Iterator[Taken | Note | Done | None]:
        for item in items:
            yield Taken(item.name)
            videos = [parse_features(path, image) for path, image in item.value]
            for (path, _), video in zip(item.value, videos, strict=True):
                require_same_features(video.meta, self.info.encoder, self.info.extract, path)
            yield Done(item.name, list(self.scorer.score(videos)))
