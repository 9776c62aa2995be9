"""The figures of causal scores beside the offline ones: what it costs not to see the snippets after a moment.

Shapes: V videos, B resamples.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.evaluation import Evaluation
from evaluate.metrics.bootstrap import ConfidenceInterval, Statistic, central, draw_videos, percentiles
from evaluate.metrics.event_table import event_table
from evaluate.metrics.weighted import segment_matches, weighted_metrics
from evaluate.report.event_values import event_values
from evaluate.report.headlines import EVENT_HEADLINES, FRAME_HEADLINES, VIDEO_HEADLINES, Headline, Metrics
from extract.errors import InputError

FRAME_METRICS = ("auc", "ap", "anomaly_auc", "far", "far_normal")
ROWS = (*FRAME_HEADLINES, *EVENT_HEADLINES[1.0], *VIDEO_HEADLINES)
"""The figures of the report's table: those that are there in both."""


@dataclass(frozen=True)
class CausalRow:
    """One figure of both scorings; intervals of the bootstrap, None where there is none."""

    headline: Headline
    offline: float
    causal: float
    interval: tuple[float, float] | None
    """Of causal − offline, from resamples that both share."""

    @property
    def difference(self) -> float:
        return self.causal - self.offline


def causal_values(offline: Evaluation, causal: Evaluation) -> dict[str, Any]:
    """The section `causal` of `metrics.json`, with the names and units of the file's own figures.

    Raises InputError if the two are not scores of the same videos.
    """
    videos = [[video.truth.name for video in one.videos] for one in (offline, causal)]
    if videos[0] != videos[1]:
        raise InputError("the causal scores are not those of the same videos; run inference again")
    return {
        **{name: getattr(causal.frame, name, None) for name in FRAME_METRICS},
        "map": {p: asdict(found) for p, found in causal.segments.items()} or None,
        "events": event_values(causal.events) if causal.events else None,
        "video": asdict(causal.video),
        "confidence_intervals": {name: _pair(found) for name, found in causal.confidence.items()},
        "differences": _differences(offline, causal),
        "digests": causal.digests,
    }


def causal_rows(metrics: Metrics) -> list[CausalRow]:
    """The rows of the report's table; empty without causal scores."""
    causal = metrics.get("causal")
    if causal is None:
        return []
    found = ((headline, headline.value(metrics), headline.value(causal)) for headline in ROWS)
    return [
        CausalRow(headline, first, second, _scaled(causal["differences"].get(headline.key), headline.scale))
        for headline, first, second in found
        if first is not None and second is not None
    ]


def _differences(offline: Evaluation, causal: Evaluation) -> dict[str, list[float]]:
    """Intervals of causal − offline by metric, in the metric's own unit; undefined ones are left out."""
    config = offline.config
    draws_BV = draw_videos(len(offline.videos), config.bootstrap, config.seed)
    first, second = _statistics(offline), _statistics(causal)
    found = {}
    for name in [name for name in first if name in second]:
        differences_B = _values(second[name], draws_BV) - _values(first[name], draws_BV)
        if interval := percentiles(differences_B, central(config.confidence)):
            found[name] = interval
    return found


def _values(statistic: Statistic, draws_BV: NDArray[Any]) -> NDArray[Any]:
    return np.array([statistic(weights_V) for weights_V in draws_BV])


def _statistics(evaluation: Evaluation) -> Mapping[str, Statistic]:
    videos, config = evaluation.videos, evaluation.config
    table = event_table(videos, config.release)
    return weighted_metrics(videos, evaluation.ranking, segment_matches(videos), config.threshold, table)


def _pair(interval: ConfidenceInterval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _scaled(interval: list[float] | None, scale: float) -> tuple[float, float] | None:
    return None if interval is None else (scale * interval[0], scale * interval[1])
