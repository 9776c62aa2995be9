"""Inference (DSANet, section 3.5): windows of several videos in one batch, score files.

A video is cut into consecutive windows; the last one is padded and its output cut back. DSANet's SG-NM does
not run unless `normal_distance` is set.

T snippets of a video or window, D width, C classes (0 = normal).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dsanet.causal.scorer import CausalScorer
from dsanet.checkpoint import Checkpoint, load_checkpoint
from dsanet.detectors.config import InferConfig
from dsanet.layers.transfer import to_device
from dsanet.snippet_scores import ArrayScores, checked_features, chosen_crops, video_scores
from dsanet.training.feature_bags import require_same_features
from evaluate.scores import ScoreFileError, VideoScores, read_provenance, score_path, write_scores
from extract.encoder import resolve_device
from extract.store import VideoFeatures, content_digest, feature_path, read_features


@dataclass(frozen=True)
class InferResult:
    """Names of the videos with a new score file, and of those whose score file was up to date."""

    written: list[str]
    reused: list[str]


def infer(
    names: Sequence[str],
    features_dir: Path,
    checkpoint_dir: Path,
    scores_dir: Path,
    config: InferConfig,
    *,
    device: str = "auto",
    causal: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    score: Callable[[Sequence[str]], Iterator[VideoScores]] | None = None,
) -> InferResult:
    """Write `scores_dir/<name>.h5` for each video of `names` from `features_dir/<name>.h5`.

    A score file with the same inputs (weights, features, settings) is kept.

    Args:
        names: Names of the videos.
        features_dir: Folder of the feature files.
        checkpoint_dir: Folder of the checkpoint.
        scores_dir: Folder of the score files.
        config: Settings of the inference.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        causal: Score each snippet from those before it alone, as of a camera (`dsanet.causal.scorer`).
        on_progress: Called with the number of finished videos and of all videos.
        score: Computes the scores of the videos in place of this process, in any order.

    Raises:
        FileNotFoundError: The checkpoint or a feature file is missing.
        ValueError: The features come from another encoder than the checkpoint's, or lack the chosen crop.

    Examples:
        >>> from pathlib import Path
        >>> from dsanet import infer
        >>> from dsanet.detectors.config import InferConfig
        >>> infer(["camera1"], Path("ws/features"), Path("ws/model"), Path("ws/scores"), InferConfig())
        InferResult(written=['camera1'], reused=[])
    """
    checkpoint = load_checkpoint(checkpoint_dir, resolve_device(device))
    result = InferResult([], [])

    def done(name: str, reused: bool) -> None:
        (result.reused if reused else result.written).append(name)
        if on_progress is not None:
            on_progress(len(result.reused) + len(result.written), len(names))

    missing = []
    for name in names:
        digest = content_digest(feature_path(features_dir, name))
        origin = provenance(checkpoint, digest, config, causal=causal)
        if _is_current(score_path(scores_dir, name), origin):
            done(name, reused=True)
        else:
            missing.append((name, origin))

    def score_here(names: Sequence[str]) -> Iterator[VideoScores]:
        scorer = (CausalScorer if causal else Scorer)(checkpoint, config)
        return scorer.score(_read(features_dir, name, checkpoint) for name in names)

    origins = dict(missing)
    for scores in (score or score_here)(list(origins)) if origins else ():
        write_scores(score_path(scores_dir, scores.name), scores, origins[scores.name])
        done(scores.name, reused=False)
    return result


def provenance(
    checkpoint: Checkpoint, features_digest: str, config: InferConfig, *, causal: bool = False
) -> dict[str, object]:
    """The inputs that determine a score file's content, as stored in the file."""
    return {
        "checkpoint": checkpoint.info.weights_digest,
        "features": features_digest,
        "infer": config.model_dump(exclude={"batch_size"}),
        "notes": list(checkpoint.info.notes),
        **({"causal": True} if causal else {}),
    }


def _is_current(path: Path, origin: dict[str, object]) -> bool:
    try:
        return read_provenance(path) == origin
    except (FileNotFoundError, ScoreFileError):
        return False


def _read(features_dir: Path, name: str, checkpoint: Checkpoint) -> VideoFeatures:
    path = feature_path(features_dir, name)
    features = read_features(path)
    require_same_features(features.meta, checkpoint.info.encoder, checkpoint.info.extract, path)
    return features


@dataclass
class _Windows:
    """The windows of one video, crop by crop, and the outputs of those computed so far."""

    name: str
    features: np.ndarray
    """(T, crops, D)."""
    crops: Sequence[int]
    length: int
    source: VideoFeatures | None = None
    parts: list[dict[str, np.ndarray]] = field(default_factory=list)

    def __iter__(self) -> Iterator[np.ndarray]:
        for crop in self.crops:
            for start in range(0, len(self.features), self.length):
                yield self.features[start : start + self.length, crop]

    @property
    def complete(self) -> bool:
        return len(self.parts) == len(self.crops) * -(-len(self.features) // self.length)

    def joined(self) -> dict[str, np.ndarray]:
        """Outputs of the whole video by name, averaged over the crops."""
        values: dict[str, np.ndarray] = {}
        for name in self.parts[0]:
            rows = np.concatenate([part[name] for part in self.parts])
            values[name] = rows.reshape(len(self.crops), -1, *rows.shape[1:]).mean(0)
        return values


class Scorer:
    """Scores videos with one checkpoint; the class embeddings are computed once.

    Args:
        checkpoint: The result of `load_checkpoint`.
        config: Settings of the inference; default: those stored in the checkpoint.

    Examples:
        >>> import numpy as np
        >>> from dsanet import Scorer, load_checkpoint
        >>> scorer = Scorer(load_checkpoint("ws/model"))
        >>> scorer.score_array(np.zeros((40, 512))).anomaly_T.shape
        (40,)
    """

    def __init__(self, checkpoint: Checkpoint, config: InferConfig | None = None) -> None:
        self.model = checkpoint.model
        self.classes = checkpoint.info.model.classes
        self.config = config or checkpoint.info.infer
        self.length = checkpoint.info.model.window_rows
        self.trims = checkpoint.info.model.segmented  # such a detector takes windows of any length
        with torch.inference_mode():
            self.text_CD = self.model.text_embeddings()

    def score(self, videos: Iterable[VideoFeatures]) -> Iterator[VideoScores]:
        """Scores of each video, in order, as soon as all its windows are computed.

        Batches span videos. Raises ValueError for a crop number that a video does not have.
        """
        for windows in self._run(self._windows(v.name, v.features, v) for v in videos):
            assert windows.source is not None
            yield video_scores(windows.source, windows.joined(), self.classes)

    def score_array(self, features: npt.ArrayLike) -> ArrayScores:
        """Scores of one video's features, (T, 512) or (T, crops, 512), in the snippets' order.

        The features must come from the checkpoint's encoder (`checkpoint.info.encoder`), which cannot be
        checked on an array. Raises ValueError for another shape, an empty array, or non-finite values.
        """
        array = checked_features(features, self.model.config.feature_dim)
        windows = next(self._run([self._windows("the array", array)]))
        values = windows.joined()
        return ArrayScores(values["anomaly"], values.get("classes"))

    def _windows(self, name: str, features: np.ndarray, source: VideoFeatures | None = None) -> _Windows:
        chosen = chosen_crops(self.config.crop, features.shape[1], name)
        return _Windows(name, features, chosen, self.length, source)

    def _run(self, videos: Iterable[_Windows]) -> Iterator[_Windows]:
        """The videos, in order, as soon as all their windows are computed."""
        queue: list[tuple[_Windows, np.ndarray]] = []
        for video in videos:
            queue += ((video, window_TD) for window_TD in video)
            while len(queue) >= self.config.batch_size:
                yield from self._run_batch(queue[: self.config.batch_size])
                del queue[: self.config.batch_size]
        if queue:
            yield from self._run_batch(queue)

    @torch.inference_mode()
    def _run_batch(self, batch: Sequence[tuple[_Windows, np.ndarray]]) -> list[_Windows]:
        """Compute a batch of windows; returns the videos that are now complete."""
        lengths = [len(window_TD) for _, window_TD in batch]
        rows = max(lengths) if self.trims else self.length
        features_BTD = torch.zeros(len(batch), rows, self.model.config.feature_dim)
        for row_TD, (_, window_TD) in zip(features_BTD, batch, strict=True):
            row_TD[: len(window_TD)] = torch.from_numpy(window_TD)
        device = next(self.model.parameters()).device
        lengths_B = torch.tensor(lengths)
        output = self.model(to_device(features_BTD, device), lengths_B, self.text_CD)
        arrays = self.model.scores(output, lengths_B, self.config)
        numpy = {name: array.float().cpu().numpy() for name, array in arrays.items()}
        complete = []
        for i, (video, window_TD) in enumerate(batch):
            video.parts.append({name: array[i, : len(window_TD)] for name, array in numpy.items()})
            if video.complete:
                complete.append(video)
        return complete
