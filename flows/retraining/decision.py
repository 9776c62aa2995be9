"""The gate: may a challenger take the champion's place? By the paired difference on the same test split."""

from collections.abc import Sequence
from pathlib import Path

from evaluate.annotations import VideoTruth
from evaluate.metrics.paired_difference import paired_differences
from evaluate.videos import why_no_frames
from extract.config import StrictModel
from flows.workspace.retrain_config import Figure, GateConfig
from flows.workspace.workspace import digest_of

INTERVAL = 0.05
"""Quantile at which the shown interval of a difference begins; it ends at 1 - INTERVAL."""


class Judged(StrictModel):
    """One figure of both, as a fraction, and their difference, challenger - champion."""

    champion: float
    challenger: float
    difference: float
    """At the quantile that the gate asks for."""
    low: float
    high: float
    margin: float

    @property
    def holds(self) -> bool:
        return self.difference >= -self.margin


class Decision(StrictModel):
    """What was decided on a challenger, against which champion, and by what."""

    champion: str
    """Key of the version that it was measured against."""
    question: str
    """Digest of the test split and of the gate's settings."""
    promoted: bool
    figures: dict[Figure, Judged]

    @property
    def reason(self) -> str:
        """One line."""
        failed = [name for name, one in self.figures.items() if not one.holds]
        shown = failed or list(self.figures)
        told = ", ".join(
            f"{name} {self.figures[name].difference:+.4f} (margin {self.figures[name].margin:g})"
            for name in shown
        )
        return f"{'worse' if failed else 'not worse'} than the champion: {told}"

    def markdown(self) -> str:
        """A table of the figures of both."""
        lines = [
            f"**{'Promoted' if self.promoted else 'Refused'}**: {self.reason}",
            "",
            "| figure | champion | challenger | difference | 90 % interval | margin | holds |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, one in self.figures.items():
            lines.append(
                f"| {name} | {one.champion:.4f} | {one.challenger:.4f} | {one.difference:+.4f} "
                f"| {one.low:+.4f} to {one.high:+.4f} | {one.margin:g} | {'yes' if one.holds else 'no'} |"
            )
        return "\n".join(lines)


def judge(
    champion: str,
    champion_scores: Path,
    challenger_scores: Path,
    truths: Sequence[VideoTruth],
    gate: GateConfig,
) -> Decision:
    """Compare the score files of both on the same videos. Raises ValueError where a figure can't be had."""
    found = paired_differences(
        champion_scores,
        challenger_scores,
        truths,
        list(gate.margins),
        low=INTERVAL,
        middle=gate.quantile,
        resamples=gate.resamples,
        seed=gate.seed,
    )
    figures = {
        name: Judged(
            champion=found[name].first,
            challenger=found[name].second,
            difference=found[name].middle,
            low=found[name].low,
            high=found[name].high,
            margin=margin,
        )
        for name, margin in gate.margins.items()
    }
    return Decision(
        champion=champion,
        question=question(truths, gate),
        promoted=all(one.holds for one in figures.values()),
        figures=figures,
    )


def question(truths: Sequence[VideoTruth], gate: GateConfig) -> str:
    """Names what is asked: the same question about the same two models has one answer."""
    facts = [(truth.name, truth.labels, truth.segments) for truth in truths]
    return digest_of(facts, gate)[:16]


def check_measurable(truths: Sequence[VideoTruth], gate: GateConfig) -> None:
    """Raises ValueError, before anything is trained, if the gate asks for what the test split can't tell."""
    reason = why_no_frames(truths)
    asked = [name for name in gate.margins if not name.startswith("video_")]
    if reason and asked:
        raise ValueError(
            f"the gate asks for {', '.join(asked)}, which need temporal annotations: {reason}. Add them, or "
            """ask for whole videos: --set 'retrain.gate.margins={"video_auc": 0.01}'"""
        )
