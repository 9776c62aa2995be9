"""The inputs of a training: settings, the bags of all feature files, the digest that tells runs apart."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from dsanet.checkpoint import read_info
from dsanet.detectors.config import DetectorConfig, InferConfig, TrainConfig, fit_classes
from dsanet.training.bags import BagList, list_bags
from dsanet.training.selection import split_records
from extract.errors import InputError
from extract.manifest import VideoRecord
from extract.store import feature_path


@dataclass(frozen=True)
class Plan:
    """A training that can begin, in any process."""

    bags: BagList
    select: BagList | None
    """Bags to select the checkpoint on."""
    out_dir: Path
    model: DetectorConfig
    """With the classes of the labels."""
    config: TrainConfig
    infer: InferConfig
    start_from: Path | None
    run_id: str

    @property
    def lists(self) -> list[BagList]:
        """The bags to train on, and those to select on if there are any."""
        return [self.bags, *([self.select] if self.select else [])]

    def with_folders(self, features_dir: Path, out_dir: Path) -> "Plan":
        """The same training with the folders of another machine."""
        bags, *rest = (
            replace(listed, paths=tuple(feature_path(features_dir, name) for name in listed.names))
            for listed in self.lists
        )
        return replace(self, bags=bags, select=rest[0] if rest else None, out_dir=out_dir)


def make_plan(
    records: Sequence[VideoRecord],
    features_dir: Path,
    out_dir: Path,
    model: DetectorConfig,
    config: TrainConfig,
    infer: InferConfig | None = None,
    start_from: Path | None = None,
) -> Plan:
    """The plan of a training with the arguments of `dsanet.train`. Raises as that function."""
    model = _with_classes(model, records)
    bags, select = _list(records, features_dir, model, config)
    run_id = _run_id(model, config, bags, select, start_from)
    return Plan(bags, select, out_dir, model, config, infer or InferConfig(), start_from, run_id)


def _with_classes(model: DetectorConfig, records: Sequence[VideoRecord]) -> DetectorConfig:
    classes = fit_classes((label for record in records for label in record.labels), model.classes)
    try:
        return type(model).model_validate(model.model_dump() | {"classes": classes})
    except ValidationError as error:
        raise InputError(
            f"the settings of {model.detector} do not fit the classes {', '.join(classes)}: "
            f"{error.errors()[0]['msg']}"
        ) from error


def _list(
    records: Sequence[VideoRecord], features_dir: Path, model: DetectorConfig, config: TrainConfig
) -> tuple[BagList, BagList | None]:
    """The bags to train on, and those to select the checkpoint on."""
    to_train, to_select = split_records(records, config)
    of = partial(list_bags, classes=model.classes, length=model.bag_length, segmented=model.segmented)
    bags = of(to_train, features_dir)
    return bags, of(to_select, features_dir, every_crop=False, like=bags) if to_select else None


def _run_id(
    model: DetectorConfig, config: TrainConfig, bags: BagList, select: BagList | None, start_from: Path | None
) -> str:
    """Digest of all inputs of a run."""
    parts: list[object] = [model.model_dump(), config.model_dump()]
    for part in (bags, select):
        labels = dict(zip(part.names, part.labels_VC.tolist(), strict=True)) if part else {}
        parts.append([part.digests, labels] if part else None)
    parts.append(read_info(start_from).weights_digest if start_from else None)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
