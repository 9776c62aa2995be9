"""The HTML page of one run, from its figures: one file, no request to anywhere, names escaped by Jinja."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from evaluate.evaluation import Evaluation, VideoResult
from evaluate.metrics.intervals import seconds_at
from evaluate.report.charts import hue
from evaluate.report.figures import (
    RawFeatures,
    distance_chart,
    embedding_charts,
    score_curves,
    training_charts,
)
from evaluate.report.headlines import FRAME_HEADLINES, VIDEO_HEADLINES, Figures, Headline
from evaluate.report.timeline import peaks, timeline

Thumbnail = Callable[[str, int], bytes | None]


@dataclass(frozen=True)
class Peak:
    """A thumbnail: JPEG as a data address, when it is and how high the score."""

    source: str
    frame: int
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
    figures: Figures,
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
            headlines=_headlines(figures),
            reasons=_reasons(figures),
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
        loader=PackageLoader("evaluate.report", "templates"),
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


def _headlines(figures: Figures) -> list[Headline]:
    """Those with a value: of frames and segments with the videos' accuracy, or all of whole videos."""
    shown = [*FRAME_HEADLINES, VIDEO_HEADLINES[0]] if figures["map"] or figures["auc"] else VIDEO_HEADLINES
    return [headline for headline in shown if headline.value(figures) is not None]


def _reasons(figures: Figures) -> list[str]:
    """One sentence for each reason why figures are missing."""
    titles: dict[str, list[str]] = {}
    for headline in FRAME_HEADLINES:
        if headline.value(figures) is None:
            reason = figures["missing"].get(headline.key) or figures["missing"].get("map")
            titles.setdefault(reason or "no class that counts has a segment", []).append(headline.title)
    return [f"No {', '.join(names)}: {reason}." for reason, names in titles.items()]


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
    cards = []
    for rank, video in enumerate(worst_first):
        scores, segments = video.scores, video.truth.segments or ()
        shown = _peaks(video, thumbnail) if thumbnail and rank < evaluation.config.thumbnail_videos else ()
        picture = timeline(scores, segments, evaluation.config.threshold, [peak.frame for peak in shown])
        cards.append(VideoCard(video, picture, shown, seconds_at(scores, scores.n_frames)))
    return cards


def _peaks(video: VideoResult, thumbnail: Thumbnail) -> tuple[Peak, ...]:
    found = []
    for frame, score in peaks(video.scores):
        if picture := thumbnail(video.truth.name, frame):
            source = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
            found.append(Peak(source, frame, seconds_at(video.scores, frame), score))
    return tuple(found)
