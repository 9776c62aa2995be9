"""The promotion rule (the gate): a challenger is promoted if it is not worse than the champion and the best.

Two models score the same test split. For each figure of `retrain.gate.margins`, the bootstrap over the test
videos gives the distribution of challenger - champion, with the same resamples for both (paired). The figure
holds if the distribution's quantile `retrain.gate.quantile` is at least -margin; promotion needs all figures
to hold.

The same rule is applied a second time where an earlier champion has a higher figure than the present one:
otherwise every promotion could lose a margin, and a series of them any amount.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluate.annotations import VideoTruth
from evaluate.evaluated_videos import missing_frames_reason
from evaluate.metrics.paired_difference import Difference, paired_differences
from extract.errors import InputError
from flows.workspace.decision import BestComparison, Decision, FigureComparison, PairedFigure
from flows.workspace.retrain_config import Figure, GateConfig
from flows.workspace.run import digest_of

INTERVAL_LOW = 0.05
"""Lower quantile of the 90 % interval that is shown with a difference; the upper one is 1 - INTERVAL_LOW."""


class BestVersion(NamedTuple):
    """An earlier champion with a higher figure than the present one."""

    key: str
    number: int
    scores: Path
    """Folder of its score files of the test split."""


class Audit(NamedTuple):
    """The audit split: videos that no decision and no training uses."""

    champion_scores: Path
    challenger_scores: Path
    truths: Sequence[VideoTruth]


def decide_promotion(
    champion: str,
    champion_scores: Path,
    challenger_scores: Path,
    truths: Sequence[VideoTruth],
    gate: GateConfig,
    *,
    best: Mapping[Figure, BestVersion] | None = None,
    audit: Audit | None = None,
) -> Decision:
    """Apply the promotion rule to two folders of score files of the test videos `truths`.

    Args:
        champion: The champion's key, which the decision records.
        champion_scores: Folder of the champion's score files.
        challenger_scores: Folder of the challenger's score files.
        truths: Ground truth of the test videos.
        gate: Margins, quantile and bootstrap.
        best: By figure, the earlier champion that the challenger is compared with as well.
        audit: Videos whose figures are recorded with the decision, without any effect on it.

    Raises:
        InputError: A figure is undefined on the test videos (a ValueError).
    """
    figures = {
        name: FigureComparison(**_values(one), margin=gate.margins[name])
        for name, one in _differences(
            champion_scores, challenger_scores, truths, gate, list(gate.margins)
        ).items()
    }
    against_best = {}
    for version in dict.fromkeys((best or {}).values()):
        names = [name for name, one in (best or {}).items() if one == version]
        for name, one in _differences(version.scores, challenger_scores, truths, gate, names).items():
            against_best[name] = BestComparison(
                **_values(one), margin=gate.margins[name], key=version.key, number=version.number
            )
    return Decision(
        champion=champion,
        gate_fingerprint=gate_fingerprint(truths, gate),
        promoted=all(one.holds for one in (*figures.values(), *against_best.values())),
        figures=figures,
        best=against_best,
        audit=_audit_figures(audit, gate) if audit else {},
        audit_fingerprint=gate_fingerprint(audit.truths, gate) if audit else "",
    )


def gate_fingerprint(truths: Sequence[VideoTruth], gate: GateConfig) -> str:
    """Digest of the test split and the gate's settings, which with two models determine the decision."""
    videos = [truth.facts for truth in truths]
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


def _differences(
    first: Path, second: Path, truths: Sequence[VideoTruth], gate: GateConfig, names: Sequence[Figure]
) -> dict[Figure, Difference]:
    found = paired_differences(
        first,
        second,
        truths,
        list(names),
        low=INTERVAL_LOW,
        middle=gate.quantile,
        resamples=gate.resamples,
        seed=gate.seed,
    )
    return {name: found[name] for name in names}


def _values(one: Difference) -> dict[str, float]:
    """The fields of a `PairedFigure`."""
    return {
        "champion": one.first,
        "challenger": one.second,
        "difference": one.middle,
        "low": one.low,
        "high": one.high,
    }


def _audit_figures(audit: Audit, gate: GateConfig) -> dict[Figure, PairedFigure]:
    """The gate's figures on the audit split, without those that are undefined there."""
    figures: dict[Figure, PairedFigure] = {}
    for name in gate.margins:
        try:
            found = _differences(audit.champion_scores, audit.challenger_scores, audit.truths, gate, [name])
        except InputError:  # no annotations, or videos of one kind only
            continue
        figures[name] = PairedFigure(**_values(found[name]))
    return figures
