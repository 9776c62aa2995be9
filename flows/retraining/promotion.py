"""The promotion rule (the gate): a challenger is promoted if it is not worse than the champion.

Both models score the same test split. For each figure of `retrain.gate.margins`, the bootstrap over the test
videos gives the distribution of challenger - champion, with the same resamples for both (paired). The figure
holds if the distribution's quantile `retrain.gate.quantile` is at least -margin; promotion needs all figures
to hold.
"""

from collections.abc import Sequence
from pathlib import Path

from evaluate.annotations import VideoTruth
from evaluate.evaluated_videos import missing_frames_reason
from evaluate.metrics.paired_difference import paired_differences
from extract.errors import InputError
from flows.workspace.decision import Decision, FigureComparison
from flows.workspace.retrain_config import GateConfig
from flows.workspace.run import digest_of

INTERVAL_LOW = 0.05
"""Lower quantile of the 90 % interval that is shown with a difference; the upper one is 1 - INTERVAL_LOW."""


def decide_promotion(
    champion: str,
    champion_scores: Path,
    challenger_scores: Path,
    truths: Sequence[VideoTruth],
    gate: GateConfig,
) -> Decision:
    """Apply the promotion rule to two folders of score files of the test videos `truths`.

    `champion` is the champion's key, which the decision records. Raises ValueError for a figure that is
    undefined on these videos.
    """
    differences = paired_differences(
        champion_scores,
        challenger_scores,
        truths,
        list(gate.margins),
        low=INTERVAL_LOW,
        middle=gate.quantile,
        resamples=gate.resamples,
        seed=gate.seed,
    )
    figures = {
        name: FigureComparison(
            champion=differences[name].first,
            challenger=differences[name].second,
            difference=differences[name].middle,
            low=differences[name].low,
            high=differences[name].high,
            margin=margin,
        )
        for name, margin in gate.margins.items()
    }
    return Decision(
        champion=champion,
        gate_fingerprint=gate_fingerprint(truths, gate),
        promoted=all(figure.holds for figure in figures.values()),
        figures=figures,
    )


def gate_fingerprint(truths: Sequence[VideoTruth], gate: GateConfig) -> str:
    """Digest of the test split and the gate's settings, which with two models determine the decision."""
    videos = [(truth.name, truth.labels, truth.segments) for truth in truths]
    return digest_of(videos, gate)[:16]


def check_gate(truths: Sequence[VideoTruth], gate: GateConfig) -> None:
    """Raises ValueError if a figure of the gate needs temporal annotations and the test split has none."""
    reason = missing_frames_reason(truths)
    frame_figures = [name for name in gate.margins if not name.startswith("video_")]
    if reason and frame_figures:
        raise InputError(
            f"the gate needs {', '.join(frame_figures)}, which need temporal annotations: {reason}. Add "
            """them, or use a video-level figure: --set 'retrain.gate.margins={"video_auc": 0.01}'"""
        )
