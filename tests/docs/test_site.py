"""The site builds without a warning, and its pages fetch nothing from elsewhere."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import docs.settings_table as settings_table
from flows.workspace.config import preset_config
from tests.docs.markdown import ROOT, SITE_PAGES

ELSEWHERE = re.compile(r"(https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if not importlib.util.find_spec("mkdocs"):
        pytest.skip("MkDocs is not installed; `make docs` installs it and builds the site")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    built = {path.stem for path in site.glob("*.html")}
    assert {page.stem for page in SITE_PAGES} <= built


def test_the_python_api_is_filled_in(site: Path) -> None:
    page = (site / "python-api.html").read_text()
    for package in ("extract", "dsanet", "evaluate", "flows"):
        module = importlib.import_module(package)
        assert [name for name in module.__all__ if f'id="{package}.{name}"' not in page] == []


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text())
        assert [address for address in fetched.addresses if ELSEWHERE.match(address)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text()), sheet.name


class Fetched(HTMLParser):
    """Collects the addresses that a browser fetches by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        by_name = {"link": ("href",), "a": ()}.get(tag, ("src", "data"))
        self.addresses += [value for name, value in attributes if name in by_name and value]


def test_search_works_from_a_folder(site: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((site / "index.html").as_uri())
    browser.get_log("performance")
    browser.refresh()
    browser.execute_script("document.querySelector('[data-md-toggle=search]').click()")
    field = browser.find_element(By.CSS_SELECTOR, ".md-search__input")
    WebDriverWait(browser, 10).until(lambda _: field.is_displayed())
    field.send_keys("champion")
    results = (By.CSS_SELECTOR, ".md-search-result__item")
    WebDriverWait(browser, 20).until(lambda driver: driver.find_elements(*results))
    assert "Cameras and new footage" in browser.find_elements(*results)[0].text
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_the_settings_page_has_every_setting_of_every_detector() -> None:
    tables = settings_table.settings_tables()
    sections = preset_config("ucf-crime").model_dump(exclude={"preset"})
    for path in _paths(sections, ""):
        assert f"| `{path}` |" in tables
    assert "| `model.memory_slots` | `60` |" in tables


def _paths(values: dict[str, Any], prefix: str) -> list[str]:
    """Names of the settings, those of sections by their fields."""
    mappings = {"model.prompts", "retrain.gate.margins"}
    found: list[str] = []
    for name, value in values.items():
        path = f"{prefix}{name}"
        found += _paths(value, f"{path}.") if isinstance(value, dict) and path not in mappings else [path]
    return found
