"""The cache, on real flows with real files: a table of changes and the stages that run again after each."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from evaluate.report.metrics_file import read_metrics
from evaluate.scores import read_provenance, read_scores
from extract.errors import InputError
from extract.labels import NORMAL
from extract.manifest import VideoRecord, read_manifest, write_manifest
from flows.cli.pipeline import app
from flows.pipeline.prefect_flows import evaluate, extract_train_eval
from flows.workspace.inputs import configure_workspace
from flows.workspace.workspace import Workspace
from tests.flows.tiny import SETTINGS, tiny_footage

ALL = "extract train infer evaluate"
Change = Callable[[Workspace], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after a whole run. Beside its clips is `one-more.mp4`, which is in no manifest yet."""
    folder = tmp_path_factory.mktemp("caching")
    manifest = tiny_footage(folder / "clips")
    shutil.copy(read_manifest(manifest)[0].path, folder / "clips" / "one-more.mp4")
    configure_workspace(folder / "ws", manifest, preset="small", weights="random", settings=SETTINGS)
    extract_train_eval(folder / "ws")
    return Workspace(folder / "ws")


def test_the_records_are_found_with_another_prefect_home(
    finished: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Commands have a Prefect home for each version of Prefect; workspaces keep what is cached."""
    caplog.set_level(logging.INFO, logger="flows.pipeline.cache")
    with temporary_settings({PREFECT_HOME: tmp_path}):
        extract_train_eval(finished.root)
    assert [message.endswith("(Cached)") for message in caplog.messages] == 4 * [True]


def setting(assignment: str) -> Change:
    return lambda workspace: configure_workspace(workspace.root, settings=[assignment])


def manifest_with(*more: VideoRecord, change: Callable[[VideoRecord], VideoRecord] = lambda r: r) -> Change:
    """A new manifest: the old one's records after `change`, and `more`."""

    def apply(workspace: Workspace) -> None:
        inputs = workspace.read_inputs()
        clips = inputs.manifest.parent
        added = [VideoRecord(r.name, clips / r.path, r.labels, r.split) for r in more]
        path = workspace.root / "other.csv"
        write_manifest(path, [*map(change, read_manifest(inputs.manifest)), *added])
        configure_workspace(workspace.root, path, inputs.annotations)

    return apply


def added(split: str, label: str) -> Change:
    return manifest_with(VideoRecord("one-more", Path("one-more.mp4"), (label,), split))


def relabelled(record: VideoRecord) -> VideoRecord:
    """The record with label explosion if it is an anomalous training video, otherwise unchanged."""
    labels = ("explosion",) if record.split == "train" and record.labels != (NORMAL,) else record.labels
    return VideoRecord(record.name, record.path, labels, record.split)


def annotations_moved(workspace: Workspace) -> None:
    inputs = workspace.read_inputs()
    assert inputs.annotations is not None
    rows = inputs.annotations.read_text().splitlines()
    path = workspace.root / "other.annotations.csv"
    *columns, end = rows[1].split(",")
    path.write_text("\n".join([rows[0], ",".join([*columns, str(int(end) - 1)]), *rows[2:]]) + "\n")
    configure_workspace(workspace.root, annotations=path)


def first(folder: str) -> Callable[[Workspace], Path]:
    return lambda workspace: sorted((workspace.root / folder).glob("*.h5"))[0]


def deleted(find: Callable[[Workspace], Path]) -> Change:
    return lambda workspace: find(workspace).unlink()


def truncated(find: Callable[[Workspace], Path]) -> Change:
    return lambda workspace: find(workspace).write_bytes(find(workspace).read_bytes()[:-100])


def edited(find: Callable[[Workspace], Path]) -> Change:
    def apply(workspace: Workspace) -> None:
        content = bytearray(find(workspace).read_bytes())
        content[-100] ^= 1
        find(workspace).write_bytes(content)

    return apply


FEATURES, SCORES = first("features"), first("scores")
WEIGHTS: Callable[[Workspace], Path] = lambda workspace: workspace.model / "model.safetensors"  # noqa: E731
PAGE: Callable[[Workspace], Path] = lambda workspace: workspace.report / "index.html"  # noqa: E731

TABLE: dict[str, tuple[Change, str]] = {
    "nothing": (lambda workspace: None, ""),
    "workers": (setting("runtime.workers=1"), ""),
    "retries": (setting("stages.retries=1"), ""),
    "the threshold": (setting("evaluate.threshold=0.25"), "evaluate"),
    "the protocol": (setting("evaluate.bootstrap=60"), "evaluate"),
    "the annotations": (annotations_moved, "evaluate"),
    "the belief modulation": (setting("infer.beta=2.0"), "infer evaluate"),
    "the training": (setting("train.epochs=2"), "train infer evaluate"),
    "the labels": (manifest_with(change=relabelled), "train infer evaluate"),
    "a training video more": (added("train", NORMAL), ALL),
    "a test video more": (added("test", NORMAL), "extract infer evaluate"),
    "a feature file deleted": (deleted(FEATURES), "extract"),
    "a feature file truncated": (truncated(FEATURES), "extract"),
    "a feature file edited": (edited(FEATURES), "extract"),
    "the weights deleted": (deleted(WEIGHTS), "train"),
    "the weights edited": (edited(WEIGHTS), "train"),
    "a score file deleted": (deleted(SCORES), "infer"),
    "a score file truncated": (truncated(SCORES), "infer"),
    "the report edited": (edited(PAGE), "evaluate"),
}


def written(workspace: Workspace) -> dict[str, int]:
    """Modification time of each feature and score file."""
    files = [*workspace.features.glob("*.h5"), *workspace.scores.glob("*.h5")]
    return {f"{path.parent.name}/{path.name}": path.stat().st_mtime_ns for path in files}


def stages_run(caplog: pytest.LogCaptureFixture) -> str:
    """The stages whose log line does not end in (Cached)."""
    lines = [line for line in caplog.messages if line.endswith(")") and line.split()[0] in ALL.split()]
    assert [line.split()[0] for line in lines] == ALL.split()
    return " ".join(line.split()[0] for line in lines if not line.endswith("(Cached)"))


@pytest.mark.parametrize("name", TABLE)
def test_a_change_runs_the_stages_that_depend_on_it(
    name: str, finished: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change, expected = TABLE[name]
    # Each row works on a copy; the cache moves with the workspace.
    workspace = Workspace(shutil.copytree(finished.root, tmp_path / "ws"))
    change(workspace)
    before = written(workspace)
    with caplog.at_level("INFO", logger="flows"):
        extract_train_eval(workspace.root)
    run = stages_run(caplog)
    if "a score file" in name:  # scored in another batch, its last bit can differ, and evaluation then runs
        run = run.removesuffix(" evaluate")
    assert run == expected
    redone = {path for path, time in written(workspace).items() if time != before.get(path)}
    lost = FEATURES if "a feature file" in name else SCORES if "a score file" in name else None
    if lost:  # only that file is written again
        path = lost(finished)
        assert redone == {f"{path.parent.name}/{path.name}"}
    if lost is FEATURES:
        assert FEATURES(workspace).read_bytes() == FEATURES(finished).read_bytes()
    if name.endswith("video more"):
        assert {path for path in redone if path.startswith("features")} == {"features/one-more.h5"}


def test_causal_scores_are_made_when_asked_for_and_stand_beside_the_others(
    finished: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(shutil.copytree(finished.root, tmp_path / "ws"))
    before = written(workspace)
    configure_workspace(workspace.root, settings=["evaluate.causal=true"])
    for expected in ("infer evaluate", ""):
        caplog.clear()
        with caplog.at_level("INFO", logger="flows"):
            extract_train_eval(workspace.root)
        assert stages_run(caplog) == expected
    assert written(workspace) == before
    names = sorted(path.name for path in workspace.scores.iterdir())
    assert sorted(path.name for path in workspace.causal_scores.iterdir()) == names
    for name in names:  # clips of one snippet have no future
        scores, causal = (
            read_scores(folder / name) for folder in (workspace.scores, workspace.causal_scores)
        )
        np.testing.assert_allclose(causal.anomaly_T, scores.anomaly_T, atol=1e-5)
        assert read_provenance(workspace.causal_scores / name)["causal"] is True
    metrics = read_metrics(workspace.report / "metrics.json")
    assert metrics["causal"]["auc"] == metrics["auc"]
    assert "Causal scores" in PAGE(workspace).read_text()

    (workspace.causal_scores / names[0]).unlink()
    configure_workspace(workspace.root, settings=["evaluate.causal=false"])
    caplog.clear()
    with caplog.at_level("INFO", logger="flows"):
        extract_train_eval(workspace.root)
    assert stages_run(caplog) == "evaluate", "the keys of an ordinary run are what they were"
    assert PAGE(workspace).read_bytes() == PAGE(finished).read_bytes()
    configure_workspace(workspace.root, settings=["evaluate.causal=true"])
    with pytest.raises(InputError, match=r"1 of 2 test videos have no causal scores: .* --causal` first"):
        evaluate(workspace.root)


def test_the_option_causal_is_a_setting_that_stays(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(shutil.copytree(finished.root, tmp_path / "ws"))
    monkeypatch.setattr("flows.cli.run_flows.run_stage", lambda *args, **parameters: None)
    for option, expected in ((["--causal"], True), ([], True), (["--no-causal"], False), ([], False)):
        result = CliRunner().invoke(app, ["infer", "--out", str(workspace.root), *option])
        assert result.exit_code == 0, result.output
        assert workspace.read_inputs().config.evaluate.causal is expected


def test_refresh_runs_a_stage_and_all_later_ones(
    finished: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(finished.root, tmp_path / "ws")
    with caplog.at_level("INFO", logger="flows"):
        extract_train_eval(root, refresh="train")
    assert stages_run(caplog) == "train infer evaluate"


def test_without_changes_no_stage_does_its_work(finished: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a cached stage did its work")

    for work in (
        "extract.engine.extract_videos",
        "dsanet.training.train.train",
        "dsanet.inference.infer",
        "evaluate.evaluation.evaluate_scores",
    ):
        monkeypatch.setattr(work, forbidden)
    results = extract_train_eval(finished.root)
    assert [result.stage for result in results] == ALL.split()
