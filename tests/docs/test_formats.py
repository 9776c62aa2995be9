"""The tables of `docs/file-formats.md` name the fields that the files have, all of them and no others."""

import csv
import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import h5py
import pytest

from dsanet.checkpoint import CheckpointInfo
from dsanet.detectors.dsanet.losses import TERMS
from dsanet.training.curves import columns
from evaluate.annotations import COLUMNS, USED_FOR
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.report.causal import causal_values
from evaluate.scores import VideoScores, read_scores, write_scores
from extract.failures import Failure
from extract.manifest import write_manifest
from flows.library.tables import Base
from flows.workspace.versions import TrainingVideo
from flows.workspace.workspace import WorkspaceInputs
from tests.docs.markdown import ROOT, inline_code, table
from tests.evaluate.videos import small_test_set, write_run

PAGE = ROOT / "docs" / "file-formats.md"


def documented(heading: str) -> list[str]:
    """The names in the table below a heading; a cell may have several."""
    return [name.strip() for cell in table(PAGE, heading) for name in cell.split(",")]


def check(heading: str, names: Iterable[str]) -> None:
    found = documented(heading)
    assert sorted(found) == sorted(names), heading


def test_manifest_and_annotations(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", [])
    check("Manifest", (tmp_path / "manifest.csv").read_text().strip().split(","))
    check("Annotations", (*COLUMNS, USED_FOR))


def test_feature_file(reader: Path) -> None:
    path = next((reader / "ws" / "features").glob("*.h5"))
    assert path.read_bytes().startswith(b"dsanet-features sha256 ")
    with h5py.File(path) as file:
        check("Datasets of a feature file", [name for name in file if isinstance(file[name], h5py.Dataset)])
        check("Attributes of a feature file", file.attrs)
        groups = [name for name in file if isinstance(file[name], h5py.Group)]
        for group in groups:
            check(f"Group {group}", file[group].attrs)
    assert sorted(groups) == ["config", "encoder", "source"]


def test_score_file(reader: Path, tmp_path: Path) -> None:
    path = next((reader / "ws" / "scores").glob("*.h5"))
    write_scores(tmp_path / "copy.h5", read_scores(path), {})
    with h5py.File(tmp_path / "copy.h5") as file:
        check("Attributes of a score file", file.attrs)
    arrays = [field.name for field in fields(VideoScores) if field.name.rpartition("_")[2].isupper()]
    check("Datasets of a score file", arrays)


def test_failures() -> None:
    check("failures.csv", [field.name for field in fields(Failure)])


def test_checkpoint(reader: Path) -> None:
    check("model.json", CheckpointInfo.model_fields)
    model = reader / "ws" / "model"
    check("model.json", json.loads((model / "model.json").read_text()))
    assert {path.name for path in model.iterdir()} <= set(documented("Checkpoint folder"))


def test_training_curves() -> None:
    known = [name for name in documented("curves.csv") if name != "*loss terms*"]
    assert [*known[:2], *TERMS, *known[2:]] == list(columns(TERMS))
    assert set(TERMS) <= set(inline_code(PAGE))


def test_intervals(reader: Path) -> None:
    with (reader / "scored" / "intervals.csv").open() as file:
        check("intervals.csv", next(csv.reader(file)))


def test_metrics(reader: Path) -> None:
    metrics = json.loads((reader / "ws" / "report" / "metrics.json").read_text())
    check("metrics.json", metrics)
    check("Events in metrics.json", metrics["events"])


def test_causal_scores_in_metrics_json(tmp_path: Path) -> None:
    evaluation = evaluate_scores(tmp_path, write_run(tmp_path, small_test_set()), EvaluateConfig(bootstrap=0))
    check("Causal scores in metrics.json", causal_values(evaluation, evaluation))


def test_workspace() -> None:
    check("workspace.json", WorkspaceInputs.model_fields)
    check("Version folder", TrainingVideo.model_fields)


@pytest.mark.parametrize("name", Base.metadata.tables)
def test_library(name: str) -> None:
    check(f"Table {name}", Base.metadata.tables[name].columns.keys())
