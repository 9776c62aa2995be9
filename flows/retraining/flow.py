"""The flow `retrain-on-new-footage`: a model that is replaced only by one that is not worse.

scan the inboxes → extract what is new → score it with the champion → train a challenger, once enough new
labels have come → both on the same frozen test split → promote or not → report

Every step finds what is done already, so that a run that was killed anywhere and is run again ends where an
uninterrupted one would have.
"""

import logging
from pathlib import Path

from prefect import flow

from flows.library.inbox import Scan
from flows.library.library import Library, Score, Video
from flows.pipeline.artifacts import publish_markdown
from flows.pipeline.flows import WORKSPACE, locked_workspace, run_name
from flows.retraining import steps
from flows.retraining.decision import check_measurable, gate_fingerprint, judge
from flows.retraining.drift import Drift, feature_drift, score_drift
from flows.retraining.retraining_page import Findings, Outcome, write_page
from flows.retraining.steps import Retraining
from flows.workspace.model_registry import Registry, Version
from flows.workspace.retrain_config import RetrainConfig
from flows.workspace.run import Run

log = logging.getLogger(__name__)


@flow(name="retrain-on-new-footage", flow_run_name=run_name)
def retrain_on_new_footage(
    workspace: Path = WORKSPACE, retrain: RetrainConfig | None = None, force: bool = False
) -> Outcome:
    """New footage in, and the model replaced if a new one is not worse.

    Raises ValueError or FileNotFoundError for input that can't serve, BusyError while another run is at it.

    Args:
        workspace: folder of a finished `dsanet run`
        retrain: inboxes, when to train, the gate; empty: the workspace's settings
        force: train a challenger though few new labels have come
    """
    with locked_workspace(workspace) as place:
        run = Run.load(place.root)
        if retrain is not None:
            run = run.with_config(retrain=retrain)
        with Library.of(place.root, run.config.retrain.library) as library:
            return _retrain(Retraining(run, library, Registry(place.root)), force)


def _retrain(work: Retraining, force: bool) -> Outcome:
    config = work.run.config.retrain
    steps.require_model(work)
    scanned = steps.gather(work)
    steps.extract_new(work)
    check_measurable(steps.truths(work), config.gate)
    champion = steps.in_service(work)
    scores = steps.score_everything(work, champion)
    usable = [video for video in work.having_features() if video.labels and video.split != "test"]
    waiting = steps.newly_labelled(usable, work.folder(champion.key).read_training_set())
    before = champion
    if force or len(waiting) >= config.min_new_labels:
        challenger = steps.train_challenger(work, champion, usable)
        champion = _decide(work, champion, challenger)
    if champion != before:
        scores = steps.score_everything(work, champion)
        waiting = steps.newly_labelled(usable, work.folder(champion.key).read_training_set())
    return _report(work, champion, scanned, scores, waiting)


def _decide(work: Retraining, champion: Version, challenger: Version) -> Version:
    """Let the gate decide, unless it has; the champion from now on."""
    if challenger.key == champion.key:
        return champion
    truths, gate = steps.truths(work), work.run.config.retrain.gate
    decision = challenger.decision
    asked = (champion.key, gate_fingerprint(truths, gate))
    if decision is None or (decision.champion, decision.gate_fingerprint) != asked:
        old, new = (steps.score_tests(work, version) for version in (champion, challenger))
        decision = judge(champion.key, old, new, truths, gate)
        work.registry.record_decision(challenger, decision)
    log.info("%-9s version %d is %s", "gate", challenger.number, decision.reason)
    if not decision.promoted:
        return champion
    if challenger.withdrawn:
        log.info("version %d was taken out of service by hand and stays so", challenger.number)
        return champion
    now = work.registry.champion()
    if now is None or now.key != champion.key:
        log.warning("another version was put into service meanwhile: nothing is promoted")
        return champion
    work.registry.promote(challenger)
    log.info("%-9s version %d is in service", "promote", challenger.number)
    return work.registry.find(challenger.key)


def _report(
    work: Retraining, champion: Version, scanned: Scan, scores: dict[str, Score], waiting: list[Video]
) -> Outcome:
    """The page, the artifact and the warnings, all from what is on disk and in the registry."""
    videos = work.having_features()
    training = {one.digest for one in work.folder(champion.key).read_training_set()}
    new = [video for video in videos if video.digest not in training and video.split != "test"]
    drifts = _drifts(work, [v for v in videos if v.digest in training], new, scores)
    for drift in drifts:
        if drift.warns:
            log.warning("the new footage drifts: %s", drift.sentence)
    findings = Findings(
        title=work.run.inputs.title,
        versions=work.registry.versions(),
        champion=champion,
        scanned=scanned,
        videos=work.library.videos(),
        new=new,
        newly_labelled=len(waiting),
        scores=scores,
        drifts=drifts,
        config=work.run.config.retrain,
    )
    page = write_page(work.run.workspace.root / "retraining" / "index.html", findings)
    publish_markdown("retraining", findings.markdown(page), "Retraining on new footage")
    outcome = findings.outcome(page)
    log.info("%-9s %s", "report", outcome.sentence)
    return outcome


def _drifts(
    work: Retraining, training: list[Video], new: list[Video], scores: dict[str, Score]
) -> list[Drift]:
    config = work.run.config.retrain.drift
    old_names, new_names = ([video.name for video in some] for some in (training, new))
    old_scores, new_scores = ([scores[video.digest].anomaly for video in some] for some in (training, new))
    found = (
        feature_drift(work.run.workspace.features, old_names, new_names, config),
        score_drift(old_scores, new_scores, config),
    )
    return [drift for drift in found if drift is not None]
