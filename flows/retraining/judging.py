"""Judge a challenger: the versions and videos that the gate compares, and decisions known already."""

import logging
from collections.abc import Sequence

from evaluate.annotations import VideoTruth
from evaluate.metrics.paired_difference import whole_figures
from extract.errors import InputError
from extract.manifest import VideoRecord
from flows.pipeline.stages.evaluate import ground_truth
from flows.retraining.promotion import Audit, BestVersion, decide_promotion, gate_fingerprint
from flows.retraining.steps import Retraining, score_test_split, score_videos
from flows.workspace.decision import Decision
from flows.workspace.registered_versions import Version
from flows.workspace.retrain_config import Figure

log = logging.getLogger(__name__)


def judge(work: Retraining, champion: Version, challenger: Version) -> Decision:
    """The gate's decision; the registered one if champion, best versions, videos and gate are the same."""
    truths, gate = work.test_truths(), work.run.config.retrain.gate
    fingerprint = gate_fingerprint(truths, gate)
    best = best_versions(work, champion, challenger, truths, fingerprint)
    records = audit_records(work, champion, challenger)
    audit_truths = ground_truth(work.run, records).truths
    known = challenger.decision
    if known is not None and _basis(known) == (
        champion.key,
        fingerprint,
        {name: version.key for name, version in best.items()},
        gate_fingerprint(audit_truths, gate) if records else "",
    ):
        return known
    old, new = (score_test_split(work, version) for version in (champion, challenger))
    audit = None
    if records:
        audit = Audit(
            score_videos(work, champion, records), score_videos(work, challenger, records), audit_truths
        )
    decision = decide_promotion(champion.key, old, new, truths, gate, best=best, audit=audit)
    work.registry.record_decision(challenger, decision)
    return decision


def best_versions(
    work: Retraining,
    champion: Version,
    challenger: Version,
    truths: Sequence[VideoTruth],
    fingerprint: str,
) -> dict[Figure, BestVersion]:
    """For each figure of the gate, the earlier champion with the highest value, if it exceeds the champion's.

    Versions that a person has taken out of service do not count. A version that can no longer be compared,
    because it is lost or lacks a class of the test split, is left out with a warning.
    """
    earlier = [
        version
        for version in work.registry.versions()
        if version.served and not version.withdrawn and version.key not in (champion.key, challenger.key)
    ]
    reached = _figures(work, champion, truths, fingerprint) if earlier else {}
    best: dict[Figure, BestVersion] = {}
    for version in earlier:
        try:
            figures = _figures(work, version, truths, fingerprint)
            higher = [name for name, value in figures.items() if value > reached.get(name, 1.0)]
            scores = score_test_split(work, version) if higher else None
        except InputError as error:
            log.warning("version %d is not compared by the gate: %s", version.number, error)
            continue
        for name in higher:
            assert scores is not None
            reached[name] = figures[name]
            best[name] = BestVersion(version.key, version.number, scores)
    return best


def audit_records(work: Retraining, *versions: Version) -> list[VideoRecord]:
    """The manifest's audit videos with features that none of the versions was trained on."""
    trained = {one.digest for version in versions for one in work.folder(version.key).read_training_set()}
    usable = {
        video.name
        for video in work.having_features(work.library.videos("audit"))
        if video.digest not in trained
    }
    return [record for record in work.run.records if record.split == "audit" and record.name in usable]


def _figures(
    work: Retraining, version: Version, truths: Sequence[VideoTruth], fingerprint: str
) -> dict[Figure, float]:
    """The gate's figures of a version on the test split: from its decision if that had the same videos."""
    decision = version.decision
    if decision is not None and decision.gate_fingerprint == fingerprint:
        return {name: one.challenger for name, one in decision.figures.items()}
    names = list(work.run.config.retrain.gate.margins)
    found = whole_figures(score_test_split(work, version), truths, names)
    return {name: found[name] for name in names if name in found}


def _basis(decision: Decision) -> tuple[str, str, dict[Figure, str], str]:
    """Everything that a decision depends on, apart from the challenger."""
    best = {name: one.key for name, one in decision.best.items()}
    return decision.champion, decision.gate_fingerprint, best, decision.audit_fingerprint
