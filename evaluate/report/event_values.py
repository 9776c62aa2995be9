"""Events found against false alarms, as `metrics.json` holds them; `evaluate.metrics.events` defines them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from evaluate.metrics.alarms import LASTING_ALARM_S
from evaluate.metrics.event_table import EVENT_IOU
from evaluate.metrics.events import WITHIN_S, EventCurve, EventMetrics, OperatingPoint
from evaluate.report.chart_data import thin_indices

LOWEST_RATE = 0.01
"""False alarms an hour at the left edge of the curve, whose axis is logarithmic."""


def event_values(found: EventMetrics) -> dict[str, Any]:
    """The section `events`: settings, operating points by their rate (`"0.1"`), and the thinned curve."""
    return {
        "count": sum(found.events.values()),
        "normal_hours": found.normal_hours,
        "iou": EVENT_IOU,
        "within_s": WITHIN_S,
        "lasting_alarm_s": LASTING_ALARM_S,
        "release": found.release,
        "at": {f"{point.rate:g}": _point(point) for point in found.points},
        "per_class": {
            label: {
                "count": count,
                "at": {f"{point.rate:g}": asdict(point.per_class[label]) for point in found.points},
            }
            for label, count in found.events.items()
        },
        "curve": _curve(found.curve),
    }


def _point(point: OperatingPoint) -> Mapping[str, Any]:
    return {
        "threshold": point.threshold,
        "false_alarms": point.false_alarms,
        "false_alarms_per_hour": point.false_alarms_per_hour,
        **asdict(point.figures),
    }


def _curve(curve: EventCurve) -> dict[str, list[float]]:
    """Thinned for drawing, evenly along the curve."""
    x = np.log10(np.maximum(curve.false_alarms_per_hour, LOWEST_RATE))
    kept = thin_indices(x / max(np.ptp(x), 1e-9), curve.found)
    return {name: getattr(curve, name)[kept].astype(float).tolist() for name in vars(curve)}
