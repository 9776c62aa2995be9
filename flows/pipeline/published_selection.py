"""Selection of a checkpoint on the test set, as the published code does it.

After each epoch the test videos are scored, and the weights with the best frame figure are kept: AUC on
UCF-Crime, AP on XD-Violence. (The published code also looks at them within the epochs.)
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dsanet.checkpoint import Checkpoint, CheckpointError, CheckpointInfo, read_info, save_checkpoint
from dsanet.detectors.base import Detector
from dsanet.inference import Scorer
from dsanet.training.train import TEST_NOTE
from evaluate.metrics.frames import frame_metrics
from evaluate.scores import expand_to_frames
from extract.errors import MissingFileError
from extract.store import VideoFeatures, feature_path, read_features
from flows.pipeline.stages.evaluate import read_truths
from flows.workspace.run import Run

log = logging.getLogger(__name__)


class PublishedSelection:
    """Keeps the best weights of a training in a checkpoint folder; called after each epoch.

    Args:
        run: The training; its test videos are those that the weights are selected on.
        folder: Folder of the checkpoint.
        figure: The frame figure that decides.
        key: Digest of the training's inputs. A checkpoint of a training with the same key, interrupted or
            finished, counts as the best so far; another is replaced.
    """

    def __init__(self, run: Run, folder: Path, figure: Literal["auc", "ap"], key: str) -> None:
        self.run, self.folder, self.figure, self.key = run, folder, figure, key
        self.truths = {truth.name: truth for truth in read_truths(run)}

    @property
    def best(self) -> CheckpointInfo | None:
        """The checkpoint selected so far; None if there is none of this training."""
        try:
            info = read_info(self.folder)
        except (CheckpointError, MissingFileError):
            return None
        return info if info.run_id == self.key else None

    def __call__(self, step: int, net: Detector) -> None:
        """Score the test videos with `net` after `step` updates, and keep its weights if they are better."""
        first = self.run.index.read_meta(next(iter(self.truths)))
        info = CheckpointInfo(
            model=net.config,
            train=self.run.config.train,
            infer=self.run.config.infer,
            encoder=first.encoder,
            extract=first.config,
            step=step,
            notes=(TEST_NOTE,),
            run_id=self.key,
        )
        metrics = self._metrics(Checkpoint(net, info))
        best = self.best
        better = best is None or metrics[self.figure] > best.metrics[self.figure]
        shown = ", ".join(f"{name.upper()} {100 * value:.2f}" for name, value in metrics.items())
        log.info(
            "%-9s after %d updates: %s%s", "test set", step, shown, ", the best so far" if better else ""
        )
        if better:
            save_checkpoint(self.folder, net, info.model_copy(update={"metrics": metrics}))

    def _metrics(self, checkpoint: Checkpoint) -> dict[str, float]:
        scores, labels = {}, {}
        for found in Scorer(checkpoint).score(self._features()):
            name = found.name
            scores[name] = expand_to_frames(found.anomaly_T, found.snippet_length, found.n_frames, name)
            labels[name] = self.truths[name].frame_labels(found.n_frames)
        frame = frame_metrics(scores, labels)
        return {"auc": frame.auc or 0.0, "ap": frame.ap or 0.0}

    def _features(self) -> Iterator[VideoFeatures]:
        folder = self.run.workspace.features
        return (read_features(feature_path(folder, name)) for name in self.truths)
