"""`dsanet bench`: entries, the table, reuse of finished runs; a proof on the demo's footage (slow)."""

import csv
import itertools
import json
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import dsanet.detectors.base
from dsanet.detectors.registry import DETECTORS
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from flows.demo.prepare import prepare_demo
from flows.pipeline.bench import TABLE_5, TABLE_6, BenchmarkEntry, bench, parse_entries, shuffled_labels
from flows.workspace.inputs import configure_workspace
from flows.workspace.workspace import Workspace
from tests.flows.tiny import SETTINGS

QUICK = ("train.epochs=1",)
ENTRIES = (
    BenchmarkEntry("mil-ranking", "mil-ranking"),
    BenchmarkEntry("clip-tsa", "clip-tsa"),
    BenchmarkEntry("dsanet", "dsanet", ("model.text_tuning=frozen", "model.decoder_layers=1")),
)


@pytest.fixture(scope="module", autouse=True)
def one_random_clip() -> Iterator[None]:
    """Build the random CLIP once for all trainings with text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dsanet.detectors.base, "build_clip", cache(dsanet.detectors.base.build_clip))
        yield


def test_entries_are_all_detectors_or_some_by_name_or_an_ablation() -> None:
    assert [entry.name for entry in parse_entries("all", None)] == list(DETECTORS)
    assert parse_entries("vadclip, dsanet,vadclip", None) == (
        BenchmarkEntry("vadclip", "vadclip"),
        BenchmarkEntry("dsanet", "dsanet"),
    )
    assert parse_entries("all", "table5") == TABLE_5
    assert parse_entries("all", "table6") == TABLE_6
    with pytest.raises(ValueError, match="no detector 'sultani'; expected one of mil-ranking"):
        parse_entries("dsanet,sultani", None)
    with pytest.raises(ValueError, match="no ablation 'table7'; expected one of table5, table6"):
        parse_entries("all", "table7")


def test_one_table_of_all_entries_and_finished_runs_are_reused(
    footage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flows.pipeline.bench")
    root = tmp_path / "ws"
    configure_workspace(root, footage, preset="small", weights="random", settings=SETTINGS)
    rows, page = bench(root, ENTRIES, 2, QUICK)
    assert [(row.name, row.seeds) for row in rows] == [(entry.name, 2) for entry in ENTRIES]
    ranking, _, reference = rows
    assert ranking.parameters == 512 * 512 + 512 + 512 * 32 + 32 + 32 + 1
    assert ranking.train_s is not None
    assert ranking.snippets_per_s > 0
    assert not reference.margins
    assert ranking.margins["auc"].low <= ranking.margins["auc"].difference <= ranking.margins["auc"].high
    # A detector without classes has no class figures; its notes say why.
    assert "map_corrected" in reference.figures
    assert "map_corrected" not in ranking.figures
    assert any("only normal from anomalous" in note for note in ranking.notes)
    assert any("in place of the C3D of Sultani" in note for note in ranking.notes)
    assert any("random CLIP weights" in note for note in ranking.notes)

    folder = root / "bench"
    metrics = json.loads((folder / "mil-ranking" / "seed-1" / "report" / "metrics.json").read_text())
    others = json.loads((folder / "mil-ranking" / "seed-0" / "report" / "metrics.json").read_text())
    mean = 100 * (metrics["auc"] + others["auc"]) / 2
    assert ranking.figures["auc"].mean == pytest.approx(mean)
    with (page.parent / "standings.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == ["mil-ranking", "clip-tsa", "dsanet"]
    assert float(table[0]["auc_mean"]) == pytest.approx(mean)
    assert table[0]["map_corrected_mean"] == ""
    assert "mil-ranking" in page.read_text()
    assert json.loads((page.parent / "standings.json").read_text())["rows"][2]["name"] == "dsanet"

    caplog.clear()
    weights = (folder / "clip-tsa" / "seed-0" / "model" / "model.safetensors").stat().st_mtime_ns
    (folder / "dsanet" / "seed-1" / "scores" / "test-calm.h5").unlink()
    again, _ = bench(root, ENTRIES, 2, QUICK)
    assert sum("finished before" in line for line in caplog.messages) == 5
    assert (folder / "clip-tsa" / "seed-0" / "model" / "model.safetensors").stat().st_mtime_ns == weights
    assert [row.figures for row in again] == [row.figures for row in rows]
    caplog.clear()
    bench(root, ENTRIES[:1], 1, ("train.epochs=2",))
    assert not any("finished before" in line for line in caplog.messages)


def test_shuffled_labels_are_independent_of_the_truth() -> None:
    records = [
        VideoRecord(f"{split}-{label}-{i}", Path("x"), (label,), split)
        for split, label, i in itertools.product(("train", "val", "test"), (NORMAL, "fire", "riot"), range(8))
    ]
    shuffled = shuffled_labels(records, 0)
    assert sorted(record.name for record in shuffled) == sorted(record.name for record in records)
    for record in shuffled:
        split, truth, _ = record.name.split("-")
        assert record.split == split
        if split == "test":
            assert record.labels == (truth,)
    for split, truth in itertools.product(("train", "val"), (NORMAL, "fire", "riot")):
        labels = [record.labels[0] for record in shuffled if record.name.startswith(f"{split}-{truth}")]
        assert labels.count(NORMAL) == 4
        assert labels.count("fire") == labels.count("riot") == 2
    assert shuffled_labels(records, 1) != shuffled


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("demo")
    prepare_demo(root, "random", seed=0)
    return Workspace(root)


@pytest.mark.slow
def test_all_detectors_find_the_demos_events(demo: Workspace) -> None:
    rows, _ = bench(demo.root, parse_entries("all", None), 3)
    found = {row.name: row.figures["auc"].mean for row in rows}
    assert list(found) == list(DETECTORS)
    assert min(found.values()) >= 75, found


@pytest.mark.slow
def test_on_shuffled_labels_all_detectors_fall_to_chance(demo: Workspace) -> None:
    rows, _ = bench(demo.root, parse_entries("all", None), 3, shuffle_labels=True)
    found = {row.name: row.figures["auc"].mean for row in rows}
    assert all(35 <= auc <= 65 for auc in found.values()), found
    assert 40 <= np.mean(list(found.values())) <= 60, found
