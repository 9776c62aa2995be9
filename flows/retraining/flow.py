"""The flow `retrain-on-new-footage`: train on new footage, replace the model only by one that is not worse.

    scan the inboxes → extract features → score with the champion → train a challenger, if enough labels are
    new → compare both on the test split → promote or refuse → report

Every step keeps what is finished already: a run that was killed anywhere and is started again ends like an
uninterrupted one.
"""

import logging
from dataclasses import replace
from heapq import nlargest
from pathlib import Path
from typing import Annotated

from prefect import flow

from flows.library.library import Library
from flows.library.records import HELD_OUT, Video
from flows.pipeline.artifacts import publish_markdown
from flows.pipeline.prefect_flows import WORKSPACE, locked_workspace, run_name
from flows.retraining.drift import find_drifts
from flows.retraining.judging import judge
from flows.retraining.model_versions import (
    check_has_model,
    current_champion,
    newly_labelled,
    rebuild_registry,
    train_challenger,
)
from flows.retraining.promotion import check_gate
from flows.retraining.retraining_page import MAX_ROWS, Findings, Outcome, write_page
from flows.retraining.steps import (
    Retraining,
    extract_features,
    import_videos,
    score_all_videos,
    unreadable_videos,
)
from flows.workspace.config import merge_settings
from flows.workspace.model_registry import Registry
from flows.workspace.partial import PARTIAL
from flows.workspace.registered_versions import Version
from flows.workspace.retrain_config import RetrainConfig
from flows.workspace.run import Run

log = logging.getLogger(__name__)


@flow(name="retrain-on-new-footage", flow_run_name=run_name)
def retrain_on_new_footage(
    workspace: Path = WORKSPACE,
    retrain: Annotated[RetrainConfig, PARTIAL] | None = None,
    force: bool = False,
    new_registry: bool = False,
    retry: bool = False,
) -> Outcome:
    """Add new footage, train a challenger if enough labels are new, and promote it if it is not worse.

    Raises FileNotFoundError for a workspace without a model or a missing inbox, ValueError for a test split
    that the gate cannot use, and BusyError while another run holds the workspace.

    Args:
        workspace: folder of a finished `dsanet run`
        retrain: inboxes, when to train, the gate; default: the workspace's settings
        force: train a challenger even if there are few new labels
        new_registry: if the model registry is lost, begin a new one with the version folders in the workspace
        retry: try videos again now that could not be read before and have not changed
    """
    with locked_workspace(workspace) as place:
        run = replace(Run.load(place.place), retry=retry)
        if retrain is not None:
            run = run.with_config(retrain=merge_settings(run.config, {"retrain": retrain}).retrain)
        with Library.open(place.root, run.config.retrain.library) as library:
            return _retrain(Retraining(run, library, Registry(place.root)), force, new_registry)


def _retrain(work: Retraining, force: bool, new_registry: bool) -> Outcome:
    config = work.run.config.retrain
    check_has_model(work, new_registry=new_registry)
    import_videos(work)
    extract_features(work)
    if new_registry:
        rebuild_registry(work)
    check_gate(work.test_truths(), config.gate)
    champion = current_champion(work)
    score_all_videos(work, champion)
    labelled = work.library.labelled()
    new_labels = _newly_labelled(work, champion, labelled)
    if force or len(new_labels) >= config.min_new_labels:
        challenger = train_challenger(work, champion, labelled)
        winner = _promote_if_not_worse(work, champion, challenger)
        if winner != champion:
            champion = winner
            score_all_videos(work, winner)
            new_labels = _newly_labelled(work, winner, labelled)
    return _report(work, champion, len(new_labels))


def _newly_labelled(work: Retraining, version: Version, labelled: list[Video]) -> list[Video]:
    return newly_labelled(labelled, work.folder(version.key).read_training_set())


def _promote_if_not_worse(work: Retraining, champion: Version, challenger: Version) -> Version:
    """Apply the promotion rule; returns the champion from now on."""
    if challenger.key == champion.key:
        return champion
    decision = judge(work, champion, challenger)
    log.info("%-9s version %d is %s", "gate", challenger.number, decision.reason)
    if not decision.promoted:
        return champion
    if challenger.withdrawn:
        log.info(
            "version %d was taken out of service by hand; only `dsanet models promote` promotes it again",
            challenger.number,
        )
        return champion
    if not work.registry.promote(challenger, instead_of=champion):
        log.warning(
            "another version became the champion meanwhile; version %d is not promoted", challenger.number
        )
        return champion
    log.info("%-9s version %d is the champion", "promote", challenger.number)
    return work.registry.find(challenger.key)


def _report(work: Retraining, champion: Version, newly_labelled: int) -> Outcome:
    """Write the page, publish the artifact and log the warnings."""
    trained_on = {video.digest for video in work.folder(champion.key).read_training_set()}
    training, new = [], []
    for video in work.library.scored_videos(champion.key):
        if video.digest in trained_on:
            training.append(video)
        elif video.split not in HELD_OUT:
            new.append(video)
    unlabelled = [video for video in new if not video.labelled]
    drifts = find_drifts(work.library, training, new, work.run.config.retrain.drift)
    for drift in drifts:
        if drift.warns:
            log.warning("the new footage drifts: %s", drift.sentence)
    findings = Findings(
        title=work.run.inputs.title,
        versions=work.registry.versions(),
        champion=champion,
        problems=unreadable_videos(work),
        new=len(new),
        newly_labelled=newly_labelled,
        unlabelled=len(unlabelled),
        queue=nlargest(MAX_ROWS, unlabelled, key=lambda video: video.entropy),
        drifts=drifts,
        config=work.run.config.retrain,
    )
    page = write_page(work.run.workspace.root / "retraining" / "index.html", findings)
    publish_markdown("retraining", findings.markdown(page), "Retraining on new footage")
    outcome = findings.outcome(page)
    log.info("%-9s %s", "report", outcome.sentence)
    return outcome
