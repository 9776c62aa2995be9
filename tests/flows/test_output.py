"""The commands' output: text is never markup, no number is cut at any width, long lists are bounded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluate.annotations import Segment, VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.predictions import Interval
from evaluate.report.write import write_report
from extract.failures import Failure
from flows.cli import output, tables
from flows.pipeline.artifacts import metrics_markdown
from flows.pipeline.score import ScoredVideo
from tests.evaluate.videos import small_test_set, video_scores, write_run
from tests.flows.commands import Dsanet

WIDTHS = (20, 40, 80, 200)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a function prints on a terminal of this width."""

    def show(width: int, function: Callable[..., None], *arguments: Any) -> str:
        monkeypatch.setattr(tables.console, "width", width)
        monkeypatch.setenv("COLUMNS", str(width))
        function(*arguments)
        return capsys.readouterr().out

    return show


def scored(name: str, start_s: float, end_s: float, label: str = "fire") -> ScoredVideo:
    interval = Interval(start_s, end_s, 0, 16, label, 0.98765, 0.99, 8)
    return ScoredVideo(video_scores(name), [interval])


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_is_cut_at_any_width(width: int, shown: Callable[..., str], tmp_path: Path) -> None:
    videos = [scored("a-camera-with-a-long-name-000123", 4000.004, 5000.5), scored("b", 1.2, 3599.999)]
    text = shown(width, output.print_scored, videos, [], [], tmp_path)
    for number in ("1:06:40.00", "1:23:20.50", "0:01.20", "1:00:00.00", "0.988"):
        assert number in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= max(width, 21)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["yard [b]", "[red]x[/red]", ":fire: 1", "[/b]", r"\[b]", "[link=x]y"])
def test_text_of_users_is_never_markup(
    name: str, width: int, shown: Callable[..., str], tmp_path: Path
) -> None:
    failures = [Failure(name, Path(f"{name}.mp4"), f"{name} is damaged")]
    text = shown(width, output.print_scored, [scored(name, 0, 1, name)], failures, [name], tmp_path)
    joined = "".join(text.split())
    assert joined.count("".join(name.split())) >= 5  # the note, the row's two cells, path and reason
    assert "🔥" not in text


def test_control_characters_and_undecodable_bytes_are_shown_as_escapes(
    shown: Callable[..., str], tmp_path: Path
) -> None:
    text = shown(100, output.print_scored, [scored("caf\udce9\x1b[31m", 0, 1)], [], [], tmp_path)
    assert r"caf\xe9\x1b[31m" in text
    assert "\x1b" not in text


def test_many_rows_and_failures_are_bounded(shown: Callable[..., str], tmp_path: Path) -> None:
    videos = [scored(f"v{number:04d}", 0, 1) for number in range(250)]
    failures = [Failure(f"f{n:04d}", Path(f"f{n:04d}.mp4"), "holds no video stream") for n in range(1234)]
    text = shown(100, output.print_scored, videos, failures, [], tmp_path)
    assert text.count("│ v") == 100
    assert "150 more rows in" in text
    assert text.count("holds no video stream") == 10
    assert "failed 1,224 more, see" in text


def report_of(folder: Path, truths: list[VideoTruth]) -> Path:
    """A workspace with the report of these videos; their score files are in `folder/scores`."""
    evaluation = evaluate_scores(folder / "scores", truths, EvaluateConfig(bootstrap=0))
    write_report(folder / "report", evaluation, title="trial")
    return folder


def test_without_temporal_annotations_the_video_level_is_shown(
    shown: Callable[..., str], tmp_path: Path
) -> None:
    truths = write_run(tmp_path / "scores", small_test_set())
    blind = [t if t.is_normal else VideoTruth(t.name, t.labels, None) for t in truths]
    text = shown(120, output.print_metrics, report_of(tmp_path, blind))
    assert "note no AUC, AP, Ano-AUC, FAR, mAP published, mAP corrected: 3 anomalous video(s)" in text
    assert "frame level" not in text
    assert "Events" not in text
    assert "–" not in text
    assert all(title in text for title in ("video level", "Video AUC", "Video AP", "Class accuracy"))
    assert "100.00 %" in text


def test_the_share_of_events_found_is_shown_on_the_terminal_and_in_the_artifact(
    shown: Callable[..., str], tmp_path: Path
) -> None:
    folder = report_of(tmp_path, write_run(tmp_path / "scores", small_test_set()))
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    found = f"{100 * metrics['events']['at']['1']['found']:.2f}"
    lines = shown(120, output.print_metrics, folder).splitlines()
    (headings,) = [line for line in lines if "Ano-AUC" in line]
    assert headings.split("┃")[-2].strip() == "Events at 1/h"
    values = lines[lines.index(headings) + 2]
    assert values.split("│")[-2].strip() == f"{found} %"
    markdown = metrics_markdown("trial", metrics, (folder / "report" / "index.html").absolute())
    assert f"| Events at 1/h | {found} |" in markdown


def test_a_note_names_the_undefined_figure_and_the_reason(shown: Callable[..., str], tmp_path: Path) -> None:
    """Ano-AUC needs normal frames in the anomalous videos; AUC is defined and has no note."""
    truths = [VideoTruth("burns", ("fire",), (Segment("fire", 0, 100),)), VideoTruth("calm", ("normal",), ())]
    truths = write_run(tmp_path / "scores", [(truth, 100) for truth in truths])
    text = shown(120, output.print_metrics, report_of(tmp_path, truths))
    notes = [line for line in text.splitlines() if line.startswith("note")]
    assert notes == ["note no Ano-AUC: the anomalous videos have no normal frames"]
    assert "AUC" in text
    assert "–" not in text


def test_a_test_set_of_normal_videos_shows_what_it_measures(
    shown: Callable[..., str], tmp_path: Path
) -> None:
    truths = write_run(tmp_path / "scores", [(VideoTruth("calm", ("normal",), ()), 100)])
    text = " ".join(shown(120, output.print_metrics, report_of(tmp_path, truths)).split())
    assert "note no AUC, AP, Ano-AUC: no test video has anomalous frames" in text
    assert "no mAP corrected: no anomaly class has an annotated segment" in text
    assert "no Video AUC, Video AP, Class accuracy: no test video is anomalous" in text
    assert "FAR" in text
    assert "Video accuracy" in text


def test_a_report_with_names_of_any_characters_is_printed(shown: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "re[b]port"
    truths = write_run(folder / "scores", [(VideoTruth("[b] 東京", ("normal",), ()), 64)])
    report_of(folder, truths)
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    (folder / "report" / "metrics.json").write_text(json.dumps(metrics | {"notes": ["[b]bold[/b] note"]}))
    text = shown(200, output.print_metrics, folder)
    assert "[b]bold[/b] note" in text
    assert f"report   {folder / 'report' / 'index.html'}" in text


def test_a_row_of_wide_characters_keeps_its_numbers(shown: Callable[..., str], tmp_path: Path) -> None:
    text = shown(44, output.print_scored, [scored("監視カメラ" * 8, 4000, 4001)], [], [], tmp_path)
    assert "1:06:40.00" in text


def test_ten_missing_videos_are_named_and_a_file_lists_all(tmp_path: Path, dsanet: Dsanet) -> None:
    names = [f"Abuse{number:03d}_x264" for number in range(1, 31)]
    (tmp_path / "Anomaly_Train.txt").write_text("".join(f"Abuse/{name}.mp4\n" for name in names))
    (tmp_path / "Anomaly_Test.txt").write_text("Abuse/Abuse099_x264.mp4\n")
    (tmp_path / "Temporal_Anomaly_Annotation.txt").write_text("Abuse099_x264.mp4 Abuse 1 9 -1 -1\n")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "Abuse099_x264.mp4").write_bytes(b"")
    out = tmp_path / "ucf.csv"
    options = ("--lists", tmp_path, "--videos", tmp_path / "videos", "--out", out)
    code, text, _ = dsanet("import-dataset", "ucf-crime", *options)
    assert code == 0
    assert text.splitlines() == [
        *(f"missing  {name}" for name in names[:10]),
        f"missing  and 20 more; full list in {tmp_path / 'ucf.missing.txt'}",
        f"1 videos found, 30 missing; manifest {out}",
    ]
    assert (tmp_path / "ucf.missing.txt").read_text().splitlines() == names
    for name in names:
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"")
    assert (
        dsanet("import-dataset", "ucf-crime", *options)[1] == f"31 videos found, 0 missing; manifest {out}\n"
    )
    assert not (tmp_path / "ucf.missing.txt").exists()


def test_a_row_is_one_line_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    tables.print_table(("name", "text"), [("a", "word " * 100), ("b", "")])
    assert len(capsys.readouterr().out.splitlines()) == 3
