"""The report: `metrics.json`, the page as a single file, charts, and the comparison page."""

import csv
import json
import re
import time
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate.annotations import Segment, VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluated_videos import select_scored
from evaluate.evaluation import evaluate_scores
from evaluate.report import page as report_page
from evaluate.report import write as report_write
from evaluate.report.chart_data import Axis, LineChart, Series, peaks, thin
from evaluate.report.compare import compare_runs
from evaluate.report.metrics_file import build_metrics, read_metrics, write_metrics
from evaluate.report.published_results import paper_metrics_for
from evaluate.report.svg import line_chart
from evaluate.report.timeline import timeline
from evaluate.report.training_curves import read_curves
from evaluate.report.write import write_report
from evaluate.scores import score_path, write_scores
from extract.errors import InputError
from extract.labels import UCF_CRIME_CLASSES
from tests.evaluate.videos import small_test_set, video_scores, write_run

JPEG = b"\xff\xd8 not a real picture"
HOSTILE = '"><script>alert(1)</script>&amp;'


def make_report(folder: Path, seed: int = 0, config: Any = None, **options: Any) -> dict[str, Any]:
    """Evaluate the small test set into folder/report and return its metrics."""
    truths = write_run(folder / "scores", small_test_set(), seed)
    evaluation = evaluate_scores(folder / "scores", truths, config or EvaluateConfig(bootstrap=40))
    write_report(folder / "report", evaluation, **{"title": f"run {seed}"} | options)
    return read_metrics(folder / "report" / "metrics.json")


def page(folder: Path) -> str:
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_content_of_metrics_json(tmp_path: Path) -> None:
    figures = make_report(
        tmp_path,
        notes=["random CLIP weights: a trial, not a result"],
        run_config={"train": {"lr": 1e-5}},
        digests={"model": "abc"},
    )
    for name in ("auc", "ap", "anomaly_auc", "far", "far_normal"):
        assert 0 <= figures[name] <= 1
    assert figures["missing"] == {}
    assert list(figures["map"]["published"]["per_iou"]) == ["0.1", "0.2", "0.3", "0.4", "0.5"]
    assert figures["map"].keys() == {"published", "corrected"}
    counts = {"test_videos": 6, "scored": 6, "left_out": 0, "anomalous": 3, "normal": 3, "segments": 5}
    assert figures["counts"] == {**counts, "frames": 1186}
    assert figures["config"]["evaluate"]["threshold"] == 0.5
    assert figures["config"]["train"] == {"lr": 1e-5}
    assert figures["digests"].keys() == {"model", "scores", "truth"}
    assert {"python", "numpy", "scikit-learn", "dsanet"} <= figures["versions"].keys()
    assert figures["notes"] == ["random CLIP weights: a trial, not a result"]
    assert figures["paper"] is None
    assert len(figures["videos"]) == 6


def test_causal_figures_stand_beside_the_offline_ones(tmp_path: Path) -> None:
    config = EvaluateConfig(bootstrap=40, causal=True)
    truths = write_run(tmp_path / "causal", small_test_set(), seed=3)
    causal = evaluate_scores(tmp_path / "causal", truths, config)
    found = make_report(tmp_path, config=config, causal=causal)
    alone = make_report(tmp_path / "alone", seed=3)
    section, shown = found["causal"], " ".join(re.sub("<[^>]+>", " ", page(tmp_path)).split())
    for key in ("auc", "ap", "far", "map", "events", "video", "confidence_intervals"):
        assert section[key] == alone[key], "the figures are those of a report of its own"
    assert section["digests"]["scores"] == alone["digests"]["scores"] != found["digests"]["scores"]
    difference = 100 * (section["auc"] - found["auc"])
    low, high = (100 * end for end in section["differences"]["auc"])
    assert low < difference < high
    row = (
        f"AUC {100 * found['auc']:.2f} {100 * section['auc']:.2f} {difference:+.2f} {low:+.2f} – {high:+.2f}"
    )
    assert row in shown
    assert f"median delay, s {found['events']['at']['1']['delay_median_s']:.2f}" in shown
    assert "a camera's does" in unescape(shown)


def test_without_causal_scores_a_report_is_as_before(tmp_path: Path) -> None:
    figures = make_report(tmp_path)
    assert "causal" not in figures
    assert "causal" not in figures["config"]["evaluate"]
    assert "Causal" not in page(tmp_path)
    assert EvaluateConfig().model_dump(context={"every_setting": True})["causal"] is False


def test_causal_scores_of_other_videos_are_refused(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "causal", small_test_set()[:4])
    causal = evaluate_scores(tmp_path / "causal", truths, EvaluateConfig(bootstrap=0))
    with pytest.raises(InputError, match="the causal scores are not those of the same videos"):
        make_report(tmp_path, causal=causal)


def test_missing_metrics_are_null_with_a_reason(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "scores", small_test_set())
    blind = [truth if truth.is_normal else VideoTruth(truth.name, truth.labels, None) for truth in truths]
    evaluation = evaluate_scores(tmp_path / "scores", blind, EvaluateConfig(bootstrap=40))
    write_report(tmp_path / "report", evaluation, title="blind")
    figures = read_metrics(tmp_path / "report" / "metrics.json")
    for name in ("auc", "ap", "anomaly_auc", "far", "far_normal", "map"):
        assert figures[name] is None
        assert "3 anomalous video(s) without temporal annotations" in figures["missing"][name]
    assert figures["video"]["auc"] == 1
    assert "No AUC, AP, Ano-AUC, False alarms, mAP published, mAP corrected: 3 anomalous video(s)" in page(
        tmp_path
    )
    assert "Video AUC" in page(tmp_path)


def test_a_test_set_of_normal_videos_only_can_be_evaluated(tmp_path: Path) -> None:
    write_scores(score_path(tmp_path, "quiet"), video_scores("quiet", 50), {})
    evaluation = evaluate_scores(
        tmp_path, [VideoTruth("quiet", ("normal",), ())], EvaluateConfig(bootstrap=5)
    )
    write_report(tmp_path, evaluation, title="quiet")
    figures = read_metrics(tmp_path / "metrics.json")
    assert figures["auc"] is None
    assert figures["missing"]["auc"].startswith("undefined")
    assert figures["map"]["corrected"]["average"] is None
    assert figures["far"] is not None


def test_left_out_videos_are_in_every_output(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "scores", small_test_set())
    score_path(tmp_path / "scores", "fire").unlink()
    evaluation = evaluate_scores(tmp_path / "scores", truths, EvaluateConfig(bootstrap=5, only_scored=True))
    write_report(tmp_path / "report", evaluation, title="some")
    figures = read_metrics(tmp_path / "report" / "metrics.json")
    assert figures["left_out"] == ["fire"]
    assert figures["counts"]["left_out"] == 1
    assert "1 of 6 test videos have no scores" in page(tmp_path)


def test_the_page_is_one_file_without_requests(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text(
        "epoch,step,detection,total,val_auc\n0,1,0.7,1.5,\n0,2,0.6,1.2,0.71\n"
    )
    make_report(
        tmp_path,
        config=EvaluateConfig(bootstrap=5, thumbnail_videos=2, tsne=True),
        notes=["a trial, not a result"],
        curves_csv=tmp_path / "curves.csv",
        thumbnail=lambda name, frame: JPEG,
        raw_features=lambda name: np.random.default_rng(0).random((-(-frame_counts()[name] // 16), 8)),
    )
    text = page(tmp_path)
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]*)""", text)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    for part in ("a trial, not a result", "ROC curve", "Precision and recall", "Training loss", "Validation",
                 "Event prototype", "Features before the model (t-SNE)", "Learned features (t-SNE)",
                 "Distance to the normal patterns", "published", "corrected"):  # fmt: skip
        assert part in unescape(text)
    assert text.count('<article class="video"') == 6
    assert text.count('class="marks"') == 2
    assert 2 <= text.count("data:image/jpeg") <= 6  # two videos, at most three peaks each
    errors = [float(value) for value in re.findall(r'data-error="([\d.]+)"', text)]
    assert errors == sorted(errors, reverse=True)


def frame_counts() -> dict[str, int]:
    return {truth.name: n_frames for truth, n_frames in small_test_set()}


def test_a_run_without_training_has_no_loss_curves(tmp_path: Path) -> None:
    make_report(tmp_path, curves_csv=tmp_path / "none.csv")
    assert "Training loss" not in page(tmp_path)


def test_raw_features_of_another_extraction_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"riot: raw features have shape \(3, 8\)"):
        make_report(
            tmp_path, config=EvaluateConfig(bootstrap=0, tsne=True), raw_features=lambda name: np.ones((3, 8))
        )


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "")
    truth = VideoTruth(name, ("riot",), None)
    classes = ("normal", "riot", f"<b>{HOSTILE}</b>")
    write_scores(score_path(tmp_path, name), video_scores(name, classes=classes), {})
    evaluation = evaluate_scores(tmp_path, [truth], EvaluateConfig(bootstrap=0))
    options: dict[str, Any] = {"title": HOSTILE, "notes": [HOSTILE], "run_config": {"x": HOSTILE}}
    for run in ("one", "two"):
        write_report(tmp_path / run, evaluation, **options)
    text = (tmp_path / "one" / "index.html").read_text()
    compared = compare_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "compare.html").read_text()
    assert text.count("<script>") == compared.count("<script>") == 1  # the script of the page
    assert "<script>alert" not in text + compared
    assert "<b>&#34;" not in text


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_report(tmp_path / name, config=EvaluateConfig(bootstrap=20, tsne=True))
    for file in ("metrics.json", "index.html"):
        first, second = (tmp_path / name / "report" / file for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


def test_paper_metrics_are_given_for_complete_test_sets_only() -> None:
    found = paper_metrics_for(UCF_CRIME_CLASSES, 290)
    assert found is not None
    assert (found.dataset, found.headline, found.value, found.map_average) == (
        "UCF-Crime",
        "auc",
        89.44,
        13.01,
    )
    assert sum(found.map_per_iou) / 5 == pytest.approx(found.map_average, abs=0.01)
    assert paper_metrics_for(UCF_CRIME_CLASSES, 9) is None
    assert paper_metrics_for(("normal", "riot"), 290) is None


def test_reports_of_another_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"auc": 0.9}))
    with pytest.raises(ValueError, match="evaluate the run again"):
        read_metrics(tmp_path / "metrics.json")


def _with_curve(metrics: dict[str, Any], rates: list[float], found: list[float]) -> dict[str, Any]:
    return metrics["events"] | {"curve": {"false_alarms_per_hour": rates, "found": found}}


def test_a_report_without_a_key_is_refused_by_its_name(tmp_path: Path) -> None:
    metrics = make_report(tmp_path)
    path = tmp_path / "metrics.json"
    for key, value, message in (
        ("counts", None, "wrong counts .Input should be an object"),
        ("counts", {"test_videos": 3}, "no counts.left_out;"),
        ("map", {"published": metrics["map"]["published"]}, "no map.corrected;"),
        ("notes", "one", "wrong notes "),
        ("events", {**metrics["events"], "curve": {"found": [1]}}, "no events.curve.false_alarms_per_hour;"),
        ("events", _with_curve(metrics, [], []), "wrong events.curve.false_alarms_per_hour "),
        ("events", _with_curve(metrics, [1], []), "wrong events.curve .*different lengths"),
    ):
        write_metrics(path, metrics | {key: value})
        with pytest.raises(InputError, match=rf"metrics\.json has (a )?{message}.*evaluate the run again"):
            read_metrics(path)
    for key in ("title", "missing", "per_class", "curves", "digests", "far", "video"):
        write_metrics(path, {name: value for name, value in metrics.items() if name != key})
        with pytest.raises(InputError, match=rf"metrics\.json has no {key}; evaluate the run again"):
            read_metrics(path)
    with pytest.raises(InputError, match=r"metrics\.json has no video; evaluate"):
        compare_runs([path, tmp_path / "report"], tmp_path / "compare.html")


def test_comparison_puts_runs_side_by_side(tmp_path: Path) -> None:
    first = make_report(tmp_path / "a", seed=0)
    second = make_report(tmp_path / "b", seed=1, notes=["chosen on the test set"])
    paths = [tmp_path / "a", tmp_path / "b" / "report" / "metrics.json"]
    text = compare_runs(paths, tmp_path / "out" / "compare.html").read_text()
    assert "run 0" in text
    assert "run 1: chosen on the test set" in text
    for figures in (first, second):
        assert f"{100 * figures['auc']:.2f}" in text
        assert f"{figures['map']['corrected']['average']:.2f}" in text
    row = re.search(r"<tr><th[^>]*>AUC</th>(.*?)</tr>", text)
    assert row
    best = re.search(r'class="best">([\d.]+)', row[1])
    assert best
    assert best[1] == f"{100 * max(first['auc'], second['auc']):.2f}"
    assert text.count('class="line"') == 7  # two ROC curves, chance, two PR curves, two curves of events
    for rate, values in first["events"]["at"].items():
        assert f"Events at {rate} false alarm" in text
        assert f"{100 * values['found']:.2f}" in text
    assert "different test videos" not in text


def test_comparison_takes_files_from_before_there_were_figures_of_events(tmp_path: Path) -> None:
    make_report(tmp_path / "new")
    old = make_report(tmp_path / "old", seed=1)
    del old["events"]
    old["title"] = "old"
    old["confidence_intervals"] = {"auc": old["confidence_intervals"]["auc"]}
    write_metrics(tmp_path / "old.json", old)
    text = compare_runs([tmp_path / "new", tmp_path / "old.json"], tmp_path / "compare.html").read_text()
    rows = re.findall(r"<tr><th[^>]*>Events found</th>(.*?)</tr>", text)
    assert [cells.split("<td")[-1] for cells in rows] == [">–</td>"] * 3
    assert text.count('class="line"') == 6  # one curve of events
    text = compare_runs([tmp_path / "old.json"] * 2, tmp_path / "compare.html").read_text()
    assert "an hour" not in text


def test_events_are_in_the_metrics_and_on_the_page_with_a_threshold_to_copy(tmp_path: Path) -> None:
    metrics = make_report(tmp_path, config=EvaluateConfig(bootstrap=5, release=0.8))
    events = metrics["events"]
    assert events["count"] == 5
    assert (events["iou"], events["within_s"], events["lasting_alarm_s"], events["release"]) == (
        0.3,
        5,
        60,
        0.8,
    )
    assert events["normal_hours"] == pytest.approx((1186 - 348) / 25 / 3600)  # 25 frames a second
    assert list(events["at"]) == ["0.1", "1", "10"]
    assert {label: one["count"] for label, one in events["per_class"].items()} == {"riot": 2, "fire": 3}
    point = events["at"]["1"]
    assert point["false_alarms"] == 0
    assert 0 < point["found_iou"] <= point["found"] == 1
    assert point["found_within_5s"] <= point["found"]
    assert (
        point["found"]
        == sum(one["count"] * one["at"]["1"]["found"] for one in events["per_class"].values()) / 5
    )
    curve = events["curve"]
    assert curve["false_alarms_per_hour"] == sorted(curve["false_alarms_per_hour"])
    assert curve["threshold"] == sorted(curve["threshold"], reverse=True)
    assert len({len(values) for values in curve.values()}) == 1
    assert metrics["confidence_intervals"]["events_at_1"] is not None
    assert "events" not in metrics["missing"]
    text = (tmp_path / "report" / "index.html").read_text()
    assert f"--threshold {point['threshold']} --release 0.8</code>" in text
    assert "5 annotated events and 0.01 h of normal footage" in text


def test_the_reason_for_missing_figures_of_events_is_in_the_metrics(tmp_path: Path) -> None:
    def missing(truth: VideoTruth) -> str:
        write_scores(score_path(tmp_path, truth.name), video_scores(truth.name, 48), {})
        evaluation = evaluate_scores(tmp_path, [truth], EvaluateConfig(bootstrap=0))
        metrics = build_metrics(evaluation, title="one video")
        assert metrics["events"] is None
        assert "Events and false alarms" not in write_report(tmp_path, evaluation, title="one").read_text()
        return metrics["missing"]["events"]

    assert missing(VideoTruth("quiet", ("normal",), ())) == "undefined: no test video has annotated events"
    whole = VideoTruth("whole", ("riot",), (Segment("riot", 0, 48),))
    assert missing(whole) == "undefined: no test video has normal footage"
    blind = VideoTruth("blind", ("riot",), None)
    assert missing(blind) == "1 anomalous video(s) without temporal annotations, first: blind"


def test_comparison_warns_of_different_test_sets_and_thresholds(tmp_path: Path) -> None:
    make_report(tmp_path / "a")
    write_scores(score_path(tmp_path / "b", "quiet"), video_scores("quiet", 50), {})
    other = EvaluateConfig(bootstrap=0, threshold=0.9)
    evaluation = evaluate_scores(tmp_path / "b", [VideoTruth("quiet", ("normal",), ())], other)
    write_report(tmp_path / "b", evaluation, title="run 0")
    text = compare_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "compare.html").read_text()
    assert "different test videos or annotations" in text
    assert "different thresholds" in text
    assert str(tmp_path / "b") in text  # equal titles: the folder is added


def test_comparison_refuses_a_missing_report_and_a_single_run(tmp_path: Path) -> None:
    make_report(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="evaluate this run first"):
        compare_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "compare.html")
    with pytest.raises(ValueError, match="at least two runs, 1 given"):
        compare_runs([tmp_path / "a"], tmp_path / "compare.html")


def test_training_curves_skip_empty_cells_and_errors_name_the_row(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("epoch,step,total,val_auc\n0,1,1.5,\n0,2,1.2,0.7\n")
    curves = read_curves(path)
    assert [values.tolist() for values in curves.losses["total"]] == [[1, 2], [1.5, 1.2]]
    assert [values.tolist() for values in curves.validation["auc"]] == [[2], [0.7]]
    path.write_text("epoch,step,total\n0,1,oops\n")
    with pytest.raises(ValueError, match=r"curves\.csv, line 2"):
        read_curves(path)


def test_long_videos_keep_their_peaks_in_short_timelines() -> None:
    anomaly = np.zeros(20_000)
    anomaly[[777, 12_345]] = (1.0, 0.9)
    scores = video_scores("long", 320_000, anomaly_T=anomaly)
    picture = timeline(scores, [], 0.5)
    assert len(picture) < 20_000
    assert "V0H" in picture  # the highest value of a single snippet is drawn
    assert [frame // 16 for frame, _ in peaks(scores, most=2)] == [777, 12_345]


def test_scores_and_segments_share_the_time_axis() -> None:
    scores = video_scores("short", 40, anomaly_T=[0, 1, 0])  # the last snippet has 8 frames
    picture = timeline(scores, [Segment("riot", 16, 32)], 0.5, marks=[20])
    assert 'class="truth" x="400.0" width="400.0"' in picture
    assert "V100H400V0H800V100H1000" in picture
    assert "M500 0V8" in picture


def test_axes_have_a_few_round_ticks() -> None:
    assert Axis("", 0, 1).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    for low, high in ((0, 7e-4), (-3, 1500), (0.5, 0.51)):
        ticks = Axis("", low, high).ticks()
        assert 3 <= len(ticks) <= 7
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    around = Axis.around("", [[2.0, np.nan], [5.0]])
    assert around.low < 2 < 5 < around.high


def test_a_line_of_one_point_is_a_dot() -> None:
    chart = line_chart(LineChart("Validation", [Series("auc", [2.0], [0.7])], Axis("step", 1, 3), Axis("")))
    assert 'class="dots" d="M253.0 85.0h0"' in chart  # wider than a line


def test_thinned_lines_keep_their_shape() -> None:
    x = np.linspace(0, 400, 50_000)
    y = np.where(x < 200, 0.0, 250.0)
    px, py = thin(x, y)
    assert len(px) <= 300
    assert (px[0], px[-1], set(py)) == (0, 400, {0.0, 250.0})


def test_the_page_shows_the_worst_videos_and_links_a_table_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (report_page, report_write):
        monkeypatch.setattr(module, "MAX_CARDS", 4)
    make_report(tmp_path)
    shown = [float(value) for value in re.findall(r'data-error="([\d.]+)"', page(tmp_path))]
    assert len(shown) == 4
    assert 'The 4 videos with the largest errors of 6. All are in <a href="videos.csv">' in page(tmp_path)
    with (tmp_path / "report" / "videos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    errors = [float(row["error"]) for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[:4] == shown
    assert {row["name"] for row in rows} == frame_counts().keys()
    assert {row["labels"] for row in rows} == {"normal", "riot", "fire", "riot|fire"}
    assert next(row for row in rows if row["name"] == "fire")["seconds"] == "12.40"


def test_a_page_with_all_videos_has_no_table_beside_it(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "videos.csv").write_text("of an earlier run")
    make_report(tmp_path)
    assert not (tmp_path / "report" / "videos.csv").exists()
    assert "videos.csv" not in page(tmp_path)


def test_ten_left_out_videos_are_named(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "scores", small_test_set())
    missing = [VideoTruth(f"gone{number}", ("normal",), ()) for number in range(30)]
    config = EvaluateConfig(bootstrap=0, only_scored=True)
    evaluation = evaluate_scores(tmp_path / "scores", [*truths, *missing], config)
    write_report(tmp_path / "report", evaluation, title="some")
    assert "gone9 and 20 more." in page(tmp_path)


def test_a_large_test_set_is_selected_in_linear_time(tmp_path: Path) -> None:
    """30,000 videos without scores took a minute when each name was looked up in a list or a new set."""
    truths = [VideoTruth(f"v{number}", ("normal",), ()) for number in range(30_000)]
    write_scores(score_path(tmp_path, "v7"), video_scores("v7"), {})
    began = time.perf_counter()
    present, left_out = select_scored(tmp_path, truths, only_scored=True)
    assert time.perf_counter() - began < 20
    assert ([truth.name for truth in present], len(left_out)) == (["v7"], 29_999)


def test_times_beyond_an_hour_have_hours(tmp_path: Path) -> None:
    truth, anomaly = VideoTruth("long", ("normal",), ()), np.zeros(6250)
    anomaly[6100] = 1
    write_scores(score_path(tmp_path, "long"), video_scores("long", 100_000, anomaly_T=anomaly), {})
    evaluation = evaluate_scores(tmp_path, [truth], EvaluateConfig(bootstrap=0))
    write_report(tmp_path / "report", evaluation, title="long", thumbnail=lambda name, frame: JPEG)
    assert "<span>1:06:40.00</span>" in page(tmp_path)
    assert "frame at 1:05:04.32" in page(tmp_path)
    assert "66:40" not in page(tmp_path)


@pytest.mark.parametrize(
    ("segments", "metric", "reason"),
    [
        ((Segment("riot", 0, 100),), "anomaly_auc", "undefined: the anomalous videos have no normal frames"),
        ((Segment("riot", 0, 50),), "far_normal", "undefined: every test video has anomalous frames"),
    ],
)
def test_each_missing_metric_has_its_own_reason(
    segments: tuple[Segment, ...], metric: str, reason: str, tmp_path: Path
) -> None:
    quiet = [(VideoTruth("quiet", ("normal",), ()), 100)] if metric == "anomaly_auc" else []
    truths = write_run(tmp_path / "scores", [(VideoTruth("riot", ("riot",), segments), 100), *quiet])
    evaluation = evaluate_scores(tmp_path / "scores", truths, EvaluateConfig(bootstrap=0))
    write_report(tmp_path / "report", evaluation, title="one kind")
    figures = read_metrics(tmp_path / "report" / "metrics.json")
    assert figures["auc"] is not None
    assert figures["missing"][metric] == reason
    assert "auc" not in figures["missing"]
