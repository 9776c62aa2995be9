"""The steps of a retraining on videos: import, extraction, scores. Each keeps the work of earlier runs."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluate.annotations import VideoTruth
from evaluate.predictions import predicted_class, top_snippets, video_score
from evaluate.scores import VideoScores, read_scores, score_path
from extract.display import printable, shortened
from extract.failures import read_failures
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.remote.path import AnyPath
from extract.store import content_digest, feature_path, read_features
from flows.library.from_manifest import import_manifest
from flows.library.inbox import scan
from flows.library.library import Library
from flows.library.pages import in_pages
from flows.library.problems import due, grouped_by_reason, recheck
from flows.library.records import Features, Score, Video
from flows.library.tables import now
from flows.pipeline.stages import EXTRACT, INFER
from flows.pipeline.stages.evaluate import read_truths
from flows.pipeline.stages.infer import without_causal_scores
from flows.retraining.plan import extraction_settings, inference_settings, plan_features, unscored
from flows.workspace.model_reference import restore_version
from flows.workspace.model_registry import Registry
from flows.workspace.registered_versions import Version
from flows.workspace.run import Run, check_testable
from flows.workspace.versions import VersionFolder

log = logging.getLogger(__name__)

FEATURE_FILES_AT_ONCE = 100
"""Feature files that are read before their summaries are recorded."""
THRESHOLD = 0.5
"""Video score from which a video's predicted class is an anomaly."""


@dataclass(frozen=True)
class Retraining:
    """Run, library and registry of one workspace. The manifest of `run` has the test split."""

    run: Run
    library: Library
    registry: Registry

    def folder(self, key: str) -> VersionFolder:
        return VersionFolder(self.run.workspace, key)

    def test_records(self) -> list[VideoRecord]:
        """The manifest's test videos with a feature file: the test split of every version."""
        return self.run.having_features("test")

    def test_truths(self) -> list[VideoTruth]:
        """Labels and temporal annotations of the test split."""
        return read_truths(self.run)

    def having_features(self, videos: Iterable[Video]) -> list[Video]:
        """Those of these videos that have a feature file."""
        features = self.run.workspace.features
        return [video for video in videos if feature_path(features, video.name).is_file()]


def import_videos(work: Retraining) -> None:
    """Record the videos of the manifest and the inboxes. Raises ValueError if there is no test video."""
    check_testable(work.run.records)
    imported = import_manifest(work.library, work.run.records, work.run.workspace.features)
    if imported.kept_in_test:
        log.warning(
            "test videos stay in the test split, although the manifest now has another for %s",
            shortened(imported.kept_in_test),
        )
    if imported.kept_in_audit:
        log.warning(
            "audit videos stay in the audit split, although the manifest now has another for %s",
            shortened(imported.kept_in_audit),
        )
    settings = work.run.config.retrain
    result = scan(work.library, settings.inboxes, settings.settle_s, work.run.index.read_video)
    log.info(
        "%-9s %d new, %d known, %d unreadable, %d unfinished (left for the next run)",
        *("scan", len(result.new), len(result.known), len(result.unreadable), len(result.deferred)),
    )
    for group in grouped_by_reason((str(path), reason) for path, reason in result.unreadable.items()):
        log.warning("%d files are not usable videos (%s): %s", len(group.files), group.reason, group.shown)
    _retry_unreadable(work.library, set(result.unreadable))


def _retry_unreadable(library: Library, just_tried: set[AnyPath]) -> None:
    """Try the videos again that could not be read at an earlier time, where the next try is due."""
    videos = [video for video in due(library.problems(), now()) if video.path not in just_tried]
    again = recheck(library, videos)
    tried = len(again.readable) + len(again.unreadable)
    if tried:
        log.info("%-9s %d of %d unreadable videos can be read now", "recheck", len(again.readable), tried)


def extract_features(work: Retraining) -> None:
    """Extract the features of every available video that has none, and record them in the library.

    Videos whose features are recorded as they are now take no part in it.
    """
    library, settings = work.library, extraction_settings(work.run)
    plan = plan_features(library, work.run.workspace.features, settings)
    found = sorted(library.with_digests(plan.extract), key=lambda video: video.name)
    available = [video for video in found if not video.problem and video.path.is_file()]
    log.info("%-9s %d of %d videos need features", "plan", len(available), plan.total)
    if available:
        EXTRACT(replace(work.run, videos=[video.manifest_record() for video in available]))
    present = {video.digest for video in work.having_features(found)}
    library.forget_features(digest for digest in plan.extract if digest not in present)
    _record_features(work, [video for video in found if video.digest in present], settings)
    _record_features(work, library.with_digests(plan.record), settings)


def _record_features(work: Retraining, videos: Iterable[Video], settings: str) -> None:
    for page in in_pages(videos, FEATURE_FILES_AT_ONCE):
        paths = {video.digest: feature_path(work.run.workspace.features, video.name) for video in page}
        work.library.write_features({digest: _summary(path, settings) for digest, path in paths.items()})


def _summary(path: Path, settings: str) -> Features:
    """What the library records of a feature file."""
    status = path.stat()  # before the file is read: a later change shows
    found = read_features(path)
    return Features(
        content_digest(path),
        found.meta.encoder.digest,
        len(found.features),
        found.meta.source.duration_s,
        found.features.astype(np.float32).mean(axis=(0, 1)),
        made_with=settings,
        file_size=status.st_size,
        file_mtime_ns=status.st_mtime_ns,
    )


def unreadable_videos(work: Retraining) -> list[tuple[str, str]]:
    """Path and reason of the library's videos that cannot be probed, or whose extraction has failed."""
    failures = read_failures(work.run.workspace.features)
    names = work.library.usable_names(failure.name for failure in failures)
    return [
        *((printable(str(problem.video.path)), problem.video.problem) for problem in work.library.problems()),
        *((str(failure.path), failure.reason) for failure in failures if failure.name in names),
    ]


def score_all_videos(work: Retraining, version: Version) -> None:
    """Score the videos with features by a version, in its score files and in the library.

    Videos whose score is that of their features and of the settings of today take no part in it.
    """
    folder = work.folder(version.key)
    settings = inference_settings(folder.run(work.run, []))
    missing = list(unscored(work.library, version.key, folder.scores, settings))
    log.info("%-9s %d videos need scores by version %d", "plan", len(missing), version.number)
    videos = sorted(work.library.with_digests(missing), key=lambda video: video.name)
    if not videos:
        return
    records = [VideoRecord(video.name, video.path, (NORMAL,), "test") for video in videos]
    INFER(without_causal_scores(folder.run(work.run, records)))
    for page in in_pages(videos):
        made_from = {
            video.digest: content_digest(feature_path(work.run.workspace.features, video.name))
            for video in page
        }
        scores = {video.digest: read_scores(score_path(folder.scores, video.name)) for video in page}
        work.library.write_scores(
            version.key,
            {d: replace(summarise(found), made_from=made_from[d]) for d, found in scores.items()},
            settings,
        )


def score_test_split(work: Retraining, version: Version) -> Path:
    """Score the test split by a version; returns the folder of its score files."""
    return score_videos(work, version, work.test_records())


def score_videos(work: Retraining, version: Version, records: Sequence[VideoRecord]) -> Path:
    """Score these videos, whatever their split, by a version; returns the folder of its score files."""
    folder = work.folder(version.key)
    restore_version(work.registry, version, folder)
    moved = folder.run(work.run, [replace(record, split="test") for record in records])
    INFER(without_causal_scores(moved))
    return folder.scores


def summarise(scores: VideoScores) -> Score:
    """One video's anomaly score, predicted class and entropy.

    The entropy (bits) is that of the class probabilities averaged over the top-k snippets, or of the anomaly
    score if the detector has no classes.
    """
    anomaly = video_score(scores)
    belief_C = np.array([1 - anomaly, anomaly])
    if scores.classes_TC is not None:
        belief_C = scores.classes_TC[top_snippets(scores)].mean(axis=0, dtype=np.float64)
    positive_C = belief_C[belief_C > 0]
    entropy = float(-(positive_C * np.log2(positive_C)).sum())
    return Score(anomaly, predicted_class(scores, THRESHOLD), entropy)
