"""Real CCTV: clips of UCF-Crime with its official lists and annotations, from video to metrics."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from extract.manifest import read_manifest, write_manifest
from flows.pipeline.prefect_flows import extract_train_eval
from flows.workspace.datasets import import_official_lists
from flows.workspace.inputs import configure_workspace
from flows.workspace.workspace import Workspace

TRAINING = ("Normal_Videos_641_x264", "Explosion016_x264")
TEST = ("RoadAccidents017_x264", "Burglary033_x264")


@pytest.fixture
def videos(shared: Path, tmp_path: Path) -> Path:
    """A folder with four of the clips."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in (*TRAINING, *TEST):
        shutil.copy(shared / "data" / "footage" / f"{name}.mp4", folder)
    return folder


def test_real_footage_from_official_lists_to_metrics(shared: Path, videos: Path, tmp_path: Path) -> None:
    lists = shared / "data" / "ucf-crime"
    manifest = tmp_path / "ucf.csv"
    imported = import_official_lists("ucf-crime", lists, videos, manifest)
    assert len(imported.records) == 4
    assert len(imported.missing) == 1900 - 4
    # All nine available clips are test videos of the data set; two of them are used for training here.
    records = [
        type(r)(r.name, r.path, r.labels, "train" if r.name in TRAINING else "test")
        for r in read_manifest(manifest)
    ]
    write_manifest(manifest, records)
    settings = [
        "extract.snippet_length=128",
        "model.bag_length=16",
        "train.epochs=2",
        "evaluate.bootstrap=20",
    ]
    configure_workspace(tmp_path / "ws", manifest, preset="small", weights="random", settings=settings)
    extract_train_eval(tmp_path / "ws")
    workspace = Workspace(tmp_path / "ws")
    assert {path.stem for path in workspace.scores.glob("*.h5")} == set(TEST)
    metrics = json.loads((workspace.report / "metrics.json").read_text())
    assert 0 <= metrics["auc"] <= 1
    with (lists / "test-frame-counts.tsv").open() as table:
        frames = {row[0].removesuffix(".mp4"): int(row[-1]) for row in csv.reader(table, delimiter="\t")}
    assert metrics["counts"]["frames"] == sum(frames[name] for name in TEST)
