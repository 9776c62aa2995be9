"""The pages in a headless browser: no errors, no requests, sorting, filtering, no overflow."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluate.annotations import VideoTruth
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.report.compare import compare_runs
from evaluate.report.leaderboard import build_leaderboard, read_runs
from evaluate.report.leaderboard_files import write_leaderboard
from evaluate.report.write import write_report
from evaluate.scores import read_scores, score_path, write_scores
from tests.evaluate.videos import small_test_set, video_scores, write_run

HOSTILE = '"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with all its parts, a comparison and a leaderboard of two runs; one name is hostile."""
    folder = tmp_path_factory.mktemp("pages")
    picture = folder / "frame.jpg"
    Image.new("RGB", (32, 24), "teal").save(picture)
    (folder / "curves.csv").write_text("epoch,step,total,align,val_auc\n0,1,2.0,1.0,\n0,2,1.5,0.7,0.6\n")
    videos = [*small_test_set(), (VideoTruth(HOSTILE.replace("/", ""), ("normal",), ()), 80)]
    for seed, name in enumerate(("one", "two")):
        truths = write_run(folder / name / "scores", videos, seed)
        evaluation = evaluate_scores(
            folder / name / "scores", truths, EvaluateConfig(bootstrap=20, tsne=True)
        )
        write_report(
            folder / name / "report",
            evaluation,
            title=f"Run {name}",
            notes=["a trial"],
            curves_csv=folder / "curves.csv",
            thumbnail=lambda name, frame: picture.read_bytes(),
        )
    compared = compare_runs([folder / "one", folder / "two"], folder / "compare.html")
    runs = read_runs([folder / "one", folder / "two"])
    table = build_leaderboard(runs, truths, resamples=20, confidence=0.95, seed=0)
    board = write_leaderboard(folder / "board.html", table)[0]
    return {
        "report": folder / "one" / "report" / "index.html",
        "compare": compared,
        "leaderboard": board,
    }


def opened(browser: Any, path: Path, width: int = 1280) -> Any:
    """Open a page in a window of this width, with empty logs."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())
    return browser


def shown_names(browser: Any) -> list[str]:
    cards = browser.find_elements("css selector", ".videos > article")
    return [card.get_attribute("data-name") for card in cards if card.is_displayed()]


def choose(browser: Any, key: str) -> list[str]:
    browser.find_element("css selector", f"#sort option[value={key}]").click()
    return shown_names(browser)


@pytest.mark.parametrize("name", ["report", "compare", "leaderboard"])
def test_pages_load_without_error_or_request(browser: Any, pages: dict[str, Path], name: str) -> None:
    opened(browser, pages[name])
    requests = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith("data:")] == [pages[name].as_uri()]
    assert browser.get_log("browser") == []
    assert browser.title.startswith(("Run one", "Comparison of 2 runs", "Leaderboard of 2 methods"))


def test_the_console_log_would_show_an_error(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.html").write_text("<script>nothing.here()</script>")
    opened(browser, tmp_path / "broken.html")
    assert "nothing is not defined" in browser.get_log("browser")[0]["message"]


def test_videos_can_be_sorted_and_filtered(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["report"])
    by_error = shown_names(browser)
    assert len(by_error) == 7
    errors = [
        float(card.get_attribute("data-error")) for card in browser.find_elements("css selector", "article")
    ]
    assert errors == sorted(errors, reverse=True)
    assert choose(browser, "name") == sorted(by_error, key=str.lower)
    assert set(choose(browser, "missed")[:3]) == {"riot", "fire", "both"}
    assert choose(browser, "seconds")[0] == "fire"
    assert choose(browser, "error") == by_error
    browser.find_element("id", "filter").send_keys("quiet normal")
    assert set(shown_names(browser)) == {"quiet0", "quiet1", "quiet2"}
    assert browser.find_element("id", "shown").text == "3"


def test_the_pointer_reads_time_and_score(browser: Any, pages: dict[str, Path]) -> None:
    from selenium.webdriver import ActionChains  # without selenium, the fixture skips before this line

    opened(browser, pages["report"])
    card = browser.find_element("css selector", "article[data-name=fire]")
    picture = card.find_element("css selector", ".timeline")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    ActionChains(browser).move_to_element(picture).perform()  # moves to the centre
    read = card.find_element("css selector", ".at").text
    scores = read_scores(score_path(pages["report"].parents[1] / "scores", "fire"))
    middle = scores.n_frames // 2 // scores.snippet_length
    assert read == f"0:06 · {100 * scores.anomaly_T[middle]:.0f}"


def test_times_beyond_an_hour_have_hours(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains

    write_scores(score_path(tmp_path, "long"), video_scores("long", 200_000), {})
    evaluation = evaluate_scores(tmp_path, [VideoTruth("long", ("normal",), ())], EvaluateConfig(bootstrap=0))
    opened(browser, write_report(tmp_path / "report", evaluation, title="long"))
    picture = browser.find_element("css selector", ".timeline")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    ActionChains(browser).move_to_element(picture).perform()
    assert browser.find_element("css selector", ".at").text.startswith("1:06:40 · ")
    assert browser.find_element("css selector", ".ends span:last-child").text == "2:13:20.00"


def test_class_table_sorts_by_its_heads(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["report"])
    table = browser.find_elements("css selector", "table.sortable")[1]  # after that of the events

    def column(index: int) -> list[str]:
        return [
            row.find_elements("css selector", "th, td")[index].text
            for row in table.find_elements("css selector", "tbody tr")
        ]

    heads = table.find_elements("css selector", "thead th")
    heads[3].click()
    assert column(3) == ["3", "2", "–"]
    assert heads[3].get_attribute("aria-sort") == "descending"
    heads[3].click()
    assert column(3) == ["–", "2", "3"]
    heads[0].send_keys("\n")
    assert column(0) == ["fire", "normal", "riot"]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["report", "compare", "leaderboard"])
def test_nothing_overflows_the_window(browser: Any, pages: dict[str, Path], name: str, width: int) -> None:
    opened(browser, pages[name], width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert (
        browser.execute_script("return document.querySelector('.chart svg').getBoundingClientRect().width")
        > 250
    )


def test_hostile_names_stay_text(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["report"])
    assert HOSTILE in shown_names(browser)
    assert browser.find_elements("css selector", "img[onerror]") == []
    assert all(image.get_property("naturalWidth") == 32 for image in browser.find_elements("tag name", "img"))
