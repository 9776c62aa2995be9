"""The gate's decision in words and tables, and its rule for one figure."""

from typing import Any

import pytest

from flows.workspace.decision import BestComparison, Decision, FigureComparison, PairedFigure, is_within


def figure(difference: float, **changes: Any) -> dict[str, Any]:
    """The values of a figure that falls from 0.9 to 0.875; the gate's quantile is `difference`."""
    values = {"champion": 0.9, "challenger": 0.875, "difference": difference, "low": -0.05, "high": 0.01}
    return values | changes


def judged(difference: float) -> FigureComparison:
    return FigureComparison(**figure(difference), margin=0.005)


def against(number: int, difference: float) -> BestComparison:
    return BestComparison(**figure(difference), margin=0.005, key=f"key{number}", number=number)


def decision(promoted: bool, **parts: Any) -> Decision:
    return Decision(champion="key", gate_fingerprint="0123", promoted=promoted, **parts)


@pytest.mark.parametrize(
    ("difference", "within"), [(-0.005, True), (-0.0051, False), (-0.009, False), (0.0, True), (0.1, True)]
)
def test_a_figure_holds_up_to_its_margin(difference: float, within: bool) -> None:
    assert is_within(difference, 0.005) is within
    assert judged(difference).holds is within


def test_the_reason_of_a_promotion_has_all_figures() -> None:
    passed = decision(True, figures={"auc": judged(-0.001), "ap": judged(0.02)})
    assert passed.reason == (
        "not worse than the champion: auc -0.0010 (margin 0.005), ap +0.0200 (margin 0.005)"
    )


def test_the_reason_of_a_refusal_has_the_figures_that_do_not_hold() -> None:
    figures = {"auc": judged(-0.02), "ap": judged(0.02)}
    assert decision(False, figures=figures).reason == "worse than the champion: auc -0.0200 (margin 0.005)"
    best = {"auc": against(3, 0.01), "ap": against(4, -0.03)}
    assert decision(False, figures={"auc": judged(0.0)}, best=best).reason == (
        "worse than version 4, the best so far: ap -0.0300 (margin 0.005)"
    )
    assert decision(False, figures=figures, best=best).reason == (
        "worse than the champion: auc -0.0200 (margin 0.005); "
        "worse than version 4, the best so far: ap -0.0300 (margin 0.005)"
    )


def test_the_table_has_every_comparison_and_the_audit_split_apart() -> None:
    figures, best = {"auc": judged(-0.02), "ap": judged(0.02)}, {"auc": against(3, 0.01)}
    head = [
        "| figure | champion | challenger | difference | 90 % interval | gate's quantile | margin | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    values = "| 0.9000 | 0.8750 | -0.0250 | -0.0500 to +0.0100 |"
    refused = decision(False, figures=figures, best=best)
    table = [
        "**Refused**: worse than the champion: auc -0.0200 (margin 0.005)",
        "",
        *head,
        f"| auc {values} -0.0200 | 0.005 | no |",
        f"| ap {values} +0.0200 | 0.005 | yes |",
        f"| auc, against version 3 {values} +0.0100 | 0.005 | yes |",
    ]
    assert refused.markdown().split("\n") == table
    audited = refused.model_copy(update={"audit": {"auc": PairedFigure(**figure(-0.01))}})
    assert audited.markdown().split("\n") == [
        *table,
        "",
        "Audit split, which decides nothing:",
        "",
        *head,
        f"| auc {values} -0.0100 | – | – |",
    ]
    assert decision(True, figures={"auc": judged(0.0)}).markdown().startswith("**Promoted**: not worse")
