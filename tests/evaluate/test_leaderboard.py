"""Leaderboard: figures, paired differences, marks, published results, warnings, and its three files."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate.annotations import VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.metrics.paired_difference import paired_differences
from evaluate.report.leaderboard import Leaderboard, build_leaderboard, read_runs
from evaluate.report.leaderboard_files import difference_text, markdown, write_leaderboard
from evaluate.report.margins import Margin
from evaluate.report.metrics_file import read_metrics, write_metrics
from evaluate.report.write import write_report
from evaluate.scores import read_scores, score_path, write_scores
from extract.errors import InputError, MissingFileError
from tests.evaluate.videos import small_test_set, video_scores, write_run

RULES: dict[str, Any] = {"resamples": 200, "confidence": 0.9, "seed": 3}


def write_evaluated(folder: Path, truths: list[VideoTruth], title: str, **config: Any) -> Path:
    evaluation = evaluate_scores(folder / "scores", truths, EvaluateConfig(bootstrap=20, **config))
    detector = {"model": {"detector": title.casefold()}}
    write_report(folder / "report", evaluation, title=title, notes=["a <trial>"], run_config=detector)
    return folder


@pytest.fixture(scope="module")
def truths() -> list[VideoTruth]:
    return [truth for truth, _ in small_test_set()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, truths: list[VideoTruth]) -> list[Path]:
    """Four runs: informed scores, the same ones again, a run without classes, and chance."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("first", "again", "other", "chance"):
        write_run(root / name / "scores", small_test_set(), seed=1)
    for truth, n_frames in small_test_set():
        path = score_path(root / "other" / "scores", truth.name)
        write_scores(path, replace(read_scores(path), classes_TC=None, event_C=None, background_C=None), {})
        path = score_path(root / "chance" / "scores", truth.name)
        write_scores(path, video_scores(truth.name, n_frames, seed=len(truth.name)), {})
    titles = {"first": "VadCLIP", "again": "Again | *x*", "other": "Other", "chance": "Chance"}
    return [write_evaluated(root / name, truths, title) for name, title in titles.items()]


@pytest.fixture(scope="module")
def table(folders: list[Path], truths: list[VideoTruth]) -> Leaderboard:
    return build_leaderboard(read_runs(folders), truths, **RULES)


def test_figures_are_those_of_the_reports(table: Leaderboard, folders: list[Path]) -> None:
    assert [row.name for row in table.rows] == ["VadCLIP", "Again | *x*", "Other", "Chance"]
    assert table.reference == "VadCLIP"
    for row, folder in zip(table.rows, folders, strict=True):
        metrics = read_metrics(folder / "report" / "metrics.json")
        assert row.figures["auc"] == 100 * metrics["auc"]
        assert row.figures["events_at_1"] == 100 * metrics["events"]["at"]["1"]["found"]
        low, high = metrics["confidence_intervals"]["ap"]
        assert row.intervals["ap"] == (100 * low, 100 * high)
    assert "map_corrected" not in table.rows[2].figures
    assert [headline.title for headline in table.headlines][-3:] == [
        "Events at 0.1/h", "Events at 1/h", "Events at 10/h"
    ]  # fmt: skip


def test_differences_are_paired(table: Leaderboard, folders: list[Path], truths: list[VideoTruth]) -> None:
    first, again, other, chance = table.rows
    assert first.margins == {}
    assert {(m.difference, m.low, m.high) for m in again.margins.values()} == {(0, 0, 0)}
    assert all(margin.includes_zero for margin in again.margins.values())
    assert "map_corrected" in again.margins
    assert "map_corrected" not in other.margins
    rules = {"low": 0.05, "middle": 0.5, "resamples": 200, "seed": 3}
    names = ("auc", "ap", "map_corrected", "video_auc")
    expected = paired_differences(folders[0] / "scores", folders[3] / "scores", truths, names, **rules)
    for name, one in expected.items():
        margin = chance.margins[name]
        assert margin.difference == pytest.approx(100 * (one.second - one.first))
        assert (margin.low, margin.high) == pytest.approx((100 * one.low, 100 * one.high))
        assert margin.difference == pytest.approx(chance.figures[name] - first.figures[name])
    assert not chance.margins["auc"].includes_zero


def test_false_alarms_are_compared_at_the_threshold_of_each_run(
    folders: list[Path], truths: list[VideoTruth], tmp_path: Path
) -> None:
    write_run(tmp_path / "scores", small_test_set(), seed=1)
    strict = write_evaluated(tmp_path, truths, "Strict", threshold=0.8)
    found = build_leaderboard(read_runs([folders[0], strict]), truths, **RULES)
    difference = found.rows[1].figures["far"] - found.rows[0].figures["far"]
    assert difference < 0
    assert found.rows[1].margins["far"].difference == pytest.approx(difference)
    assert "False alarms were counted at different thresholds." in found.warnings


def test_other_ground_truth_is_a_warning_and_common_videos_are_paired(
    folders: list[Path], truths: list[VideoTruth], tmp_path: Path
) -> None:
    write_run(tmp_path / "scores", small_test_set()[:-1], seed=2)
    fewer = write_evaluated(tmp_path, truths[:-1], "Fewer")
    found = build_leaderboard(read_runs([folders[0], fewer]), truths, **RULES)
    assert found.warnings == (
        "The runs were evaluated on different test videos or annotations.",
        "Fewer: its differences from VadCLIP are those on the 5 videos that both have, with the ground truth "
        "of VadCLIP.",
    )
    rules = {"low": 0.05, "middle": 0.5, "resamples": 200, "seed": 3}
    dirs = (folders[0] / "scores", fewer / "scores")
    expected = paired_differences(*dirs, truths[:-1], ("auc",), **rules)["auc"]
    margin = found.rows[1].margins["auc"]
    assert margin.difference == pytest.approx(100 * (expected.second - expected.first))


def test_published_figures_stand_beside_those_of_their_data_set(
    folders: list[Path], truths: list[VideoTruth], tmp_path: Path
) -> None:
    assert all(row.published == () for row in build_leaderboard(read_runs(folders), truths, **RULES).rows)
    write_run(tmp_path / "scores", small_test_set(), seed=1)
    write_evaluated(tmp_path, truths, "x")
    metrics = read_metrics(tmp_path / "report" / "metrics.json")
    paper = {"paper": {"dataset": "UCF-Crime", "headline": "auc", "value": 89.44, "map_average": 13.01}}
    for title, config, expected in (
        ("anything", {"model": {"detector": "vadclip"}}, (88.02,)),
        ("Vad-CLIP", {"imported": {}}, (88.02,)),
        ("MIL ranking", {"imported": {}}, (75.41, 77.92, 84.14)),
        ("RTFM", {"imported": {}}, (84.30,)),
        ("unknown", {"imported": {}}, ()),
    ):
        changed = {**metrics, **paper, "title": title, "config": {**metrics["config"], **config}}
        if "imported" in config:
            del changed["config"]["model"]
        write_metrics(tmp_path / "report" / "metrics.json", changed)
        row = build_leaderboard(read_runs([folders[0], tmp_path]), truths, **RULES).rows[1]
        assert row.published_figures("auc") == expected


def test_runs_that_cannot_be_compared_are_refused(
    folders: list[Path], truths: list[VideoTruth], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="at least two runs, 1 given"):
        read_runs(folders[:1])
    with pytest.raises(InputError, match="is given twice"):
        read_runs([folders[0], folders[1], folders[0] / "report"])
    with pytest.raises(MissingFileError, match="evaluate this run first"):
        read_runs([folders[0], tmp_path])
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "metrics.json").write_bytes((folders[0] / "report" / "metrics.json").read_bytes())
    with pytest.raises(MissingFileError, match="no score files in"):
        read_runs([folders[0], tmp_path])
    write_run(tmp_path / "scores", small_test_set(), seed=9)
    with pytest.raises(InputError, match="scores have changed since the evaluation"):
        read_runs([folders[0], tmp_path])
    changed = [replace(truths[0], labels=("riot", "fire")), *truths[1:]]
    with pytest.raises(InputError, match="VadCLIP: the ground truth has changed since the evaluation"):
        build_leaderboard(read_runs(folders[:2]), changed, **RULES)


def test_the_files_have_the_same_rows(table: Leaderboard, tmp_path: Path) -> None:
    paths = write_leaderboard(tmp_path / "new" / "board.html", table)
    assert [path.name for path in paths] == ["board.html", "board.csv", "board.md"]
    page, text, marked = (path.read_text() for path in paths)
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["name"] for row in rows] == [row.name for row in table.rows]
    assert float(rows[3]["auc_difference_low"]) == table.rows[3].margins["auc"].low
    assert [row["auc_includes_zero"] for row in rows] == ["", "True", "True", "False"]
    assert rows[2]["map_corrected"] == ""
    assert "VadCLIP: a &lt;trial&gt;" in page
    assert f"{table.rows[3].figures['auc']:.2f}" in page
    assert "http" not in page.replace("http-equiv", "")
    head, rule, *lines = marked.splitlines()[: 2 + len(rows)]
    assert {line.replace("\\|", "").count("|") for line in (head, rule, *lines)} == {len(table.headlines) + 2}
    assert r"| Again \| \*x\* |" in marked
    assert difference_text(table.rows[3].margins["auc"]) in lines[3]
    assert r"- VadCLIP: a \<trial\>" in marked


def test_differences_are_marked_if_zero_is_inside() -> None:
    assert difference_text(Margin(0.314, -0.4, 1.0)) == "≈ +0.31 (-0.40 to +1.00)"
    assert difference_text(Margin(-1, -2, -0.5)) == "-1.00 (-2.00 to -0.50)"
    assert difference_text(Margin(-0.001, -0.004, 0.0)) == "≈ +0.00 (+0.00 to +0.00)"
    assert Margin(1, 0, 2).includes_zero
    assert not Margin(1, 0.001, 2).includes_zero


def test_published_figures_are_in_the_cells(table: Leaderboard) -> None:
    from evaluate.report.published_results import PublishedResult

    row = replace(table.rows[0], published=(PublishedResult("vadclip", "UCF-Crime", {"auc": 88.02}),))
    changed = replace(table, rows=(row, *table.rows[1:]))
    assert f"| VadCLIP | {row.figures['auc']:.2f} [88.02] |" in markdown(changed)


def test_other_names_than_html_are_refused(table: Leaderboard, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in .html"):
        write_leaderboard(tmp_path / "board.csv", table)


def test_without_resamples_there_are_no_differences(folders: list[Path], truths: list[VideoTruth]) -> None:
    found = build_leaderboard(read_runs(folders[:2]), truths, resamples=0, confidence=0.9, seed=0)
    assert found.rows[1].margins == {}
    assert np.isfinite(found.rows[1].figures["auc"])
