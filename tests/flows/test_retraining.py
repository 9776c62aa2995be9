"""Retraining on new footage, from the first training to a rollback, with real clips, CLIP and registry."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsanet.inference import infer
from evaluate.scores import read_provenance, score_path
from extract.labels import NORMAL
from extract.source import file_digest
from flows.library.database import URL_VARIABLE
from flows.library.library import Library
from flows.library.records import find_video
from flows.pipeline.prefect_flows import extract_train_eval
from flows.retraining import steps
from flows.retraining.flow import retrain_on_new_footage
from flows.workspace.inputs import configure_workspace
from flows.workspace.locks import BusyError
from flows.workspace.model_reference import checkpoint_folder
from flows.workspace.model_registry import Registry, RegistryLostError
from flows.workspace.run import Run
from flows.workspace.versions import checkpoint_key
from flows.workspace.workspace import Workspace
from tests.flows.commands import Dsanet
from tests.flows.library_footage import EVENTS, first_footage, new_footage
from tests.postgres import PostgresServer

SETTINGS = [
    "model.text_tuning=frozen",
    "model.bag_length=4",
    "evaluate.bootstrap=20",
    "evaluate.thumbnail_videos=0",
    "retrain.settle_s=0",
    "retrain.min_new_labels=4",
    "retrain.gate.resamples=200",
]
BARELY = ["train.epochs=1", "train.lr=0.00001"]
"""Settings of a first training that learns almost nothing, so that a proper training is better."""
PROPERLY = ["train.epochs=40", "train.lr=0.0005"]


@dataclass(frozen=True)
class Place:
    """A workspace, its inbox, and the true labels of the footage that arrives, by name."""

    root: Path
    inbox: Path
    labels: dict[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A workspace after the first training, with an empty inbox."""
    folder = tmp_path_factory.mktemp("retraining")
    place = Place(folder / "ws", folder / "inbox", new_footage(folder / "arriving", per_label=2))
    place.inbox.mkdir()
    inbox = f"retrain.inboxes={json.dumps([str(place.inbox)])}"
    manifest = first_footage(folder / "first")
    settings = [*SETTINGS, *BARELY, inbox]
    configure_workspace(place.root, manifest, preset="small", weights="random", settings=settings)
    extract_train_eval(place.root)
    return place


def arrive(place: Place) -> None:
    for path in sorted((place.inbox.parent / "arriving").iterdir()):
        shutil.copy(path, place.inbox)


def written(root: Path) -> dict[str, int]:
    """Modification time of each feature file."""
    return {path.name: path.stat().st_mtime_ns for path in (root / "features").glob("*.h5")}


def champion_bytes(root: Path) -> str | None:
    return file_digest(checkpoint_folder(f"{root}@champion") / "model.safetensors")


def trained_names(root: Path, key: str) -> set[str]:
    """Names of the videos in a version's training set."""
    digests = {one["digest"] for one in json.loads((root / "models" / key / "training.json").read_text())}
    with Library.open(root) as library:
        return {video.name for video in library.videos() if video.digest in digests}


def test_from_the_first_training_to_a_rollback(
    place: Place, dsanet: Dsanet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place.root

    # The first training is the first champion; nothing has arrived yet.
    outcome = retrain_on_new_footage(root)
    assert (outcome.champion, outcome.new_videos, outcome.challenger) == (1, 0, None)
    first = Registry(root).find("champion")
    assert champion_bytes(root) == file_digest(root / "model" / "model.safetensors")
    before = written(root)

    # New footage arrives without labels: scored, not trained on. A copy of a test video arrives too.
    arrive(place)
    shutil.copy(root.parent / "first" / "videos" / "test-fire-0.mp4", place.inbox / "copy-of-test.mp4")
    (place.inbox / "broken.mp4").write_bytes(b"no video" * 99)
    outcome = retrain_on_new_footage(root)
    assert (outcome.champion, outcome.new_videos, outcome.unlabelled) == (1, 6, 6)
    assert outcome.challenger is None
    assert {name: time for name, time in written(root).items() if name in before} == before
    assert set(written(root)) - set(before) == {f"{name}.h5" for name in place.labels}
    with Library.open(root) as library:
        scores = library.scores(first.key)
        videos = library.videos()
        assert {video.digest for video in videos if not video.problem} == set(scores)
        assert set(library.features()) == set(scores)
        assert find_video(videos, "copy-of-test.mp4").name == "test-fire-0"
        assert find_video(videos, "broken.mp4").problem
    assert len(Registry(root).versions()) == 1
    page = outcome.page.read_text()
    assert all(name in page for name in place.labels)
    assert "cumulative" in page
    assert not re.search(r"(src|href)=.https?:", page)

    # Without changes, no stage runs, and neither features nor scores of videos are read.
    features = written(root)
    caplog.clear()
    with monkeypatch.context() as patch:
        patch.setattr(steps, "read_features", lambda path: pytest.fail(f"{path} was read"))
        patch.setattr(steps, "read_scores", lambda path: pytest.fail(f"{path} was read"))
        retrain_on_new_footage(root)
    assert [line for line in caplog.messages if line.startswith(("extract ", "infer "))] == []
    planned = [line for line in caplog.messages if line.startswith("plan ")]
    assert planned == [
        "plan      0 of 17 videos need features",
        "plan      0 videos need scores by version 1",
    ]
    assert written(root) == features

    # Labels: the queue is sorted by decreasing entropy; labels for a test video are refused.
    code, out, _ = dsanet("label", "queue", "--out", root)
    rows = [line.split() for line in out.splitlines() if line.lstrip().startswith("new-")]
    assert {row[0] for row in rows} == set(place.labels)
    assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)
    assert out.endswith("6 videos without labels\n")
    code, _, err = dsanet("label", "set", "copy-of-test.mp4", "normal", "--out", root)
    assert (code, "test-fire-0 is a test video" in err) == (2, True)
    code, _, err = dsanet("label", "set", "new-fire-0", "fier", "--out", root)
    assert (code, "no video has the label fier yet" in err) == (2, True)
    csv_path = root.parent / "labels.csv"
    rows_csv = [f"{name},{label}" for name, label in place.labels.items() if name != "new-fire-0"]
    csv_path.write_text("\n".join(["video,labels", *rows_csv[:3]]) + "\n")
    assert dsanet("label", "import", csv_path, "--out", root, "--by", "ada")[0] == 0
    with closing(sqlite3.connect(root / "library.db")) as database, database:  # as an earlier version left it
        database.execute("UPDATE features SET mean = NULL")
        database.execute("UPDATE scores SET made_from = NULL")
    outcome = retrain_on_new_footage(root)  # three new labels, the minimum is four
    with Library.open(root) as library:
        assert all(one.has_mean for one in library.recorded_features() if one.digest)
        assert {digest: one.made_from for digest, one in library.scores(first.key).items()} == {
            digest: one.digest for digest, one in library.features().items()
        }
    assert (outcome.newly_labelled, len(Registry(root).versions())) == (3, 1)

    # Enough labels: a challenger is trained on old and new footage, and promoted.
    csv_path.write_text("\n".join(["video,labels", *rows_csv]) + "\n")
    dsanet("label", "import", csv_path, "--out", root, "--by", "ada")
    code, out, _ = dsanet("label", "set", place.inbox / "new-fire-0.mp4", "fire", "--out", root)
    assert "fire" in out
    configure_workspace(root, settings=PROPERLY)
    outcome = retrain_on_new_footage(root)
    assert (outcome.champion, outcome.challenger, outcome.promoted) == (2, 2, True)
    assert (outcome.new_videos, outcome.newly_labelled) == (0, 0)
    second = Registry(root).find("champion")
    training = {r.name for r in Run.load(root).records if r.split == "train"}
    assert trained_names(root, second.key) == training | set(place.labels)
    assert second.decision is not None
    assert set(second.decision.figures) == {"auc", "map_corrected"}
    assert second.decision.figures["auc"].difference > 0
    assert "Version 2: promoted" in outcome.page.read_text()
    run = Registry(root)._client.get_run(second.run_id)
    assert run.data.params["train.epochs"] == "40"
    assert run.data.metrics["gate_auc_challenger"] == pytest.approx(second.decision.figures["auc"].challenger)
    assert run.data.metrics["test_auc"] == pytest.approx(second.decision.figures["auc"].challenger)
    points = Registry(root)._client.get_metric_history(second.run_id, "total")
    assert max(point.step for point in points) == len(points) > 1

    # Wrong labels: the challenger is refused, the bytes of the champion stay the same.
    serving = champion_bytes(root)
    with Library.open(root) as library:
        names = [(video.name, video.labels) for video in library.videos() if video.split != "test"]
    wrong = {name: "fire" if labels == (NORMAL,) else NORMAL for name, labels in names if labels}
    csv_path.write_text("video,labels\n" + "".join(f"{name},{label}\n" for name, label in wrong.items()))
    assert dsanet("label", "import", csv_path, "--out", root, "--by", "mallory")[0] == 0
    outcome = retrain_on_new_footage(root)
    assert (outcome.champion, outcome.challenger, outcome.promoted) == (2, 3, False)
    assert champion_bytes(root) == serving
    assert trained_names(root, Registry(root).find("challenger").key) == training | set(place.labels)

    # The same labels again: the decision is in the registry.
    with monkeypatch.context() as patch:
        patch.setattr("flows.retraining.judging.decide_promotion", lambda *args: pytest.fail("decided twice"))
        retrain_on_new_footage(root)
    assert len(Registry(root).versions()) == 3

    # Rollback: the next run does not promote the withdrawn version again.
    code, out, _ = dsanet("models", "rollback", "--out", root)
    assert (code, out) == (0, "version 1 is the champion again\n")
    assert champion_bytes(root) == file_digest(root / "model" / "model.safetensors")
    code, out, _ = dsanet("models", "list", "--out", root)
    assert re.search(r"1 +champion", out)
    assert re.search(r"2 .*promoted, not worse.*taken out of service by hand", out)
    assert re.search(r"3 +challenger .*refused, worse than the champion: auc -0", out)
    assert dsanet("models", "rollback", "--out", root)[0] == 2  # version 1 has no predecessor
    right = {**dict(names), **{name: (label,) for name, label in place.labels.items()}}
    csv_path.write_text("video,labels\n" + "".join(f"{name},{ls[0]}\n" for name, ls in right.items() if ls))
    assert dsanet("label", "import", csv_path, "--out", root)[0] == 0
    outcome = retrain_on_new_footage(root)  # the same inputs as version 2, which passed the gate
    assert (outcome.champion, outcome.newly_labelled, len(Registry(root).versions())) == (1, 6, 3)


def test_inference_uses_one_version_although_another_is_promoted_meanwhile(
    place: Place, tmp_path: Path
) -> None:
    registry = Registry(place.root)
    registry.promote(registry.find("1"), by_hand=True)
    names = [record.name for record in Run.load(place.root).having_features("test")]
    checkpoint = checkpoint_folder(f"{place.root}@champion")

    def promote_meanwhile(done: int, total: int) -> None:
        if done == 1:
            registry.promote(registry.find("2"), by_hand=True)

    config = Run.load(place.root).config.infer.model_copy(update={"batch_size": 1})
    features = Workspace(place.root).features
    infer(names, features, checkpoint, tmp_path, config, on_progress=promote_meanwhile)
    assert registry.find("champion").number == 2
    used = {read_provenance(score_path(tmp_path, name))["checkpoint"] for name in names}
    first, second = (checkpoint_folder(f"{place.root}@{number}") / "model.safetensors" for number in (1, 2))
    assert used == {file_digest(first)} != {file_digest(second)}


def test_score_and_infer_use_the_champion(place: Place, dsanet: Dsanet, tmp_path: Path) -> None:
    registry = Registry(place.root)
    registry.promote(registry.find("2"), by_hand=True)
    video = place.inbox / "new-fire-0.mp4"
    code, *_ = dsanet("score", video, "--model", f"{place.root}@champion", "--out", tmp_path)
    assert code == 0
    used = read_provenance(score_path(tmp_path / "scores", video.stem))["checkpoint"]
    assert used == champion_bytes(place.root) != file_digest(place.root / "model" / "model.safetensors")
    assert dsanet("score", video, "--model", "nowhere@champion")[0] == 2
    code, _, err = dsanet("infer", "--out", place.root, "--model", "no-such")
    assert (code, "no model 'no-such'" in err) == (2, True)
    assert dsanet("infer", "--out", place.root, "--model", "champion")[0] == 0


def test_a_second_run_at_the_same_time_ends_with_one_line(place: Place, dsanet: Dsanet) -> None:
    with Workspace(place.root).locked():
        with pytest.raises(BusyError, match=r"is in use by process \d+"):
            retrain_on_new_footage(place.root)
        code, _, err = dsanet("retrain", "--out", place.root)
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("dsanet:")]
    assert "is in use by process" in line


def test_retraining_settings_given_in_part_keep_the_inboxes(place: Place) -> None:
    hidden = place.inbox.rename(place.inbox.with_name("hidden"))
    try:
        with pytest.raises(FileNotFoundError, match="no inbox folder"):
            retrain_on_new_footage(place.root, retrain={"min_new_labels": 50})
    finally:
        hidden.rename(place.inbox)


@pytest.mark.slow
def test_a_warm_challenger_starts_from_the_champion_unless_there_is_a_new_class(
    place: Place, dsanet: Dsanet, caplog: pytest.LogCaptureFixture
) -> None:
    root = place.root
    arrive(place)
    configure_workspace(root, settings=["train.init=champion", "train.epochs=1"])
    retrain_on_new_footage(root, force=True)
    warm = Registry(root).versions()[-1]
    assert Registry(root)._client.get_run(warm.run_id).data.params["train.epochs"] == "1"
    assert "starts from scratch" not in caplog.text
    code, _, error = dsanet("label", "set", "new-normal-1", "flood", "--new-class", "--out", root)
    assert code == 0, error
    retrain_on_new_footage(root, force=True)
    assert "labels that the champion has no class for; the challenger starts from scratch" in caplog.text
    new = Registry(root).versions()[-1]
    assert new.number == warm.number + 1
    info = json.loads((root / "models" / new.key / "model" / "model.json").read_text())
    assert set(info["model"]["classes"]) == {NORMAL, *EVENTS, "flood"}


def test_what_is_deleted_comes_back_or_is_asked_for(place: Place, dsanet: Dsanet, tmp_path: Path) -> None:
    root = shutil.copytree(place.root, tmp_path / "ws")
    champion = Registry(root).find("champion")
    folder = root / "models" / champion.key
    before = {path.name: file_digest(path) for path in (folder / "model").glob("model.*")}
    shutil.rmtree(folder)
    assert retrain_on_new_footage(root).champion == champion.number
    assert {path.name: file_digest(path) for path in (folder / "model").glob("model.*")} == before
    assert (folder / "training.json").is_file()
    assert (folder / "report" / "index.html").is_file()

    # A copy without the database: MLflow keeps that of `root` open in this process.
    root = shutil.copytree(root, tmp_path / "lost", ignore=shutil.ignore_patterns("mlflow.db", "mlartifacts"))
    for lost in (("retrain",), ("models", "list"), ("models", "rollback")):
        code, _, err = dsanet(*lost, "--out", root)
        assert (code, "is lost" in err, "--new-registry" in err) == (2, True, True)
    with pytest.raises(RegistryLostError):
        retrain_on_new_footage(root)
    assert not (root / "mlflow.db").exists()
    outcome = retrain_on_new_footage(root, new_registry=True)
    keys = {version.key for version in Registry(root).versions()}
    assert keys == {path.parent.name for path in root.glob("models/*/training.json")}
    assert Registry(root).find("1").key == checkpoint_key(root / "model")
    assert retrain_on_new_footage(root).champion == outcome.champion

    lost_version = next(one for one in Registry(root).versions() if not one.aliases)
    shutil.rmtree(root / "models" / lost_version.key)
    shutil.rmtree(root / "mlartifacts" / lost_version.run_id)
    code, _, err = dsanet("models", "promote", str(lost_version.number), "--out", root)
    assert (code, f"checkpoint of version {lost_version.number} is lost" in err) == (2, True)
    assert Registry(root).find("champion").number == outcome.champion


def test_a_gate_without_annotations_is_refused_before_training(place: Place) -> None:
    root = place.root
    inputs = Workspace(root).inputs_file.read_text()
    annotations = Run.load(root).inputs.annotations
    assert annotations is not None
    hidden = annotations.rename(annotations.with_suffix(".hidden"))
    try:
        Workspace(root).inputs_file.write_text(
            json.dumps({**json.loads(inputs), "annotations": None}, indent=1)
        )
        with pytest.raises(ValueError, match=r"needs auc, map_corrected, which need temporal annotations"):
            retrain_on_new_footage(root)
    finally:
        hidden.rename(annotations)
        Workspace(root).inputs_file.write_text(inputs)


def test_the_error_for_a_workspace_without_a_model_names_the_command(place: Place, tmp_path: Path) -> None:
    manifest = Run.load(place.root).inputs.manifest
    configure_workspace(tmp_path, manifest, preset="small", weights="random", settings=SETTINGS)
    shutil.copytree(place.root / "features", tmp_path / "features")
    with pytest.raises(FileNotFoundError, match=r"no model in .* yet; train .* with `dsanet run --out"):
        retrain_on_new_footage(tmp_path)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "postgresql://me@host/db?password=secret"])
def test_a_password_is_kept_out_of_settings(url: str, place: Place) -> None:
    with pytest.raises(ValueError, match=r"retrain\.library: .*which settings must not contain") as told:
        configure_workspace(place.root, settings=[f"retrain.library={url}"])
    assert "(given: 'postgresql://…')" in str(told.value)
    assert "secret" not in str(told.value)


def test_the_library_can_be_read_with_plain_sql(place: Place) -> None:
    with sqlite3.connect(place.root / "library.db") as connection:
        rows = connection.execute(
            "SELECT labels, given_by, source FROM labels JOIN videos ON videos.id = labels.video_id"
            " WHERE name = 'new-fire-1' ORDER BY labels.id"
        ).fetchall()
    connection.close()
    assert rows[:2] == [("fire", "ada", "labels.csv"), ("normal", "mallory", "labels.csv")]
    assert len(rows) == 3


def test_a_library_in_postgresql_takes_the_place_of_the_file(
    place: Place, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (place.root / "library.db").read_bytes()
    monkeypatch.setenv(URL_VARIABLE, postgres.new_database())
    versions = Registry(place.root).versions()
    outcome = retrain_on_new_footage(place.root)
    assert Registry(place.root).versions() == versions
    with Library.open(place.root) as library:
        videos = {video.name: video.labels for video in library.videos()}
        assert library.scores(Registry(place.root).find("champion").key)
    # Another, new library: it has the manifest's labels, and none for the footage that arrived.
    assert [videos[name] for name in place.labels] == [None] * len(place.labels)
    assert videos["train-fire-0"] == ("fire",)
    assert outcome.newly_labelled == 0
    assert (place.root / "library.db").read_bytes() == before


def test_help_loads_no_large_library() -> None:
    script = "import sys; from flows.cli import main as cli; cli.app(['--help'], standalone_mode=False)\n"
    script += "print(sorted({'mlflow', 'sqlalchemy', 'torch', 'prefect'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.endswith("[]\n")
