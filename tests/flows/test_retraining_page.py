"""The report of a retraining: the decision first, figures that agree, failures by reason, service by hand."""

import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from flows.retraining.retraining_page import Findings, write_page
from flows.workspace.decision import BestComparison, Decision, FigureComparison, PairedFigure
from flows.workspace.registered_versions import Version
from flows.workspace.retrain_config import RetrainConfig

AUC = FigureComparison(
    champion=0.7926, challenger=0.7926, difference=-0.0278, low=-0.05, high=0.0125, margin=0.005
)
REFUSED = Decision(champion="k1", gate_fingerprint="q", promoted=False, figures={"auc": AUC})
CHAMPION = Version(
    1, "k1", ("champion",), datetime(2026, 11, 27, tzinfo=timezone.utc), "r", None, "", False, True
)
CHALLENGER = replace(CHAMPION, number=2, key="k2", aliases=("challenger",), decision=REFUSED, served=False)
FORCED = replace(CHALLENGER, aliases=("champion",), replaced="k1", served=True)


def findings(*versions: Version, problems: list[tuple[str, str]] | None = None) -> Findings:
    champion = next(version for version in versions if "champion" in version.aliases)
    return Findings("Street", versions, champion, problems or [], 0, 0, 0, [], [], RetrainConfig())


def text_of(found: Findings, folder: Path) -> str:
    """The text of the page without markup and without repeated spaces."""
    html = re.sub(
        r"<(style|script).*?</\1>", "", write_page(folder / "index.html", found).read_text(), flags=re.S
    )
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_difference_is_that_of_the_figures_beside_it(tmp_path: Path) -> None:
    text = text_of(findings(CHAMPION, CHALLENGER), tmp_path)
    assert "auc 0.7926 0.7926 +0.0000 -0.0500 to +0.0125 -0.0278 0.0050 no" in text
    assert "worse than the champion: auc -0.0278 (margin 0.005)" in text
    assert (
        "| auc | 0.7926 | 0.7926 | +0.0000 | -0.0500 to +0.0125 | -0.0278 | 0.005 | no |"
        in REFUSED.markdown()
    )


def test_best_version_and_audit_split_are_shown(tmp_path: Path) -> None:
    best = BestComparison(**AUC.model_dump() | {"champion": 0.83}, key="k0", number=7)
    audit = {"auc": PairedFigure(champion=0.7, challenger=0.75, difference=0.04, low=0.01, high=0.06)}
    decision = REFUSED.model_copy(update={"best": {"auc": best}, "audit": audit})
    text = text_of(findings(CHAMPION, replace(CHALLENGER, decision=decision)), tmp_path)
    assert "auc, against version 7 0.8300 0.7926 -0.0374" in text
    assert "Audit split" in text
    assert "auc 0.7000 0.7500 +0.0500 +0.0100 to +0.0600 +0.0400" in text


@pytest.mark.parametrize(
    ("versions", "heading"),
    [
        ((CHAMPION, CHALLENGER), "Version 2: refused"),
        (
            (replace(CHAMPION, aliases=(), withdrawn=True), FORCED),
            "Version 2: promoted by hand although the gate refused it",
        ),
        (
            (CHAMPION, replace(FORCED, aliases=(), withdrawn=True)),
            "Version 2: promoted by hand although the gate refused it; taken out of service by hand",
        ),
    ],
)
def test_service_by_hand_is_called_so(versions: tuple[Version, ...], heading: str, tmp_path: Path) -> None:
    found = findings(*versions)
    assert heading in text_of(found, tmp_path)
    assert f"## {heading}" in found.markdown(tmp_path / "index.html")
    by_hand = versions[1] == FORCED
    assert ("champion (promoted by hand although the gate refused it);" in found.sentence) is by_hand


def test_the_decision_comes_first_and_hundreds_of_failures_are_one_row(tmp_path: Path) -> None:
    problems = [
        (f"/inbox/[{n}]<b>.mp4", f"the header promises {n} frames, the file holds 3") for n in range(300)
    ]
    found = findings(CHAMPION, CHALLENGER, problems=problems)
    text = text_of(found, tmp_path)
    assert text.index("Version 2: refused") < text.index("Videos that cannot be read")
    assert text.count(".mp4") == 10
    assert "and 290 more" in text
    assert "300 files cannot be read" in found.markdown(tmp_path / "index.html")
    assert "<b>.mp4" not in (tmp_path / "index.html").read_text()
