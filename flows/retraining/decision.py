"""The gate: may a challenger take the champion's place? By the paired difference on the same test split."""

from collections.abc import Sequence
from pathlib import Path

from evaluate.annotations import VideoTruth
from evaluate.metrics.paired_difference import paired_differences
from evaluate.videos import why_no_frames
from flows.workspace.decision import Decision, FigureComparison
from flows.workspace.retrain_config import GateConfig
from flows.workspace.run import digest_of

INTERVAL = 0.05
"""Quantile at which the shown interval of a difference begins; it ends at 1 - INTERVAL."""


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
        name: FigureComparison(
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
        gate_fingerprint=gate_fingerprint(truths, gate),
        promoted=all(one.holds for one in figures.values()),
        figures=figures,
    )


def gate_fingerprint(truths: Sequence[VideoTruth], gate: GateConfig) -> str:
    """Digest of the test split and the gate settings: a decision holds as long as it stays the same."""
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
