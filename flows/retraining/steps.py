"""The steps of a retraining on videos: import, extraction, scores. Each keeps the work of earlier runs."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
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

    def videos_with_features(self) -> list[Video]:
        """The library's videos that have a feature file."""
        return self.having_features(self.library.videos())

    def having_features(self, videos: Iterable[Video]) -> list[Video]:
        """Those of these videos that have a feature file; the folder is listed once."""
        features = self.run.workspace.features
        with os.scandir(features) as listing:
            files = {entry.name for entry in listing}
        return [video for video in videos if feature_path(features, video.name).name in files]


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


def _retry_unreadable(library: Library, just_tried: set[Path]) -> None:
    """Try the videos again that could not be read at an earlier time, where the next try is due."""
    videos = [video for video in due(library.problems(), now()) if video.path not in just_tried]
    again = recheck(library, videos)
    tried = len(again.readable) + len(again.unreadable)
    if tried:
        log.info("%-9s %d of %d unreadable videos can be read now", "recheck", len(again.readable), tried)


def extract_features(work: Retraining) -> list[Video]:
    """Extract the features of every available video that has none, and record them in the library.

    Returns all videos that have features.
    """
    videos = work.library.videos()
    available = [video for video in videos if not video.problem and video.path.is_file()]
    EXTRACT(replace(work.run, videos=[video.manifest_record() for video in available]))
    videos = work.having_features(videos)
    for page in in_pages(_with_new_features(work, videos), FEATURE_FILES_AT_ONCE):
        paths = {video.digest: feature_path(work.run.workspace.features, video.name) for video in page}
        work.library.write_features({digest: _summary(path) for digest, path in paths.items()})
    return videos


def _with_new_features(work: Retraining, videos: Iterable[Video]) -> Iterator[Video]:
    """The videos whose feature file is not recorded as it is now, or not with all that is recorded today."""
    recorded, without_mean = work.library.features(), work.library.without_mean()
    for video in videos:
        known = recorded.get(video.digest)
        digest = content_digest(feature_path(work.run.workspace.features, video.name))
        if known is None or known.digest != digest or video.digest in without_mean:
            yield video


def _summary(path: Path) -> Features:
    """What the library records of a feature file."""
    found = read_features(path)
    return Features(
        content_digest(path),
        found.meta.encoder.digest,
        len(found.features),
        found.meta.source.duration_s,
        found.features.astype(np.float32).mean(axis=(0, 1)),
    )


def unreadable_videos(work: Retraining) -> list[tuple[str, str]]:
    """Path and reason of the library's videos that cannot be probed, or whose extraction has failed."""
    failures = read_failures(work.run.workspace.features)
    names = work.library.usable_names(failure.name for failure in failures)
    return [
        *((printable(str(problem.video.path)), problem.video.problem) for problem in work.library.problems()),
        *((str(failure.path), failure.reason) for failure in failures if failure.name in names),
    ]


def score_all_videos(work: Retraining, version: Version, videos: Sequence[Video]) -> dict[str, Score]:
    """Score videos with features by a version, in its score files and in the library; the scores by digest.

    A score file is read only if the recorded score is that of other features.
    """
    folder = work.folder(version.key)
    records = [VideoRecord(video.name, video.path, (NORMAL,), "test") for video in videos]
    INFER(without_causal_scores(folder.run(work.run, records)))
    recorded, features = work.library.scores(version.key), work.library.features()
    changed: dict[str, Score] = {}
    for video in videos:
        made_from, known = features[video.digest].digest, recorded.get(video.digest)
        if known is None or known.made_from != made_from:
            found = read_scores(score_path(folder.scores, video.name))
            changed[video.digest] = replace(summarise(found), made_from=made_from)
    work.library.write_scores(version.key, changed)
    scores = recorded | changed
    return {video.digest: scores[video.digest] for video in videos}


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
