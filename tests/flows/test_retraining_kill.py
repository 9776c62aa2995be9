"""A retraining that is killed at every step ends like an uninterrupted one."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsanet.checkpoint import DRAFT, INFO_FILE, WEIGHTS_FILE
from dsanet.training.resume import RESUME_FILE
from evaluate.scores import read_scores
from extract.source import file_digest
from extract.store import content_digest as features_digest
from flows.library.from_manifest import import_manifest
from flows.library.inbox import scan
from flows.library.labels import set_labels
from flows.library.library import Library
from flows.library.records import Score
from flows.pipeline.prefect_flows import extract_train_eval
from flows.workspace.inputs import configure_workspace
from flows.workspace.model_registry import Registry
from flows.workspace.run import Run
from tests.flows.commands import DSANET
from tests.flows.library_footage import first_footage, new_footage

SETTINGS = [
    *("model.text_tuning=frozen", "model.bag_length=4", "evaluate.bootstrap=20"),
    *("evaluate.thumbnail_videos=0", "retrain.settle_s=0", "retrain.min_new_labels=4"),
    *("retrain.gate.resamples=200", "train.epochs=1", "train.lr=0.00001"),
]
Reached = Callable[[Path], bool]


def ask(root: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the registry's database; none while it is missing or locked."""
    try:
        with closing(sqlite3.connect(f"file:{root / 'mlflow.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def versions(root: Path) -> int:
    return len(ask(root, "SELECT version FROM model_versions"))


def runs(root: Path) -> int:
    return len(ask(root, "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"))


POINTS: dict[str, Reached] = {
    "in the middle of extraction": lambda root: any((root / "features").glob("new-*.h5")),
    "while the first model is taken over": lambda root: any(root.glob("models/*/model*")),
    "while the first model is registered": lambda root: runs(root) == 1,
    "with the first model registered": lambda root: versions(root) == 1,
    "while the new footage is scored": lambda root: any(root.glob("models/*/scores/new-*.h5")),
    "before the challenger's training": lambda root: len(list(root.glob("models/*/training.json"))) == 2,
    "in the middle of the training": lambda root: any(root.glob(f"models/*/model/{DRAFT}/{RESUME_FILE}")),
    "after the training": lambda root: len(list(root.glob(f"models/*/model/{INFO_FILE}"))) == 2,
    "while the challenger is registered": lambda root: runs(root) == 2,
    "with the challenger registered": lambda root: versions(root) == 2,
    "with the decision written": lambda root: bool(
        ask(root, "SELECT 1 FROM model_version_tags WHERE key = 'dsanet.decision'")
    ),
    "after the promotion": lambda root: bool(
        ask(root, "SELECT 1 FROM registered_model_aliases WHERE alias = 'champion' AND version = 2")
    ),
}


def start(root: Path) -> subprocess.Popen[str]:
    """`dsanet retrain` in a new process group."""
    return subprocess.Popen(
        [*DSANET, "retrain", "--out", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PREFECT_HOME": str(root.parent / "prefect")},
    )


def kill_when(root: Path, reached: Reached) -> None:
    process = start(root)
    while process.poll() is None and not reached(root):
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(root: Path) -> str:
    process = start(root)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def state(root: Path) -> dict[str, Any]:
    """All results of a retraining, without times and scores."""
    registry = Registry(root)
    with Library.open(root) as library:
        videos = library.videos()
        said = {v.name: [(s.labels, s.by, s.source) for s in library.label_history(v.digest)] for v in videos}
        known = {v.name: (v.digest, v.split, v.problem) for v in videos}
        features = library.features()
    return {
        "videos": known,
        "labels": said,
        "features": features,
        "versions": [
            (v.number, v.key, v.aliases, v.decision, v.replaced, v.withdrawn) for v in registry.versions()
        ],
        "runs": sorted(ask(root, "SELECT name, status FROM runs WHERE lifecycle_stage = 'active'")),
        "feature files": {path.name: features_digest(path) for path in root.glob("features/*.h5")},
        "models": {
            str(path.relative_to(root)): file_digest(path)
            for name in (WEIGHTS_FILE, INFO_FILE, "curves.csv")
            for path in root.glob(f"models/*/model/{name}")
        },
        "trained on": {
            path.parent.name: json.loads(path.read_text()) for path in root.glob("models/*/*.json")
        },
        "left over": sorted(str(path.relative_to(root)) for path in root.rglob("*.part")),
        "page": (root / "retraining" / "index.html").is_file(),
    }


def library_scores(root: Path) -> dict[tuple[str, str], Score]:
    """Scores by version key and video digest. Like the score files, they may differ in the last bits."""
    with Library.open(root) as library:
        return {
            (version.key, digest): score
            for version in Registry(root).versions()
            for digest, score in library.scores(version.key).items()
        }


def score_values(root: Path) -> dict[str, Any]:
    """Every score file. The last bits depend on the batches, so on the moment of the kill."""
    files = sorted(root.glob("models/*/scores/*.h5"))
    return {str(path.relative_to(root)): read_scores(path) for path in files}


@pytest.mark.slow
def test_a_retraining_killed_at_every_step_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    labels = new_footage(tmp_path / "inbox", per_label=2)
    inbox = f"retrain.inboxes={json.dumps([str(tmp_path / 'inbox')])}"
    first = tmp_path / "first" / "ws"
    manifest = first_footage(tmp_path / "footage")
    configure_workspace(first, manifest, preset="small", weights="random", settings=[*SETTINGS, inbox])
    extract_train_eval(first)
    with Library.open(first) as library:
        import_manifest(library, Run.load(first).records, first / "features")
        scan(library, [tmp_path / "inbox"], 0)
        for name, label in labels.items():
            set_labels(library, name, label, allowed=None, by="ada")
    configure_workspace(first, settings=["train.epochs=40", "train.lr=0.0005", "train.save_every=1"])
    whole, killed = tmp_path / "whole" / "ws", tmp_path / "killed" / "ws"
    for root in (whole, killed):
        shutil.copytree(first, root)

    finish(whole)
    expected = state(whole)
    assert [(version[0], version[2]) for version in expected["versions"]] == [(1, ()), (2, ("champion",))]

    made: dict[str, int] = {}
    for point, reached in POINTS.items():
        kill_when(killed, reached)
        now = {path.name: path.stat().st_mtime_ns for path in killed.glob("features/*.h5")}
        assert {name: now[name] for name in made} == made, f"{point}: something was extracted twice"
        made = now
    finish(killed)
    assert {path.name: path.stat().st_mtime_ns for path in killed.glob("features/*.h5")} == made
    assert state(killed) == expected
    found, known = library_scores(killed), library_scores(whole)
    assert found.keys() == known.keys()
    for key, score in known.items():
        assert found[key].predicted == score.predicted
        assert np.allclose(
            (found[key].anomaly, found[key].entropy), (score.anomaly, score.entropy), atol=1e-5
        )
    scores, wanted = score_values(killed), score_values(whole)
    assert scores.keys() == wanted.keys()
    for path, one in wanted.items():
        assert np.allclose(scores[path].anomaly_T, one.anomaly_T, atol=1e-5), path
        assert np.allclose(scores[path].classes_TC, one.classes_TC, atol=1e-5), path
