"""Checkpoint selection by video-level metrics, since weak labels provide no frame-level ground truth.

The highest AUC of the top-k anomaly score wins; on equal AUC (common on a small split) the lower validation
loss, which is L_det + λ·L_align, or L_det for a detector without anomaly classes. The field selects on the
test split; `select_on="test"` does so and adds a note to the checkpoint.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from dsanet.detectors.base import Detector
from dsanet.detectors.config import TrainConfig
from dsanet.layers.bag_losses import alignment_loss, detection_loss
from dsanet.layers.ragged import topk_mean
from dsanet.training.bags import Bags, hold_out_validation
from dsanet.training.group import Group
from dsanet.training.read_ahead import read_ahead
from extract.errors import InputError
from extract.manifest import VideoRecord

METRICS = ("val_auc", "val_ap", "val_accuracy", "val_loss")
_BATCH = 32


class Best(NamedTuple):
    """The best weights so far, with their validation metrics and step."""

    metrics: dict[str, float]
    step: int
    weights: dict[str, Tensor]


def better(metrics: dict[str, float], best: Best | None) -> bool:
    """True if `metrics` are better than the best so far: a higher AUC, or the same AUC and a lower loss."""
    return best is None or _rank(metrics) > _rank(best.metrics)


def _rank(metrics: dict[str, float]) -> tuple[float, float]:
    return metrics.get("val_auc", 0.0), -metrics["val_loss"]


class _Measured(NamedTuple):
    """Results of one batch."""

    scores: list[float]
    hits: list[float]
    loss: float


def validate(
    model: Detector, bags: Bags, config: TrainConfig, group: Group | None = None
) -> dict[str, float]:
    """Video-level `val_auc`, `val_ap`, `val_accuracy` and `val_loss`; puts the model in eval mode.

    `val_accuracy` is the fraction of bags whose most likely class is one of their labels; it is omitted for a
    detector without anomaly classes. AUC and AP are omitted if all bags are normal or all are anomalous. The
    processes of a `group` share the batches, and all get the metrics.
    """
    model.eval()
    measured = _all_batches(model, bags, config, group)
    scores = [score for one in measured for score in one.scores]
    hits = [hit for one in measured for hit in one.hits]
    losses = [one.loss for one in measured for _ in one.scores]
    metrics = {"val_loss": float(np.mean(losses))}
    if hits:
        metrics["val_accuracy"] = float(np.mean(hits))
    truth = bags.listed.anomalous
    if truth.any() and not truth.all():
        metrics["val_auc"] = float(roc_auc_score(truth, scores))
        metrics["val_ap"] = float(average_precision_score(truth, scores))
    return metrics


def _all_batches(model: Detector, bags: Bags, config: TrainConfig, group: Group | None) -> list[_Measured]:
    """The results of all batches in their order."""
    starts = range(0, len(bags), _BATCH)
    if group is None:
        return list(_measured(model, bags, starts, config))
    parts = group.from_each(list(_measured(model, bags, starts[group.rank :: group.size], config)))
    return [parts[i % group.size][i // group.size] for i in range(len(starts))]


@torch.inference_mode()
def _measured(model: Detector, bags: Bags, starts: Sequence[int], config: TrainConfig) -> Iterator[_Measured]:
    """The results of the batches that begin with these bags."""
    device = next(model.parameters()).device
    text_CD = model.text_embeddings()
    order = (np.arange(start, min(start + _BATCH, len(bags))) for start in starts)
    for batch in read_ahead(bags, order, device):
        output = model(batch.features_BTD, batch.lengths_B, text_CD)
        video_B = topk_mean(torch.sigmoid(output.anomaly_BT)[..., None], batch.lengths_B).squeeze(-1)
        loss = detection_loss(output.anomaly_BT, batch.labels_BC, batch.lengths_B)
        hits = []
        if output.classes_BTC is not None:
            likeliest_B = topk_mean(output.classes_BTC, batch.lengths_B).argmax(1).cpu()
            hits = batch.labels_BC.take_along_dim(likeliest_B[:, None], 1).squeeze(1).tolist()
            loss += config.align_weight * alignment_loss(output.classes_BTC, batch.labels_BC, batch.lengths_B)
        yield _Measured(video_B.tolist(), hits, loss.item())


def split_records(
    records: Sequence[VideoRecord], config: TrainConfig
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """The records to train on, and those to select the checkpoint on.

    If the manifest has no val split, a part of the training videos is used; the part is empty if there are
    too few of them, or with select_on = none. Raises ValueError for select_on = test without test videos.
    """
    by_split = {
        split: [record for record in records if record.split == split] for split in ("train", "val", "test")
    }
    if config.select_on == "test":
        if not by_split["test"]:
            raise InputError("select_on = test, but the manifest has no test videos")
        return by_split["train"], by_split["test"]
    if config.select_on == "none":
        return by_split["train"], []
    if by_split["val"]:
        return by_split["train"], by_split["val"]
    return hold_out_validation(by_split["train"], config.val_fraction, config.seed)
