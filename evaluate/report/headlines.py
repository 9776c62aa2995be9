"""The headline metrics: their titles, descriptions and positions in `metrics.json`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from evaluate.metrics.events import RATES, event_key

Metrics = Mapping[str, Any]
"""The content of a `metrics.json`."""


@dataclass(frozen=True)
class Headline:
    """One metric; `key` is its name in the confidence intervals and in the reasons for missing metrics."""

    key: str
    title: str
    description: str
    path: tuple[str, ...]
    """Keys that lead to the value in `metrics.json`."""
    scale: float = 100
    """Factor from the stored value to percent."""
    lower_is_better: bool = False

    def value(self, metrics: Metrics) -> float | None:
        """The value in percent, a delay in seconds; None if it is missing, or the file is older than it."""
        found: Any = metrics
        for key in self.path:
            found = None if found is None else found.get(key)
        return None if found is None else self.scale * found

    def interval(self, metrics: Metrics) -> tuple[float, float] | None:
        """The bootstrap interval in percent; None if there is none."""
        found = metrics["confidence_intervals"].get(self.key)
        return None if found is None else (self.scale * found[0], self.scale * found[1])

    def paper(self, metrics: Metrics) -> float | None:
        """The paper's value in percent; None unless the test set is one of the paper's."""
        published = {one["figure"]: one["paper"] for one in metrics.get("published") or ()}
        if published:
            return published.get("mAP AVG" if self.key == "map_published" else self.title)
        reference = metrics["paper"] or {}
        known = {reference.get("headline"): "value", "map_published": "map_average"}
        return reference.get(known.get(self.key, ""))


FRAME_HEADLINES = (
    Headline("auc", "AUC", "area under the ROC curve, all frames", ("auc",)),
    Headline("ap", "AP", "average precision, all frames", ("ap",)),
    Headline("anomaly_auc", "Ano-AUC", "AUC over the frames of anomalous videos", ("anomaly_auc",)),
    Headline("far", "False alarms", "share of normal frames at or above the threshold", ("far",),
             lower_is_better=True),
    Headline("map_published", "mAP published", "mean over all classes, normal included",
             ("map", "published", "average"), 1),
    Headline("map_corrected", "mAP corrected", "mean over the anomaly classes that occur",
             ("map", "corrected", "average"), 1),
)  # fmt: skip
VIDEO_HEADLINES = (
    Headline("accuracy", "Video accuracy", "normal below the threshold, else the likeliest anomaly class",
             ("video", "accuracy")),
    Headline("video_auc", "Video AUC", "area under the ROC curve, one score per video", ("video", "auc")),
    Headline("video_ap", "Video AP", "average precision, one score per video", ("video", "ap")),
    Headline("anomaly_accuracy", "Class accuracy", "likeliest anomaly class of anomalous videos",
             ("video", "anomaly_accuracy")),
    Headline("event", "Event prototypes", "likeliest class is a label of the video",
             ("video", "event_accuracy")),
    Headline("background", "Background prototypes", "likeliest class is normal",
             ("video", "background_accuracy")),
)  # fmt: skip


def rate_text(rate: float) -> str:
    """For example `10 false alarms an hour`."""
    return f"{rate:g} false alarm{'' if rate == 1 else 's'} an hour"


EVENT_FIGURES = (
    ("found", "Events found", "share of the annotated events that an alarm meets", 100, False),
    ("found_iou", "with IoU ≥ 0.3", "share of the events with an alarm of that IoU", 100, False),
    (
        "found_within_5s",
        "found within 5 s",
        "share of the events found at most 5 s after their start",
        100,
        False,
    ),
    ("delay_median_s", "median delay, s", "from the start of a found event to its first alarm", 1, True),
    ("delay_p90_s", "90th percentile, s", "from the start of a found event to its first alarm", 1, True),
)
"""Key in `metrics.json`, title, description, scale, and whether lower is better."""
EVENT_HEADLINES = {
    rate: tuple(
        Headline(
            event_key(rate) if key == "found" else f"{event_key(rate)}_{key}",
            title,
            f"{description}, at {rate_text(rate)} of normal footage",
            ("events", "at", f"{rate:g}", key),
            scale,
            lower_is_better=lower,
        )
        for key, title, description, scale, lower in EVENT_FIGURES
    )
    for rate in RATES
}
"""The figures of events at each rate of false alarms; the first is the share of events found."""
EVENTS_FOUND = {
    rate: replace(of_rate[0], title=f"Events at {rate:g}/h") for rate, of_rate in EVENT_HEADLINES.items()
}
"""The share of events found at each rate of false alarms, with a title that fits a column."""


def missing_notes(metrics: Metrics, titles: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """One line for each reason why headline metrics are missing; `titles` replaces titles by key."""
    missing: dict[str, list[str]] = {}
    for headline in (*FRAME_HEADLINES, *VIDEO_HEADLINES):
        reason = _missing_reason(headline, metrics)
        if reason and headline.value(metrics) is None:
            missing.setdefault(reason.removeprefix("undefined: "), []).append(
                titles.get(headline.key, headline.title)
            )
    return [f"no {', '.join(names)}: {reason}" for reason, names in missing.items()]


def _missing_reason(headline: Headline, metrics: Metrics) -> str | None:
    """The reason in `missing`; both mAP protocols share one."""
    key = "map" if headline.path[0] == "map" else headline.key
    reason: str | None = metrics["missing"].get(key)
    return reason
