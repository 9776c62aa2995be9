"""The model versions of a retraining: the champion, a new challenger, and the registration of both."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dsanet.checkpoint import CURVES_FILE, INFO_FILE, read_info
from dsanet.detectors.config import fit_classes
from evaluate.report.metrics_file import read_metrics
from extract.errors import MissingFileError
from extract.manifest import VideoRecord
from flows.library.records import HELD_OUT, Video
from flows.pipeline.stages import EVALUATE, INFER, TRAIN
from flows.retraining.steps import Retraining
from flows.workspace.model_reference import restore_version
from flows.workspace.model_registry import MODEL_FOLDER, REPORT_FOLDER
from flows.workspace.registered_versions import CHALLENGER, CHAMPION, Version
from flows.workspace.run import Run, digest_of
from flows.workspace.training_runs import TrainingRecord
from flows.workspace.versions import KEY_LENGTH, TrainingVideo, VersionFolder, checkpoint_key

log = logging.getLogger(__name__)


def check_has_model(work: Retraining, *, new_registry: bool = False) -> None:
    """Restore lost files of the champion; without one, check that the workspace has a checkpoint.

    Raises RegistryLostError if the registry was deleted, unless there is to be a new one, VersionLostError if
    the champion's checkpoint is lost, and FileNotFoundError if there is no model at all.
    """
    if not new_registry:
        work.registry.check_not_lost()
    champion = work.registry.champion()
    if champion is not None:
        restore_version(work.registry, champion, work.folder(champion.key))
        return
    workspace = work.run.workspace
    if not (workspace.model / INFO_FILE).is_file() and not work.registry.versions() and not new_registry:
        raise MissingFileError(
            f"no model in {workspace.name} yet; train the first one with `dsanet run --out {workspace.name}`"
        )


def current_champion(work: Retraining) -> Version:
    """The champion, with its checkpoint in its folder.

    A checkpoint in the workspace's `model/` that is not registered yet becomes a version; the first version
    becomes the first champion. Raises VersionLostError if the checkpoint is lost.
    """
    model = work.run.workspace.model
    if (model / INFO_FILE).is_file() and work.registry.by_key(checkpoint_key(model)) is None:
        _register_workspace_model(work, model)
    work.registry.finish_promotion()
    if work.registry.champion() is None:
        work.registry.promote(_first_version(work))
    champion = work.registry.find(CHAMPION)
    restore_version(work.registry, champion, work.folder(champion.key))
    return champion


def _first_version(work: Retraining) -> Version:
    versions = work.registry.versions()
    if not versions:
        root = work.run.workspace.name
        raise MissingFileError(f"no complete model in {root}; train one with `dsanet run --out {root}`")
    return versions[0]


def rebuild_registry(work: Retraining) -> None:
    """Register every complete version folder in an empty registry, the oldest first."""
    if work.registry.versions():
        return
    folders = [
        work.folder(path.parent.name) for path in work.run.workspace.root.glob("models/*/training.json")
    ]
    complete = [folder for folder in folders if folder.has_model and folder.has_training_set]
    for folder in sorted(complete, key=lambda folder: folder.training_file.stat().st_mtime_ns):
        version = _register(work, folder.root.name)
        log.info("%-9s version %d is models/%s", "registry", version.number, version.key)


def _register_workspace_model(work: Retraining, model: Path) -> None:
    """Register a checkpoint that `dsanet run` has trained on the manifest, or that was imported."""
    key = checkpoint_key(model)
    folder = work.folder(key)
    if not folder.has_model:
        folder.copy_model(model)
    is_imported = not read_info(model).feature_digests  # its training set is unknown
    manifest = sorted(record.name for record in work.run.records if record.split not in HELD_OUT)
    videos = [] if is_imported else work.having_features(work.library.with_names(manifest))
    folder.write_training_set(training_set(videos))
    _register(work, key)


def training_set(videos: Iterable[Video]) -> list[TrainingVideo]:
    """The videos in the form of `training.json`; those without labels are left out."""
    return [
        TrainingVideo(digest=video.digest, labels=video.labels, split=video.split)
        for video in videos
        if video.labels
    ]


def newly_labelled(videos: Iterable[Video], trained_on: Iterable[TrainingVideo]) -> list[Video]:
    """The labelled videos that may be trained on and are not in a training set with the same labels."""
    seen = {(video.digest, video.labels) for video in trained_on}
    return [v for v in videos if v.labels and not v.held_out and (v.digest, v.labels) not in seen]


def train_challenger(work: Retraining, champion: Version, videos: Sequence[Video]) -> Version:
    """Train the challenger on these videos; a version that was trained on the same inputs is reused."""
    run = _challenger_run(work, champion, [video.manifest_record() for video in videos])
    key = digest_of(TRAIN.version, TRAIN.inputs(run))[:KEY_LENGTH]
    version = work.registry.by_key(key)
    if version is None:
        folder = work.folder(key)
        folder.write_training_set(training_set(videos))
        TRAIN(replace(run, workspace=folder))
        version = _register(work, key)
    if not {CHAMPION, CHALLENGER} & set(version.aliases):
        work.registry.set_challenger(version)
    return version


def _challenger_run(work: Retraining, champion: Version, training: Sequence[VideoRecord]) -> Run:
    """The run that trains a challenger: from scratch or, with `train.init=champion`, from its weights.

    The champion's weights serve only if they have a class for every label.
    """
    run = replace(work.run, videos=[*training, *work.test_records()])
    if run.config.train.init == "scratch":
        return run
    model = work.folder(champion.key).model
    config = read_info(model).model
    labels = (label for record in run.records for label in record.labels)
    if tuple(fit_classes(labels, config.classes)) != config.classes:
        log.warning(
            "the footage has labels that the champion has no class for; the challenger starts from scratch"
        )
        return run
    return replace(run.with_config(model=config), start_from=model)


def _register(work: Retraining, key: str) -> Version:
    """Score and evaluate a finished checkpoint on the test split, and enter it into the model registry."""
    folder = work.folder(key)
    run = folder.run(work.run, work.test_records())
    INFER(run)
    EVALUATE(run)
    return work.registry.register(
        TrainingRecord(
            key=key,
            title=run.inputs.title,
            params=_params(folder),
            curves_csv=folder.model / CURVES_FILE,
            metrics=_metrics(folder),
            files=[
                (folder.model, MODEL_FOLDER),
                (folder.report, REPORT_FOLDER),
                (folder.training_file, ""),
            ],
        )
    )


def _params(folder: VersionFolder) -> dict[str, Any]:
    """Parameters of a version as MLflow shows them: its settings, encoder and number of training videos."""
    info = read_info(folder.model)
    settings = info.model_dump(mode="json", include={"model", "train", "infer", "extract", "notes"})
    return {**settings, "encoder": info.encoder.digest, "videos": len(folder.read_training_set())}


def _metrics(folder: VersionFolder) -> dict[str, float]:
    """Figures as MLflow shows them: `test_…` from the report, `chosen_…` from the checkpoint's selection."""
    figures = read_metrics(folder.report / "metrics.json")
    metrics = {f"test_{name}": figures[name] for name in ("auc", "ap", "anomaly_auc", "far")}
    metrics |= {
        f"test_map_{protocol}": found["average"] for protocol, found in (figures["map"] or {}).items()
    }
    metrics |= {f"test_video_{name}": figures["video"][name] for name in ("auc", "ap", "accuracy")}
    metrics |= {f"chosen_{name}": value for name, value in read_info(folder.model).metrics.items()}
    return {
        name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)
    }
