"""Benchmark table: means and deviations over seeds, paired margins, files, published results."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluate.annotations import VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.report.metrics_file import read_metrics
from evaluate.report.published_results import published_results
from evaluate.report.standings import BenchmarkRun, Standing, build_standings, write_standings
from evaluate.report.write import write_report
from evaluate.scores import read_scores, score_path, write_scores
from tests.evaluate.videos import small_test_set, write_run

RULES = {"resamples": 100, "confidence": 0.9, "seed": 0}


def benchmark_run(root: Path, name: str, seeds: tuple[int, ...], *, classes: bool = True) -> BenchmarkRun:
    """Evaluated runs with informed scores, one per seed, with their reports."""
    runs = []
    for seed in seeds:
        run = root / name / f"seed-{seed}"
        truths = write_run(run / "scores", small_test_set(), seed=seed)
        for truth in truths if not classes else ():
            path = score_path(run / "scores", truth.name)
            write_scores(path, replace(read_scores(path), classes_TC=None), {})
        evaluation = evaluate_scores(run / "scores", truths, EvaluateConfig(bootstrap=0))
        write_report(run / "report", evaluation, title=name, notes=["a trial"])
        runs.append(run)
    return BenchmarkRun(name, tuple(runs), parameters=1234, train_s=2.5, snippets_per_s=99.0)


def truths_of() -> list[VideoTruth]:
    return [truth for truth, _ in small_test_set()]


@pytest.fixture
def rows(tmp_path: Path) -> list[Standing]:
    found = [
        benchmark_run(tmp_path, "dsanet", (1, 2)),
        benchmark_run(tmp_path, "twin", (2, 1)),
        benchmark_run(tmp_path, "mil-ranking", (3, 4), classes=False),
    ]
    return build_standings(found, "dsanet", truths_of(), **RULES)


def test_means_and_deviations_are_over_the_seeds(rows: list[Standing], tmp_path: Path) -> None:
    aucs = [
        100 * read_metrics(tmp_path / "dsanet" / f"seed-{seed}" / "report" / "metrics.json")["auc"]
        for seed in (1, 2)
    ]
    spread = rows[0].figures["auc"]
    assert spread.mean == pytest.approx(sum(aucs) / 2)
    assert spread.deviation == pytest.approx(abs(aucs[0] - aucs[1]) / 2**0.5)
    single = build_standings([benchmark_run(tmp_path, "one", (5,))], "dsanet", truths_of(), **RULES)
    assert single[0].figures["auc"].deviation is None
    assert not single[0].margins


def test_margins_are_paired_differences_of_the_means(rows: list[Standing]) -> None:
    reference, twin, other = rows
    assert not reference.margins
    assert list(twin.margins) == ["auc", "ap", "video_auc"]  # same order in every process
    margin = twin.margins["auc"]  # the same runs in another order
    assert [margin.difference, margin.low, margin.high] == pytest.approx([0, 0, 0])
    difference = other.figures["auc"].mean - reference.figures["auc"].mean
    assert other.margins["auc"].difference == pytest.approx(difference)
    assert other.margins["auc"].low <= difference <= other.margins["auc"].high


def test_a_model_without_classes_lacks_class_metrics_and_notes_the_reason(rows: list[Standing]) -> None:
    assert {"map_corrected", "map_published", "accuracy"} <= rows[0].figures.keys()
    assert not {"map_corrected", "map_published", "accuracy"} & rows[2].figures.keys()
    assert rows[2].notes == (
        "a trial",
        "the detector separates only normal from anomalous and gives no class scores",
    )


def test_the_table_is_written_as_csv_json_and_page(rows: list[Standing], tmp_path: Path) -> None:
    page = write_standings(tmp_path / "table", "Street <footage>", rows, "dsanet")
    text = page.read_text()
    assert "Street &lt;footage&gt;" in text
    assert f"{rows[0].figures['auc'].mean:.2f}" in text
    assert "http" not in text.replace("http-equiv", "")
    with (tmp_path / "table" / "standings.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == ["dsanet", "twin", "mil-ranking"]
    assert float(table[2]["auc_low"]) == pytest.approx(rows[2].margins["auc"].low)
    content = json.loads((tmp_path / "table" / "standings.json").read_text())
    assert content["rows"][0]["figures"]["auc"]["mean"] == rows[0].figures["auc"].mean


def test_published_results_of_a_detector_on_a_data_set() -> None:
    found = published_results("mil-ranking", "UCF-Crime")
    assert [result.figures["auc"] for result in found] == [75.41, 77.92, 84.14]
    assert str(found[0]) == "AUC 75.41 (C3D)"
    assert str(published_results("adapter+dcsa", "XD-Violence")[0]) == "AP 85.67, mAP 28.25"
    assert published_results("dsanet", "my footage") == ()
