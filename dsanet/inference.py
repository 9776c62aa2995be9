"""Inference (section 3.5): windows of many videos in one batch, score files.

A video is cut into consecutive windows of T snippets, the last one padded; outputs are cut back.
DSANet's SG-NM does not run, unless its distances are asked for.

T snippets of a video (or rows of a window), D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from dsanet.checkpoint import Checkpoint, load_checkpoint
from dsanet.detectors.dsanet.config import InferConfig
from dsanet.layers.belief import belief_modulation
from dsanet.training.bags import require_same_features
from evaluate.scores import ScoreFileError, VideoScores, read_provenance, score_path, write_scores
from extract.encoder import resolve_device
from extract.store import VideoFeatures, content_digest, feature_path, read_features

__all__ = ["InferResult", "Scorer", "belief_modulation", "infer", "provenance"]


@dataclass(frozen=True)
class InferResult:
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
    on_progress: Callable[[int, int], None] | None = None,
) -> InferResult:
    """Score videos: one score file each, those already made from the same inputs are kept.

    Raises FileNotFoundError for a missing checkpoint or feature file, and ValueError for features of
    another fingerprint than the checkpoint's.
    """
    checkpoint = load_checkpoint(checkpoint_dir, resolve_device(device))
    result = InferResult([], [])

    def done(name: str, reused: bool) -> None:
        (result.reused if reused else result.written).append(name)
        if on_progress is not None:
            on_progress(len(result.reused) + len(result.written), len(names))

    missing = []
    for name in names:
        origin = provenance(checkpoint, content_digest(feature_path(features_dir, name)), config)
        if _is_current(score_path(scores_dir, name), origin):
            done(name, reused=True)
        else:
            missing.append((name, origin))
    scorer = Scorer(checkpoint, config)
    origins = dict(missing)
    for scores in scorer.score(_read(features_dir, name, checkpoint) for name in origins):
        write_scores(score_path(scores_dir, scores.name), scores, origins[scores.name])
        done(scores.name, reused=False)
    return result


def provenance(checkpoint: Checkpoint, features_digest: str, config: InferConfig) -> dict[str, object]:
    """What decides a score file's content."""
    return {
        "checkpoint": checkpoint.info.weights_digest,
        "features": features_digest,
        "infer": config.model_dump(exclude={"batch_size"}),
        "notes": list(checkpoint.info.notes),
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
class _Video:
    """A video on its way: the outputs of its windows so far, in the order crop by crop."""

    features: VideoFeatures
    crops: Sequence[int]
    windows: int
    parts: list[dict[str, np.ndarray]] = field(default_factory=list)


class Scorer:
    """Scores videos with one checkpoint; the class embeddings are computed once."""

    def __init__(self, checkpoint: Checkpoint, config: InferConfig) -> None:
        self.model = checkpoint.model
        self.classes = checkpoint.info.model.classes
        self.config = config
        self.length = checkpoint.info.model.window_rows
        self.trims = checkpoint.info.model.segmented  # nothing in it has a fixed number of rows
        with torch.inference_mode():
            self.text_CD = self.model.text_embeddings()

    def score(self, videos: Iterator[VideoFeatures]) -> Iterator[VideoScores]:
        """The scores of each video, in order, as soon as all its windows have passed."""
        queue: list[tuple[_Video, np.ndarray]] = []
        for features in videos:
            video = self._video(features)
            queue += ((video, window_TD) for window_TD in self._windows(video))
            while len(queue) >= self.config.batch_size:
                yield from self._run(queue[: self.config.batch_size])
                del queue[: self.config.batch_size]
        if queue:
            yield from self._run(queue)

    def _video(self, features: VideoFeatures) -> _Video:
        snippets, crops = features.features.shape[:2]
        if self.config.crop == "mean":
            chosen = list(range(crops))
        elif 0 <= self.config.crop < crops:
            chosen = [self.config.crop]
        else:
            raise ValueError(f"{features.name} has {crops} crops, there is no crop {self.config.crop}")
        return _Video(features, chosen, len(chosen) * -(-snippets // self.length))

    def _windows(self, video: _Video) -> Iterator[np.ndarray]:
        snippets = len(video.features.features)
        for crop in video.crops:
            for start in range(0, snippets, self.length):
                yield video.features.features[start : start + self.length, crop]

    @torch.inference_mode()
    def _run(self, queue: Sequence[tuple[_Video, np.ndarray]]) -> Iterator[VideoScores]:
        lengths = [len(window_TD) for _, window_TD in queue]
        rows = max(lengths) if self.trims else self.length
        features_BTD = torch.zeros(len(queue), rows, self.model.config.feature_dim)
        for row_TD, (_, window_TD) in zip(features_BTD, queue, strict=True):
            row_TD[: len(window_TD)] = torch.from_numpy(window_TD)
        device = next(self.model.parameters()).device
        lengths_B = torch.tensor(lengths, device=device)
        output = self.model(features_BTD.to(device), lengths_B, self.text_CD)
        arrays = self.model.scores(output, lengths_B, self.config)
        numpy = {name: array.float().cpu().numpy() for name, array in arrays.items()}
        for i, (video, window_TD) in enumerate(queue):
            video.parts.append({name: array[i, : len(window_TD)] for name, array in numpy.items()})
            if len(video.parts) == video.windows:
                yield self._finish(video)

    def _finish(self, video: _Video) -> VideoScores:
        """Join the windows, average the crops."""
        values: dict[str, np.ndarray] = {}
        for name in video.parts[0]:
            rows = np.concatenate([part[name] for part in video.parts])
            values[name] = rows.reshape(len(video.crops), -1, *rows.shape[1:]).mean(0)
        for name in values.keys() & {"event", "background"}:
            values[name] = values[name].mean(0)
        meta = video.features.meta
        return VideoScores(
            name=video.features.name,
            anomaly_T=values["anomaly"],
            classes_TC=values.get("classes"),
            classes=self.classes,
            snippet_length=meta.config.snippet_length,
            n_frames=meta.source.n_frames,
            fps=meta.source.fps,
            event_C=values.get("event"),
            background_C=values.get("background"),
            frame_index_T=video.features.frame_index,
            time_s_T=video.features.time_s,
            learned_TD=values.get("learned"),
            normal_distance_T=values.get("normal_distance"),
        )
