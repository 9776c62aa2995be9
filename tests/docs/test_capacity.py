"""The page on planning shows what its script prints, and the script's formulas and checks."""

import json
import re
import subprocess
import sys
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs import capacity
from docs.capacity_model import STREAMS, Footage, Limits, Prices, Rates, costs_of, needs_of, plan_of
from evaluate.scores import VideoScores, write_scores
from extract.store import write_features
from tests.benchmarks.capacity_rates import ten_minutes
from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs" / "capacity.md").read_text()
EXAMPLES = capacity.EXAMPLES


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capacity.main(words)
    return capsys.readouterr().out


def plain(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading of the page."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def plain_rows(first: str) -> list[list[str]]:
    """Rows of the page's tables whose first cell matches."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines()]
    return [row for row in rows if re.fullmatch(first, row[0])]


def test_the_page_shows_the_table_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--markdown").strip() in PAGE


def test_the_page_shows_the_decoding_rates_of_the_script() -> None:
    shown = {}
    for video, _, full, files in plain_rows(r"H\.26[45] \d+×\d+"):
        codec, _, size = video.lower().replace(".", "").partition(" ")
        kind = f"{codec}-{size.partition('×')[2]}p"
        shown[kind] = (int(full.replace(",", "")), int(files.replace(",", "")))
    assert shown == STREAMS


def test_the_page_has_the_default_of_every_rate() -> None:
    defaults = " ".join(f"{row[0]} {row[1]}" for row in plain("The rates"))
    for name, field in Rates.model_fields.items():
        if field.default is not None:
            assert f"--{name.replace('_', '-')}" in defaults
            assert re.search(rf"(?<![\d.]){capacity.number(field.default)}(?![\d.])", defaults), name


def test_every_part_that_can_be_full_has_advice() -> None:
    footage, rates = Footage(cameras=10), Rates()
    parts: set[str] = set()
    for gpus in (0, 1):
        plan = plan_of(needs_of(footage, rates, Limits(node_gpus=gpus)), Limits(node_gpus=gpus))
        parts |= {*plan.node_shares, *plan.workspace_shares}
    assert parts == set(capacity.ADVICE)


def test_needs_are_those_worked_out_by_hand() -> None:
    footage = Footage(cameras=32, fps=25, minutes=10, days=1, video_days=2, mbit=4)
    needs = needs_of(footage, Rates(decode=400, picture_ms=1), Limits())
    assert needs.frames == 800
    assert needs.snippets == needs.pictures == 50
    assert needs.decode_cores == 2
    assert needs.picture_cores == pytest.approx(0.05)
    assert needs.library_videos == pytest.approx(32 * 144)
    assert needs.objects == pytest.approx(32 * 144 * 4)  # features, scores and two days of videos
    assert needs.network_gbit == pytest.approx(0.128)
    assert needs.video_tb == pytest.approx(0.128e9 / 8 * 172_800 / 1e12)


@pytest.mark.parametrize("crops", [1, 10])
def test_the_feature_bytes_are_those_of_a_file(crops: int, tmp_path: Path) -> None:
    features = ten_minutes(crops)
    write_features(tmp_path / "video.h5", features)
    needs = needs_of(Footage(cameras=1, crops=crops, days=1), Rates(), Limits())
    expected = needs.feature_tb * 1e12 / needs.library_videos
    assert (tmp_path / "video.h5").stat().st_size == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("classes", [0, 14])
def test_the_score_bytes_are_those_of_a_file(classes: int, tmp_path: Path) -> None:
    count, names = 937, ("normal", *(f"class {number}" for number in range(1, classes or 2)))
    times = np.arange(count) * 0.64
    scores = VideoScores(
        "video", np.full(count, 0.5), np.full((count, classes), 1 / classes) if classes else None, names,
        16, count * 16, 25.0, frame_index_T=np.arange(count), time_s_T=times, start_s_T=times,
        end_s_T=times + 0.64,
    )  # fmt: skip
    write_scores(tmp_path / "video.h5", scores, {})
    needs = needs_of(Footage(cameras=1, classes=classes, days=1), Rates(), Limits())
    expected = needs.score_tb * 1e12 / needs.library_videos
    assert (tmp_path / "video.h5").stat().st_size == pytest.approx(expected, rel=0.02)


def test_several_pictures_and_crops_multiply_only_what_they_touch() -> None:
    once = needs_of(Footage(cameras=100), Rates(), Limits())
    more = needs_of(Footage(cameras=100, pictures=4, crops=10), Rates(), Limits())
    assert more.pictures == 40 * once.pictures
    assert more.picture_cores == 4 * once.picture_cores
    assert more.score == 10 * once.score
    assert more.decode_cores == once.decode_cores
    assert 9 < more.feature_tb / once.feature_tb < 10


def test_the_largest_part_gives_the_number_of_nodes() -> None:
    needs = needs_of(Footage(cameras=1_000), Rates(), Limits())
    for limits, first in (
        (Limits(), "decoding"),
        (Limits(node_cores=10_000, node_gbit=1_000), "GPUs"),
        (Limits(node_cores=10_000, node_gpus=1_000, node_gbit=0.1), "network"),
    ):
        plan = plan_of(needs, limits)
        assert plan.first_of_nodes == first
        assert plan.nodes - 1 < plan.node_shares[first] <= plan.nodes
        assert plan.node_shares[first] == max(plan.node_shares.values())


@pytest.mark.parametrize("name", ["library", "collecting process", "disk of the workspace"])
def test_the_largest_part_gives_the_number_of_workspaces(name: str) -> None:
    limits = {
        "library": Limits(library_videos=100, working_copy_tb=1e6),
        "collecting process": Limits(library_videos=1e9, working_copy_tb=1e6, utilisation=0.01),
        "disk of the workspace": Limits(library_videos=1e9, working_copy_tb=0.01),
    }[name]
    plan = plan_of(needs_of(Footage(cameras=5_000), Rates(), limits), limits)
    assert plan.first_of_workspaces == name
    assert plan.workspaces > 1


def test_costs_are_those_of_the_given_prices_alone(capsys: pytest.CaptureFixture[str]) -> None:
    limits = Limits()
    needs = needs_of(Footage(cameras=1_000), Rates(), limits)
    plan = plan_of(needs, limits)
    assert costs_of(needs, plan, limits, Prices()) == {}
    costs = costs_of(needs, plan, limits, Prices(price_core_hour=1, price_tb_month=2))
    stored = needs.feature_tb + needs.score_tb + needs.video_tb
    assert costs == {"cores": plan.nodes * 16 * 720, "store": 2 * stored}
    shown = printed(capsys, "--cameras", "1000", "--price-core-hour", "1", "--price-tb-month", "0")
    assert re.search(r"cores .* expensive", shown)
    assert re.search(r"store .* cheap", shown)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cameras", "-3"), "--cameras -3: "),
        (("--cameras", "many"), "--cameras many: "),
        (("--fps", "0"), "--fps 0: "),
        (("--fps", "nan"), "--fps nan: "),
        (("--stream", "mpeg"), "--stream mpeg: Input should be 'h264-240p'"),
        (("--utilisation", "2"), "--utilisation 2: "),
        (("--cameras", "0"), "--cameras or --hours-per-minute must be more than 0"),
        (("--camera", "1", "--nonsense"), "unrecognized arguments: --nonsense"),
    ],
)
def test_a_mistake_is_one_line_about_its_option(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        capacity.main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1 or "usage" in error


def test_the_largest_numbers_are_still_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"cameras": "1000000000", "fps": "1e9", "minutes": "0.001", "decode": "0.001", "days": "1e9"}
    largest = [word for name, value in values.items() for word in (f"--{name}", value)]
    found = json.loads(printed(capsys, *largest, "--json"))["this installation"]
    assert all(isfinite(value) for value in found["needs"].values())
    assert "inf" not in printed(capsys, *largest)


def test_json_has_the_options_and_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(printed(capsys, "--json"))
    assert set(found) == set(EXAMPLES)
    own = json.loads(printed(capsys, "--cameras", "5", "--live", "no", "--json"))["this installation"]
    assert own["options"]["cameras"] == 5
    assert own["options"]["live"] is False
    assert own["needs"]["decode_cores"] == pytest.approx(5 * 25 / STREAMS["h264-1080p"][1])
    assert own["plan"]["nodes"] == 1


def test_it_runs_as_a_program_and_its_help_names_every_option() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "docs.capacity", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    for group in capacity.GROUPS:
        for name in group.model_fields:
            assert f"--{name.replace('_', '-')}" in shown.stdout
