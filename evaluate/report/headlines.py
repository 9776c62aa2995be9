"""The headline figures: what they are called, what they mean, and where they stand in `metrics.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """One figure: `place` leads to it in the metrics, `key` to its interval and to why it is null."""

    key: str
    title: str
    explained: str
    place: tuple[str, ...]
    scale: float = 100  # to percent
    lower_is_better: bool = False

    def value(self, figures: Figures) -> float | None:
        """In percent, or None where it can't be had."""
        found: Any = figures
        for step in self.place:
            found = None if found is None else found[step]
        return None if found is None else self.scale * found

    def interval(self, figures: Figures) -> tuple[float, float] | None:
        """Its bootstrap interval in percent, where there is one."""
        found = figures["confidence_intervals"].get(self.key)
        return None if found is None else (self.scale * found[0], self.scale * found[1])

    def paper(self, figures: Figures) -> float | None:
        """The paper's figure, where the test set is the paper's."""
        reference = figures["paper"] or {}
        known = {reference.get("headline"): "value", "map_published": "map_average"}
        return reference.get(known.get(self.key, ""))


FRAME_HEADLINES = (
    Headline("auc", "AUC", "area under the ROC curve, all frames", ("auc",)),
    Headline("ap", "AP", "average precision, all frames", ("ap",)),
    Headline("anomaly_auc", "Ano-AUC", "AUC over the frames of anomalous videos", ("anomaly_auc",)),
    Headline(
        "far", "False alarms", "normal frames at or above the threshold", ("far",), lower_is_better=True
    ),
    Headline(
        "map_published", "mAP published", "normal class averaged in", ("map", "published", "average"), 1
    ),
    Headline(
        "map_corrected", "mAP corrected", "anomaly classes that occur", ("map", "corrected", "average"), 1
    ),
)
VIDEO_HEADLINES = (
    Headline("accuracy", "Video accuracy", "normal below the threshold, else the likeliest class",
             ("video", "accuracy")),
    Headline("video_auc", "Video AUC", "anomalous or not, by whole videos", ("video", "auc")),
    Headline("video_ap", "Video AP", "anomalous or not, by whole videos", ("video", "ap")),
    Headline("anomaly_accuracy", "Class accuracy", "anomalous videos: likeliest anomaly class",
             ("video", "anomaly_accuracy")),
    Headline("event", "Event prototypes", "nearest to a class of their video", ("video", "event_accuracy")),
    Headline("background", "Background prototypes", "nearest to normal", ("video", "background_accuracy")),
)  # fmt: skip
