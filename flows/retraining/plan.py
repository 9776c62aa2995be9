"""The plan of a retraining: the videos whose features or scores are missing or out of date.

It is made from the library's rows and the state of the files, which are not read: of a library of many
videos, a run does what is new.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from extract.config import ExtractConfig
from extract.store import FeatureFileError, content_digest, feature_path
from flows.library.records import RecordedFeatures
from flows.library.results import Results
from flows.pipeline.stages import EXTRACT, INFER
from flows.workspace.run import Run, digest_of

SETTINGS_DIGITS = 16


@dataclass
class FeaturePlan:
    """Digests of videos by what is to be done with their features."""

    extract: list[str] = field(default_factory=list)
    """No features, other settings, or a feature file that is lost or has other content."""
    record: list[str] = field(default_factory=list)
    """The feature file is as it was, and its row lacks something: of an earlier version, or a copied file."""
    total: int = 0


def extraction_settings(run: Run) -> str:
    """Digest of what determines features besides the videos."""
    config: ExtractConfig = run.config.extract
    weights = run.digest(Path(config.weights)) or config.weights
    settings = config.model_dump(exclude={"weights"})
    return digest_of(EXTRACT.version, settings, weights, run.config.runtime.partial)[:SETTINGS_DIGITS]


def inference_settings(run: Run) -> str:
    """Digest of what determines scores besides the checkpoint and the features."""
    return digest_of(INFER.version, run.config.infer.model_dump(exclude={"batch_size"}))[:SETTINGS_DIGITS]


def plan_features(library: Results, features_dir: Path, settings: str) -> FeaturePlan:
    """Compare the recorded features with the files and with the settings of today."""
    plan = FeaturePlan()
    for one in library.recorded_features():
        plan.total += 1
        if one.digest is None or one.made_with != settings:
            plan.extract.append(one.video)
            continue
        state = _state(f"{features_dir}/{one.name}.h5")
        if state is None:
            plan.extract.append(one.video)
        elif state != (one.file_size, one.file_mtime_ns) or not one.has_mean:
            same = _has_content(features_dir, one)
            (plan.record if same else plan.extract).append(one.video)
    return plan


def unscored(library: Results, model: str, scores_dir: Path, settings: str) -> Iterator[str]:
    """Digests of the videos whose score by a version is missing or was made from something else."""
    for one in library.recorded_scores(model):
        current = one.made_from == one.features and one.made_with == settings
        if not current or _state(f"{scores_dir}/{one.name}.h5") is None:
            yield one.video


def _has_content(features_dir: Path, recorded: RecordedFeatures) -> bool:
    try:
        return content_digest(feature_path(features_dir, recorded.name)) == recorded.digest
    except FeatureFileError:  # the extraction replaces it
        return False


def _state(path: str) -> tuple[int, int] | None:
    """Size and modification time, None without a file; a Path would cost more than the call."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
