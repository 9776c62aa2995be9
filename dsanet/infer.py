"""Inference (section 3.5): windows of many videos in one batch, belief modulation, score files.

A video is cut into consecutive windows of T snippets, the last one padded; outputs are cut back.
SG-NM does not run, unless its distances are asked for.

T snippets of a video (or rows of a window), C classes (0 = normal), D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dsanet.checkpoint import Checkpoint, load_checkpoint
from dsanet.config import InferConfig
from dsanet.data import require_same_features
from dsanet.model import DSANet
from evaluate.scores import ScoreFileError, VideoScores, read_provenance, score_path, write_scores
from extract.encoder import resolve_device
from extract.store import VideoFeatures, content_digest, feature_path, read_features


@dataclass(frozen=True)
class InferResult:
    written: list[str]
    reused: list[str]


def belief_modulation(anomaly_logits_BT: Tensor, classes_BTC: Tensor, beta: float) -> Tensor:
    """Hierarchical Belief Modulation (section 3.5): (B, T, C) float32 probabilities that sum to 1.

    p = σ(S_det / β) is spread over the anomaly classes as softmax(S_align / β) among them would;
    P(normal) = 1 − p. Monotone in S_det: an AUC of 1 − P(normal) is that of S_det.
    """
    logits_BT = anomaly_logits_BT.float() / beta
    share_BTC = (classes_BTC.float()[..., 1:] / beta).softmax(-1)
    anomalous_BTC = torch.sigmoid(logits_BT)[..., None] * share_BTC
    return torch.cat([torch.sigmoid(-logits_BT)[..., None], anomalous_BTC], dim=-1)


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
        self.model: DSANet = checkpoint.model
        self.classes = checkpoint.info.model.classes
        self.config = config
        self.length = checkpoint.info.model.bag_length
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
        features_BTD = torch.zeros(len(queue), self.length, self.model.config.feature_dim)
        for row_TD, (_, window_TD) in zip(features_BTD, queue, strict=True):
            row_TD[: len(window_TD)] = torch.from_numpy(window_TD)
        device = self.text_CD.device
        lengths_B = torch.tensor(lengths, device=device)
        output = self.model(features_BTD.to(device), lengths_B, self.text_CD)
        arrays = {
            "anomaly": torch.sigmoid(output.anomaly_BT),
            "classes": belief_modulation(output.anomaly_BT, output.classes_BTC, self.config.beta),
        }
        if self.config.learned_features:
            arrays["learned"] = output.video_BTD
        if self.config.normal_distance:
            arrays["normal_distance"] = self.model.normal_distance(output, lengths_B)
        if output.event_BC is not None and output.background_BC is not None:
            # One row a window: repeated, so that averaging over rows weighs windows by their length.
            arrays["event"] = output.event_BC.softmax(-1)[:, None].expand(-1, self.length, -1)
            arrays["background"] = output.background_BC.softmax(-1)[:, None].expand(-1, self.length, -1)
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
            classes_TC=values["classes"],
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
