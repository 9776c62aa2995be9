"""Chart of the events found against the false alarms an hour, from `metrics.json`."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from evaluate.report.chart_data import Axis, LineChart, Series, line_colour
from evaluate.report.headlines import Metrics
from evaluate.report.svg import line_chart

RATE = Axis("false alarms an hour of normal footage", 0.05, 100, log=True)
FOUND = Axis("share of events found")
TITLE = "Events found and false alarms"


def event_charts(runs: Sequence[tuple[str, Metrics]]) -> list[Markup]:
    """One chart, or none if no run has figures of events: one run with both ways to find, or several runs."""
    known = [
        (name, metrics["events"]["curve"], line_colour(index))
        for index, (name, metrics) in enumerate(runs)
        if metrics.get("events")
    ]
    if not known:
        return []
    if len(runs) > 1:
        return [line_chart(LineChart(TITLE, [_steps(*one, "found") for one in known], RATE, FOUND))]
    curve = known[0][1]
    lines = [
        _steps("any overlap", curve, "accent", "found"),
        _steps("IoU ≥ 0.3", curve, line_colour(1), "found_iou"),
    ]
    return [line_chart(LineChart(TITLE, lines, RATE, FOUND))]


def _steps(name: str, curve: dict[str, list[float]], colour: str, key: str) -> Series:
    """The curve as steps over the whole axis; between two rates, the value of the lower one."""
    rates, found = np.array(curve["false_alarms_per_hour"]), np.array(curve[key])
    inside = rates <= RATE.high
    x = np.concatenate([[RATE.low], np.maximum(rates[inside], RATE.low), [RATE.high]])
    y = np.concatenate([found[:1] if rates[0] <= RATE.low else [0.0], found[inside]])
    return Series(name, np.repeat(x, 2)[1:-1], np.repeat(y, 2), colour)
