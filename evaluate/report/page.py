"""The HTML page of one run: a single file without external requests; Jinja escapes all names."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from evaluate.evaluated_videos import EvaluatedVideo
from evaluate.evaluation import Evaluation
from evaluate.report.causal import causal_rows
from evaluate.report.chart_data import class_hue, peaks
from evaluate.report.charts import RawFeatures, curve_charts, feature_charts
from evaluate.report.event_charts import event_charts
from evaluate.report.files import MAX_CARDS, TABLE_FILE
from evaluate.report.headlines import (
    EVENT_HEADLINES,
    FRAME_HEADLINES,
    VIDEO_HEADLINES,
    Headline,
    Metrics,
    missing_notes,
)
from evaluate.report.timeline import timeline
from evaluate.report.video_table import by_error
from evaluate.snippet_times import seconds_at
from extract.display import format_time, shortened

Thumbnail = Callable[[str, int], bytes | None]
"""JPEG of a frame by video name and frame number; None if the frame cannot be decoded."""


@dataclass(frozen=True)
class Peak:
    """A thumbnail of a frame with a high score; `source` is the JPEG as a `data:` URL."""

    source: str
    frame: int
    seconds: float
    score: float


@dataclass(frozen=True)
class VideoCard:
    """One video of the page; `seconds` is its length."""

    video: EvaluatedVideo
    timeline: Markup
    peaks: tuple[Peak, ...]
    seconds: float


def render_report(
    evaluation: Evaluation,
    metrics: Metrics,
    curves_csv: Path | None,
    thumbnail: Thumbnail | None,
    raw_features: RawFeatures | None,
) -> str:
    """The page as HTML; `metrics` is the content of `metrics.json`."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            metrics=metrics,
            evaluation=evaluation,
            headlines=_headlines(metrics),
            reasons=[f"{note[0].upper()}{note[1:]}." for note in missing_notes(metrics)],
            curves=curve_charts([("this run", metrics)], curves_csv),
            event_charts=event_charts([("this run", metrics)]),
            example_threshold=_example_threshold(metrics),
            features=feature_charts(evaluation, raw_features),
            cards=_video_cards(evaluation, thumbnail),
            causal_rows=causal_rows(metrics),
            left_out=shortened(evaluation.left_out),
            table_file=TABLE_FILE,
        )
    )


def environment() -> Environment:
    """Jinja environment of the report's templates; everything but Markup is escaped."""
    env = Environment(
        loader=PackageLoader("evaluate.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"percent": percent, "fixed": fixed, "time": format_time, "hue": class_hue}
    return env


def percent(fraction: float | None) -> str:
    """0.8944 as "89.44", None as a dash."""
    return fixed(None if fraction is None else 100 * fraction)


def fixed(value: float | None) -> str:
    """Two decimal places; None as a dash."""
    return "–" if value is None else f"{value:.2f}"


def _headlines(metrics: Metrics) -> list[Headline]:
    """Headlines with a value: frame-level ones and video accuracy, or only video-level ones."""
    annotated = metrics["map"] or metrics["auc"]
    shown = [*FRAME_HEADLINES, EVENT_HEADLINES[1.0][0], VIDEO_HEADLINES[0]] if annotated else VIDEO_HEADLINES
    return [headline for headline in shown if headline.value(metrics) is not None]


def _example_threshold(metrics: Metrics) -> str:
    """A threshold of the events' table: that of 1 false alarm an hour, or the first that there is."""
    points = (metrics["events"] or {}).get("at", {})
    known = [points[rate]["threshold"] for rate in sorted(points, key=lambda rate: rate != "1")]
    return next((f"{value:.9g}" for value in known if value is not None), "…")


def _video_cards(evaluation: Evaluation, thumbnail: Thumbnail | None) -> list[VideoCard]:
    """The MAX_CARDS videos of the largest error; the first `config.thumbnail_videos` have thumbnails."""
    cards = []
    for rank, video in enumerate(by_error(evaluation.videos)[:MAX_CARDS]):
        scores, segments = video.scores, video.truth.segments or ()
        found = _peaks(video, thumbnail) if thumbnail and rank < evaluation.config.thumbnail_videos else ()
        drawn = timeline(scores, segments, evaluation.config.threshold, [peak.frame for peak in found])
        cards.append(VideoCard(video, drawn, found, seconds_at(scores, scores.n_frames)))
    return cards


def _peaks(video: EvaluatedVideo, thumbnail: Thumbnail) -> tuple[Peak, ...]:
    found = []
    for frame, score in peaks(video.scores):
        if picture := thumbnail(video.truth.name, frame):
            source = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
            found.append(Peak(source, frame, seconds_at(video.scores, frame), score))
    return tuple(found)
