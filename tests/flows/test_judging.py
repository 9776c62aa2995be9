"""The gate over a series of challengers, with a real library and registry and synthetic score files."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evaluate.annotations import Segment, VideoTruth, write_annotations
from evaluate.scores import score_path, write_scores
from extract.manifest import VideoRecord, write_manifest
from flows.library.from_manifest import import_manifest
from flows.library.library import Library
from flows.retraining import judging
from flows.retraining.judging import best_versions, judge
from flows.retraining.promotion import BestVersion, check_gate, decide_promotion, gate_fingerprint
from flows.retraining.steps import Retraining
from flows.workspace.inputs import configure_workspace
from flows.workspace.model_reference import VersionLostError
from flows.workspace.model_registry import Registry
from flows.workspace.registered_versions import Version
from flows.workspace.retrain_config import Figure, GateConfig
from flows.workspace.run import Run
from flows.workspace.training_runs import TrainingRecord
from flows.workspace.versions import TrainingVideo
from tests.dsanet.helpers import write_video
from tests.evaluate.videos import video_scores

SNIPPETS, PER_KIND = 40, 8
GATE = GateConfig(margins={"auc": 0.005}, resamples=200)


def truths_of(split: str) -> list[VideoTruth]:
    """Normal videos, and videos that are anomalous from end to end."""
    length = SNIPPETS * 16
    return [
        *(VideoTruth(f"{split}-fire{i}", ("fire",), (Segment("fire", 0, length),)) for i in range(PER_KIND)),
        *(VideoTruth(f"{split}-calm{i}", ("normal",), ()) for i in range(PER_KIND)),
    ]


def write_scores_with_mistakes(folder: Path, split: str, mistakes: int) -> Path:
    """Perfect scores, except that this many normal snippets score highest: the AUC is 1 - mistakes / 320."""
    for truth in truths_of(split):
        anomaly = np.full(SNIPPETS, 0.8 if not truth.is_normal else 0.2)
        if truth.is_normal:
            number = int(truth.name[-1])
            anomaly[: len(range(number, mistakes, PER_KIND))] = 0.99
        scores = video_scores(truth.name, SNIPPETS * 16, anomaly_T=anomaly)
        write_scores(score_path(folder, truth.name), scores, {})
    return folder


class Bench:
    """A workspace in which versions are registered without training; their scores are synthetic."""

    def __init__(self, work: Retraining, folder: Path) -> None:
        self.work, self.folder = work, folder

    def register(self, mistakes: int, *, trained_on: tuple[TrainingVideo, ...] = ()) -> Version:
        """A version with this many mistakes on the test split, and none on the audit split if it has some."""
        key = f"key{len(self.work.registry.versions()):03d}"
        folder = self.work.folder(key)
        folder.model.mkdir(parents=True)
        (folder.model / "model.json").write_text(key)
        folder.write_training_set(trained_on)
        write_scores_with_mistakes(folder.scores, "test", mistakes)
        write_scores_with_mistakes(folder.scores, "audit", 0 if mistakes else 100)
        files = [(folder.model, "model"), (folder.training_file, "")]
        return self.work.registry.register(
            TrainingRecord(key, key, {}, self.folder / "no-curves.csv", {}, files)
        )

    def compete(self, challenger: Version) -> bool:
        """Judge against the champion and promote; True if the gate promotes."""
        champion = self.work.registry.find("champion")
        promoted = judge(self.work, champion, challenger).promoted
        if promoted:
            assert self.work.registry.promote(challenger, instead_of=champion)
        return promoted


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a perfect version 1 in service; creating its registry takes seconds."""
    folder = tmp_path_factory.mktemp("judging")
    root, footage = folder / "ws", folder / "footage"
    footage.mkdir()
    records: list[VideoRecord] = []
    segments: dict[Path | str, list[Segment]] = {}
    for split in ("test", "audit"):
        for truth in truths_of(split):
            path = footage / f"{truth.name}.mp4"
            path.write_text(truth.name)
            records.append(VideoRecord(truth.name, path, truth.labels, split))
            write_video(root / "features", truth.name, np.ones((SNIPPETS, 512)))
            if truth.segments:
                segments[path] = list(truth.segments)
    write_manifest(folder / "m.csv", records)
    write_annotations(folder / "m.annotations.csv", segments)
    settings = ['retrain.gate.margins={"auc": 0.005}', "retrain.gate.resamples=200"]
    configure_workspace(root, folder / "m.csv", preset="small", weights="random", settings=settings)
    with Library.open(root) as library:
        import_manifest(library, records, root / "features")
        bench = Bench(Retraining(Run.load(root), library, Registry(root)), folder)
        bench.work.registry.promote(bench.register(0))
    return root


@pytest.fixture
def bench(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    def audit_scores(work: Retraining, version: Version, records: list[VideoRecord]) -> Path:
        assert {record.split for record in records} == {"audit"}
        return work.folder(version.key).scores

    root = shutil.copytree(begun, tmp_path / "ws")
    monkeypatch.setattr(judging, "score_test_split", lambda work, version: work.folder(version.key).scores)
    monkeypatch.setattr(judging, "score_videos", audit_scores)
    with Library.open(root) as library:
        yield Bench(Retraining(Run.load(root), library, Registry(root)), tmp_path)


@pytest.mark.slow
def test_twenty_small_losses_do_not_add_up(bench: Bench, tmp_path: Path) -> None:
    # Each loss alone is within the margin: against its predecessor only, all twenty would be promoted.
    places = [write_scores_with_mistakes(tmp_path / str(n), "test", n) for n in range(21)]
    alone = [decide_promotion("k", a, b, truths_of("test"), GATE) for a, b in itertools.pairwise(places)]
    assert [one.promoted for one in alone] == [True] * 20
    assert alone[0].figures["auc"].gap == pytest.approx(-1 / 320)

    promoted = 0
    for _ in range(20):
        champion = bench.work.registry.find("champion")
        mistakes = 1 + promoted  # one more than the champion makes
        assert champion.number == 1 or promoted
        promoted += bench.compete(bench.register(mistakes))
    assert promoted == 1
    last = bench.work.registry.versions()[-1].decision
    assert last is not None
    assert last.figures["auc"].holds
    assert last.best["auc"].number == 1
    assert last.best["auc"].gap == pytest.approx(-2 / 320)
    assert "worse than version 1, the best so far: auc -0.00" in last.reason
    assert "| auc, against version 1 | 1.0000 |" in last.markdown()


def test_a_better_version_raises_the_bar_for_those_after_it(bench: Bench) -> None:
    registry = bench.work.registry
    registry.promote(bench.register(6), by_hand=True)  # a worse version by hand: the first one is withdrawn
    assert bench.compete(bench.register(3))
    assert bench.compete(bench.register(4))
    assert not bench.compete(bench.register(5))
    decision = registry.versions()[-1].decision
    assert decision is not None
    assert (decision.best["auc"].number, decision.best["auc"].champion) == (3, pytest.approx(1 - 3 / 320))


def test_a_decision_is_made_again_if_the_best_version_changes(bench: Bench) -> None:
    registry = bench.work.registry
    assert bench.compete(bench.register(1))
    champion, third = registry.find("2"), bench.register(2)
    assert not judge(bench.work, champion, third).promoted
    registry.promote(registry.find("1"), by_hand=True)
    registry.promote(registry.find("2"), by_hand=True)  # version 1 is withdrawn: it no longer counts
    again = judge(bench.work, registry.find("2"), registry.find("3"))
    assert (again.promoted, again.best) == (True, {})


def test_a_known_decision_is_not_computed_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    challenger = bench.register(1)
    first = judge(bench.work, bench.work.registry.find("1"), challenger)
    monkeypatch.setattr(judging, "decide_promotion", lambda *args, **kwargs: pytest.fail("decided twice"))
    assert judge(bench.work, bench.work.registry.find("1"), bench.work.registry.find("2")) == first


def test_a_decision_is_made_again_for_another_champion_or_audit_split(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = bench.work.registry
    bench.register(1)
    bench.register(1)
    with_audit = judge(bench.work, registry.find("1"), registry.find("3"))
    monkeypatch.setattr(judging, "audit_records", lambda *args: [])
    without = judge(bench.work, registry.find("1"), registry.find("3"))
    assert with_audit.audit_fingerprint
    assert (without.audit, without.audit_fingerprint) == ({}, "")
    assert judge(bench.work, registry.find("2"), registry.find("3")).champion == registry.find("2").key
    again = judge(bench.work, registry.find("1"), registry.find("3"))
    assert again == without
    monkeypatch.setattr(judging, "decide_promotion", lambda *args, **kwargs: pytest.fail("decided twice"))
    assert judge(bench.work, registry.find("1"), registry.find("3")) == again


def test_an_earlier_champion_that_is_lost_does_not_block_the_gate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.compete(bench.register(1))

    def scores(work: Retraining, version: Version) -> Path:
        if version.number == 1:
            raise VersionLostError("the checkpoint of version 1 is lost")
        return work.folder(version.key).scores

    monkeypatch.setattr(judging, "score_test_split", scores)
    assert bench.compete(bench.register(2))
    assert "version 1 is not compared by the gate: the checkpoint of version 1 is lost" in caplog.text
    assert not bench.compete(bench.register(4))  # the others are compared: version 2 made one mistake
    decision = bench.work.registry.find("4").decision
    assert decision is not None
    assert decision.best["auc"].number == 2


def test_the_best_figures_are_known_from_decisions_on_the_same_test_split(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = bench.work
    assert bench.compete(bench.register(0))  # as good as the first, and with a decision
    assert bench.compete(bench.register(1))
    monkeypatch.setattr(judging, "whole_figures", lambda *args: {"auc": 0.5})  # versions without a decision
    truths = work.test_truths()
    fingerprint = gate_fingerprint(truths, GATE)
    arguments = (work, work.registry.find("3"), bench.register(2), truths)
    assert {name: one.number for name, one in best_versions(*arguments, fingerprint).items()} == {"auc": 2}
    assert best_versions(*arguments, "another test split") == {}
    champion, challenger = work.registry.find("2"), work.registry.find("4")
    assert best_versions(work, champion, challenger, truths, fingerprint) == {}  # 1 and 3 are not better
    assert judge(work, work.registry.find("3"), challenger).best["auc"].number == 2


def test_the_audit_split_is_reported_and_decides_nothing(bench: Bench) -> None:
    challenger = bench.register(6)  # worse on the test split, and perfect on the audit split
    decision = judge(bench.work, bench.work.registry.find("1"), challenger)
    assert not decision.promoted
    assert decision.audit["auc"].gap == pytest.approx(100 / 320)
    assert "Audit split, which decides nothing" in decision.markdown()
    assert bench.work.registry.find("2").decision == decision
    names = {record.name for record in bench.work.test_records()}
    assert not [name for name in names if name.startswith("audit")]
    # Audit videos that a version was trained on tell nothing: they are left out.
    video = next(v for v in bench.work.library.videos() if v.name == "audit-fire0")
    trained = TrainingVideo(digest=video.digest, labels=("fire",), split="train")
    another = bench.register(6, trained_on=(trained,))
    records = judging.audit_records(bench.work, bench.work.registry.find("1"), another)
    assert len(records) == 2 * PER_KIND - 1
    first, second = bench.work.registry.find("1"), bench.work.registry.find("2")
    fingerprints = {
        judge(bench.work, *pair).audit_fingerprint for pair in ((first, another), (another, second))
    }
    assert len(fingerprints) == 1
    assert decision.audit_fingerprint not in fingerprints
    check_gate(bench.work.test_truths(), GATE)


def test_the_margin_decides_at_its_boundary(tmp_path: Path) -> None:
    old, new = (write_scores_with_mistakes(tmp_path / str(n), "test", n) for n in (0, 2))

    def decide(margin: float) -> bool:
        gate = GateConfig(margins={"auc": margin}, resamples=200)
        return decide_promotion("key", old, new, truths_of("test"), gate).promoted

    loss = -decide_promotion("key", old, new, truths_of("test"), GATE).figures["auc"].difference
    assert loss == pytest.approx(2 / 320, rel=0.2)
    assert decide(loss)
    assert not decide(0.99 * loss)
    assert not decide(0.51 * loss)
    assert not decide(0)


def test_the_margin_holds_against_the_best_version_too(tmp_path: Path) -> None:
    best, old, new = (write_scores_with_mistakes(tmp_path / str(n), "test", n) for n in (0, 3, 4))
    reference: dict[Figure, BestVersion] = {"auc": BestVersion("best", 1, best)}

    def decide(margin: float) -> bool:
        gate = GateConfig(margins={"auc": margin}, resamples=200)
        return decide_promotion("key", old, new, truths_of("test"), gate, best=reference).promoted

    gate = GateConfig(margins={"auc": 1.0}, resamples=200)
    found = decide_promotion("key", old, new, truths_of("test"), gate, best=reference)
    loss = -found.best["auc"].difference
    assert loss > 2 * -found.figures["auc"].difference
    assert decide(loss)
    assert not decide(0.99 * loss)
    assert not decide(0.51 * loss)
