"""The gate's decision on a challenger, as the model registry stores it with a version.

`flows.retraining.promotion` makes it.
"""

from pydantic import ConfigDict, Field

from extract.config import StrictModel
from flows.workspace.retrain_config import Figure


class FigureComparison(StrictModel):
    """One figure of champion and challenger on the same test videos, all values as fractions."""

    champion: float
    challenger: float
    difference: float
    """Quantile `gate.quantile` of the bootstrap distribution of challenger - champion."""
    low: float
    """Lower end of the 90 % interval of the difference."""
    high: float
    margin: float
    """Largest amount by which the challenger's figure may be below the champion's."""

    @property
    def holds(self) -> bool:
        """True if the challenger is within the margin."""
        return self.difference >= -self.margin


class Decision(StrictModel):
    """The outcome of one gate: promoted if every figure is within its margin."""

    model_config = ConfigDict(populate_by_name=True)

    champion: str
    """Key of the version that the challenger was compared with."""
    gate_fingerprint: str = Field(alias="question")
    """Digest of the test split and of the gate's settings; stored as `question`."""
    promoted: bool
    figures: dict[Figure, FigureComparison]

    @property
    def reason(self) -> str:
        """One line: the figures beyond their margin, or all figures if none is."""
        failed = [name for name, figure in self.figures.items() if not figure.holds]
        differences = ", ".join(
            f"{name} {self.figures[name].difference:+.4f} (margin {self.figures[name].margin:g})"
            for name in failed or self.figures
        )
        return f"{'worse' if failed else 'not worse'} than the champion: {differences}"

    def markdown(self) -> str:
        """The decision and a table of the figures, in Markdown."""
        lines = [
            f"**{'Promoted' if self.promoted else 'Refused'}**: {self.reason}",
            "",
            "| figure | champion | challenger | difference | 90 % interval | margin | holds |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, figure in self.figures.items():
            lines.append(
                f"| {name} | {figure.champion:.4f} | {figure.challenger:.4f} | {figure.difference:+.4f} "
                f"| {figure.low:+.4f} to {figure.high:+.4f} | {figure.margin:g} "
                f"| {'yes' if figure.holds else 'no'} |"
            )
        return "\n".join(lines)
