"""The steps of a retraining over one workspace, each of which may be done again: what is done stays done."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dsanet.checkpoint import INFO_FILE, read_info
from dsanet.detectors.config import fit_classes
from dsanet.training.curves import CURVES_FILE
from evaluate.annotations import VideoTruth
from evaluate.predictions import predicted_class, top_snippets, video_score
from evaluate.report.write import read_metrics
from evaluate.scores import VideoScores, read_scores, score_path
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.store import content_digest, feature_path, read_features
from flows.library.from_manifest import import_manifest
from flows.library.inbox import Scan, scan
from flows.library.library import Features, Library, Score, Video
from flows.pipeline.stages import EVALUATE, EXTRACT, INFER, TRAIN
from flows.pipeline.stages.evaluate import read_truths
from flows.workspace.model_reference import restore_checkpoint
from flows.workspace.model_registry import (
    CHALLENGER,
    CHAMPION,
    MODEL_FOLDER,
    REPORT_FOLDER,
    Registry,
    TrainingRecord,
    Version,
)
from flows.workspace.run import Run, check_testable, digest_of
from flows.workspace.versions import KEY_LENGTH, TrainingVideo, VersionFolder, checkpoint_key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retraining:
    """What the steps work on. `run` is the workspace's own, whose manifest has the test split."""

    run: Run
    library: Library
    registry: Registry

    def folder(self, key: str) -> VersionFolder:
        return VersionFolder(self.run.workspace, key)

    @property
    def tests(self) -> list[VideoRecord]:
        """The frozen test split: the manifest's, as far as it could be read."""
        return self.run.having_features("test")

    def having_features(self) -> list[Video]:
        """The library's videos that have a feature file."""
        features = self.run.workspace.features
        return [video for video in self.library.videos() if feature_path(features, video.name).is_file()]


def gather(work: Retraining) -> Scan:
    """The manifest's videos and those of the inboxes into the library."""
    check_testable(work.run.records)
    founding = import_manifest(work.library, work.run.records, work.run.workspace.features)
    if founding.kept_in_test:
        log.warning("test videos stay what they are: %s", ", ".join(founding.kept_in_test))
    settings = work.run.config.retrain
    found = scan(work.library, settings.inboxes, settings.settle_s)
    log.info(
        "%-9s %d new, %d known, %d unreadable, %d left for next time",
        *("scan", len(found.new), len(found.known), len(found.unreadable), len(found.left)),
    )
    for path, reason in found.unreadable.items():
        log.warning("%s is no usable video: %s", path, reason)
    return found


def extract_new(work: Retraining) -> None:
    """Features of every video that is there and has none; what has them is kept."""
    videos = [video for video in work.library.videos() if not video.problem and video.path.is_file()]
    EXTRACT(replace(work.run, videos=[video.record() for video in videos]))
    noted = work.library.features()
    made = {}
    for video in work.having_features():
        path = feature_path(work.run.workspace.features, video.name)
        digest = content_digest(path)
        if video.digest not in noted or noted[video.digest].digest != digest:
            found = read_features(path)
            encoder, seconds = found.meta.encoder.digest, found.meta.source.duration_s
            made[video.digest] = Features(digest, encoder, len(found.features), seconds)
    work.library.note_features(made)


def require_model(work: Retraining) -> None:
    """Raises FileNotFoundError, before any work is done, where nothing was trained yet."""
    own = work.run.workspace.model
    if not (own / INFO_FILE).is_file() and not work.registry.versions():
        root = work.run.workspace.root
        raise FileNotFoundError(f"no model in {root} yet; `dsanet run --out {root}` trains the first one")


def in_service(work: Retraining) -> Version:
    """The champion. The workspace's own model is registered where it is not yet, and is the first."""
    own = work.run.workspace.model
    if (own / INFO_FILE).is_file() and work.registry.by_key(checkpoint_key(own)) is None:
        _adopt(work, own)
    work.registry.clear_stale_challenger()
    if work.registry.champion() is None:
        work.registry.promote(work.registry.versions()[0])
    champion = work.registry.find(CHAMPION)
    restore_checkpoint(work.registry, champion, work.folder(champion.key))
    return champion


def _adopt(work: Retraining, model: Path) -> None:
    """Register a model that was trained by `dsanet run`, on what the manifest has."""
    key = checkpoint_key(model)
    folder = work.folder(key)
    if not folder.has_model:
        folder.copy_model(model)
    known = read_info(model).feature_digests  # none of imported weights: everything is new to them
    manifest = {record.name for record in work.run.records if record.split != "test"}
    learned = [v for v in work.having_features() if known and v.name in manifest]
    folder.write_training_set(training_set(learned))
    register(work, key)


def score_everything(work: Retraining, version: Version) -> dict[str, Score]:
    """The version's scores of all videos, by digest; in files and in the library."""
    folder, videos = work.folder(version.key), work.having_features()
    records = [VideoRecord(video.name, video.path, (NORMAL,), "test") for video in videos]
    INFER(folder.run(work.run, records))
    known = work.library.scores(version.key)
    scores = {v.digest: summarise(read_scores(score_path(folder.scores, v.name))) for v in videos}
    work.library.note_scores(version.key, {d: one for d, one in scores.items() if known.get(d) != one})
    return scores


def summarise(scores: VideoScores) -> Score:
    """A video in three values. Its surprise: the entropy (bits) of the class belief over the top snippets."""
    anomaly = video_score(scores)
    belief_C = np.array([1 - anomaly, anomaly])
    if scores.classes_TC is not None:
        belief_C = scores.classes_TC[top_snippets(scores)].mean(axis=0, dtype=np.float64)
    likely_C = belief_C[belief_C > 0]
    surprise = float(-(likely_C * np.log2(likely_C)).sum())
    return Score(anomaly, predicted_class(scores, 0.5), surprise)


def training_set(videos: Iterable[Video]) -> list[TrainingVideo]:
    """The videos as `training.json` lists them; those without labels are left out."""
    return [TrainingVideo(digest=v.digest, labels=v.labels, split=v.split) for v in videos if v.labels]


def newly_labelled(videos: Iterable[Video], trained_on: Iterable[TrainingVideo]) -> list[Video]:
    """The labelled videos outside the test split that are not in a training set with the same labels."""
    seen = {(video.digest, video.labels) for video in trained_on}
    return [v for v in videos if v.labels and v.split != "test" and (v.digest, v.labels) not in seen]


def train_challenger(work: Retraining, champion: Version, videos: Sequence[Video]) -> Version:
    """Train on these videos, or take the version that was trained on just these; makes it the challenger."""
    run = _challenger_run(work, champion, [video.record() for video in videos])
    key = digest_of(TRAIN.version, TRAIN.inputs(run))[:KEY_LENGTH]
    version = work.registry.by_key(key)
    if version is None:
        folder = work.folder(key)
        folder.write_training_set(training_set(videos))
        TRAIN(replace(run, workspace=folder))
        version = register(work, key)
    if not {CHAMPION, CHALLENGER} & set(version.aliases):
        work.registry.set_challenger(version)
    return version


def _challenger_run(work: Retraining, champion: Version, learned: Sequence[VideoRecord]) -> Run:
    """Warm, if the settings say so and the champion knows all labels; its model is then the champion's."""
    run = replace(work.run, videos=[*learned, *work.tests])
    if run.config.train.init == "scratch":
        return run
    model = work.folder(champion.key).model
    known = read_info(model).model
    if tuple(fit_classes((label for r in run.records for label in r.labels), known.classes)) != known.classes:
        log.warning("there are labels that the champion does not know: the challenger starts from scratch")
        return run
    return replace(run.with_config(model=known), start_from=model)


def register(work: Retraining, key: str) -> Version:
    """Measure a finished model on the test split and enter it into the registry, with all there is of it."""
    folder = work.folder(key)
    run = folder.run(work.run, work.tests)
    INFER(run)
    EVALUATE(run)
    info = read_info(folder.model)
    figures = read_metrics(folder.report / "metrics.json")
    shown = ("auc", "ap", "anomaly_auc", "far")
    metrics = {f"test_{name}": figures[name] for name in shown if figures[name] is not None}
    for protocol, found in (figures["map"] or {}).items():
        metrics[f"test_map_{protocol}"] = found["average"]
    metrics |= {f"test_video_{name}": figures["video"][name] for name in ("auc", "ap", "accuracy")}
    metrics |= {f"chosen_{name}": value for name, value in info.metrics.items()}
    return work.registry.register(
        TrainingRecord(
            key=key,
            title=run.inputs.title,
            params={
                **info.model_dump(mode="json", include={"model", "train", "infer", "extract", "notes"}),
                "encoder": info.encoder.digest,
                "videos": len(folder.read_training_set()),
            },
            curves_csv=folder.model / CURVES_FILE,
            metrics={n: float(v) for n, v in metrics.items() if v is not None and math.isfinite(v)},
            files=[
                (folder.model, MODEL_FOLDER),
                (folder.report, REPORT_FOLDER),
                (folder.training_file, ""),
            ],
        )
    )


def score_tests(work: Retraining, version: Version) -> Path:
    """The version's scores of the test split, as files; returns their folder."""
    folder = work.folder(version.key)
    restore_checkpoint(work.registry, version, folder)
    INFER(folder.run(work.run, work.tests))
    return folder.scores


def truths(work: Retraining) -> list[VideoTruth]:
    """What is held to be true of the frozen test split."""
    return read_truths(work.run)
