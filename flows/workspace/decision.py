"""The gate's decision on a challenger, as the model registry stores it with a version.

`flows.retraining.promotion` makes it. All figures are fractions, as the margins in `retrain.gate.margins`.
"""

from collections.abc import Mapping

from pydantic import ConfigDict, Field

from extract.config import StrictModel
from flows.workspace.retrain_config import Figure


class PairedFigure(StrictModel):
    """One figure of two versions on the same videos."""

    champion: float
    """The older version's: the champion's, or in `Decision.best` the best version's."""
    challenger: float
    difference: float
    """Quantile `gate.quantile` of the bootstrap distribution of challenger - champion."""
    low: float
    """Lower end of the 90 % interval of the difference."""
    high: float

    @property
    def gap(self) -> float:
        """The difference of the two figures on all videos: challenger - champion."""
        return self.challenger - self.champion


class FigureComparison(PairedFigure):
    """One figure that the gate judges."""

    margin: float
    """Largest amount by which the challenger's figure may be below the other one."""

    @property
    def holds(self) -> bool:
        """True if the challenger is within the margin."""
        return is_within(self.difference, self.margin)


def is_within(difference: float, margin: float) -> bool:
    """The gate's rule for one figure: `difference` is a loss of at most `margin`."""
    return difference >= -margin


class BestComparison(FigureComparison):
    """The comparison with the best version so far."""

    key: str
    number: int
    """Key and number of that version; its figure is in `champion`."""


class Decision(StrictModel):
    """The outcome of one gate: promoted if every figure is within its margin."""

    model_config = ConfigDict(populate_by_name=True)

    champion: str
    """Key of the version that the challenger was compared with."""
    gate_fingerprint: str = Field(alias="question")
    """Digest of the test split and of the gate's settings; stored as `question`."""
    promoted: bool
    figures: dict[Figure, FigureComparison]
    best: dict[Figure, BestComparison] = Field(default_factory=dict)
    """The same for figures of which an earlier champion has more than the present one."""
    audit: dict[Figure, PairedFigure] = Field(default_factory=dict)
    """Figures on the audit split, which decide nothing; empty without one."""
    audit_fingerprint: str = ""
    """Digest of the audit split; empty without one."""

    @property
    def rows(self) -> list[tuple[str, FigureComparison]]:
        """All judged comparisons with their names: against the champion, then against the best versions."""
        against_best = [(f"{name}, against version {one.number}", one) for name, one in self.best.items()]
        return [*self.figures.items(), *against_best]

    @property
    def reason(self) -> str:
        """One line: the figures beyond their margin, or all figures if none is."""
        return _reason(self)

    def markdown(self) -> str:
        """The decision and its tables of figures, in Markdown."""
        lines = [f"**{'Promoted' if self.promoted else 'Refused'}**: {self.reason}", "", *_HEADER]
        lines += [_row(name, one, one.holds) for name, one in self.rows]
        if self.audit:
            lines += ["", "Audit split, which decides nothing:", "", *_HEADER]
            lines += [_row(name, one) for name, one in self.audit.items()]
        return "\n".join(lines)


_HEADER = (
    "| figure | champion | challenger | difference | 90 % interval | gate's quantile | margin | holds |",
    "|---|---|---|---|---|---|---|---|",
)


def _reason(decision: Decision) -> str:
    if decision.promoted:
        return f"not worse than the champion: {_differences(decision.figures)}"
    failed = {name: one for name, one in decision.figures.items() if not one.holds}
    parts = [f"worse than the champion: {_differences(failed)}"] if failed else []
    for name, one in decision.best.items():
        if not one.holds:
            told = _differences({name: one})
            parts.append(f"worse than version {one.number}, the best so far: {told}")
    return "; ".join(parts)


def _row(name: str, one: PairedFigure, holds: bool | None = None) -> str:
    margin = f"{one.margin:g}" if isinstance(one, FigureComparison) else "–"
    return (
        f"| {name} | {one.champion:.4f} | {one.challenger:.4f} | {one.gap:+.4f} "
        f"| {one.low:+.4f} to {one.high:+.4f} | {one.difference:+.4f} | {margin} "
        f"| {'–' if holds is None else 'yes' if holds else 'no'} |"
    )


def _differences(figures: Mapping[Figure, FigureComparison]) -> str:
    """The gate's quantile and the margin of each figure."""
    return ", ".join(f"{name} {one.difference:+.4f} (margin {one.margin:g})" for name, one in figures.items())
