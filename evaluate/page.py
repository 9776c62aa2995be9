"""The HTML page of one run, from its figures: one file, no request to anywhere, names escaped by Jinja."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from evaluate.charts import hue
from evaluate.evaluation import Evaluation, VideoResult
from evaluate.figures import RawFeatures, distance_chart, embedding_charts, score_curves, training_charts
from evaluate.intervals import seconds_at
from evaluate.timeline import peaks, timeline

Thumbnail = Callable[[str, int], bytes | None]
HEADLINES = {
    "auc": "AUC",
    "ap": "AP",
    "anomaly_auc": "Ano-AUC",
    "far": "False alarms",
}
EXPLAINED = {
    "auc": "Area under the ROC curve over all frames",
    "ap": "Average precision over all frames",
    "anomaly_auc": "AUC over the frames of anomalous videos only",
    "far": "Normal frames at or above the threshold",
    "map_published": "mAP, published protocol: normal class averaged in",
    "map_corrected": "mAP, corrected: anomaly classes that occur",
    "video_auc": "AUC of the video scores",
    "video_accuracy": "Videos whose most likely class is right",
    "video_event_accuracy": "Event prototypes nearest to a class of their video",
    "video_background_accuracy": "Background prototypes nearest to normal",
}


@dataclass(frozen=True)
class Card:
    """One headline figure, in percent."""

    title: str
    explained: str
    value: float | None
    interval: tuple[float, float] | None
    paper: float | None
    missing: str | None = None


@dataclass(frozen=True)
class Peak:
    """A thumbnail: JPEG as a data address, when it is and how high the score."""

    source: str
    seconds: float
    score: float


@dataclass(frozen=True)
class VideoCard:
    """One video of the page."""

    result: VideoResult
    picture: Markup
    peaks: tuple[Peak, ...]
    seconds: float


def render_report(
    evaluation: Evaluation,
    figures: Mapping[str, Any],
    curves_csv: Path | None,
    thumbnail: Thumbnail | None,
    raw_features: RawFeatures | None,
) -> str:
    """The whole page as text."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            figures=figures,
            evaluation=evaluation,
            cards=headline_cards(figures),
            curves=[
                *score_curves([("this run", figures)]),
                *(training_charts(curves_csv) if curves_csv else ()),
            ],
            features=_feature_charts(evaluation, raw_features),
            videos=_video_cards(evaluation, thumbnail),
        )
    )


def environment() -> Environment:
    """Jinja with our filters; everything that is not Markup is escaped."""
    env = Environment(
        loader=PackageLoader("evaluate", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"percent": percent, "fixed": fixed, "clock": clock, "hue": hue}
    return env


def percent(fraction: float | None) -> str:
    """0.8944 as 89.44, None as a dash."""
    return fixed(None if fraction is None else 100 * fraction)


def fixed(value: float | None) -> str:
    """Two digits after the point, None as a dash."""
    return "–" if value is None else f"{value:.2f}"


def clock(seconds: float) -> str:
    """75 seconds as 1:15."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def headline_cards(figures: Mapping[str, Any]) -> list[Card]:
    """The figures on top of the page: of frames and segments, or of videos where there are none."""
    paper = figures["paper"] or {}
    cards = []
    for name, title in HEADLINES.items():
        reference = paper["value"] if paper.get("headline") == name else None
        cards.append(_card(figures, name, title, figures[name], 100, reference))
    for protocol in ("published", "corrected"):
        average = figures["map"][protocol]["average"] if figures["map"] else None
        reference = paper.get("map_average") if protocol == "published" else None
        cards.append(_card(figures, f"map_{protocol}", f"mAP {protocol}", average, 1, reference))
    if figures["auc"] is None:
        cards.insert(0, _card(figures, "video_auc", "Video AUC", figures["video"]["auc"], 100))
    accuracy = figures["video"]["accuracy"]
    cards.append(_card(figures, "video_accuracy", "Video accuracy", accuracy, 100))
    return cards


def _card(
    figures: Mapping[str, Any],
    name: str,
    title: str,
    value: float | None,
    scale: float,
    paper: float | None = None,
) -> Card:
    interval = figures["confidence_intervals"].get(name.removeprefix("video_") if value is not None else "")
    if name == "video_auc":
        interval = None
    return Card(
        title=title,
        explained=EXPLAINED[name],
        value=None if value is None else scale * value,
        interval=None if interval is None else (scale * interval[0], scale * interval[1]),
        paper=paper,
        missing=figures["missing"].get("map" if name.startswith("map_") else name),
    )


def _feature_charts(evaluation: Evaluation, raw_features: RawFeatures | None) -> list[Markup]:
    videos = [(video.scores, video.truth) for video in evaluation.videos]
    charts: list[Markup] = []
    if evaluation.config.tsne:
        charts += embedding_charts(videos, raw_features, evaluation.config.seed)
    if evaluation.distances is not None:
        charts.append(distance_chart(evaluation.distances))
    return charts


def _video_cards(evaluation: Evaluation, thumbnail: Thumbnail | None) -> list[VideoCard]:
    """All videos, worst first; the worst ones with thumbnails of their peaks."""
    worst_first = sorted(evaluation.videos, key=lambda video: (-video.error, video.truth.name))
    return [
        VideoCard(
            result=video,
            picture=timeline(video.scores, video.truth.segments or (), evaluation.config.threshold),
            peaks=_peaks(video, thumbnail if rank < evaluation.config.thumbnail_videos else None),
            seconds=video.scores.n_frames / video.scores.fps,
        )
        for rank, video in enumerate(worst_first)
    ]


def _peaks(video: VideoResult, thumbnail: Thumbnail | None) -> tuple[Peak, ...]:
    if thumbnail is None:
        return ()
    found = []
    for frame, score in peaks(video.scores):
        if picture := thumbnail(video.truth.name, frame):
            source = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
            found.append(Peak(source, seconds_at(video.scores, frame), score))
    return tuple(found)
