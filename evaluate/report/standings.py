"""Benchmark table: several models over several seeds on the same test videos, as CSV, JSON and a page.

A model's value is the mean over its seeds, with their standard deviation. The difference of two models' means
gets a paired bootstrap interval (`evaluate.report.margins`).
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

from evaluate.annotations import VideoTruth
from evaluate.metrics.bootstrap import central, draw_videos
from evaluate.report.files import METRICS_FILE
from evaluate.report.headlines import FRAME_HEADLINES, VIDEO_HEADLINES, Headline, Metrics
from evaluate.report.margins import Margin, margins, resampled_means
from evaluate.report.metrics_file import read_metrics
from evaluate.report.page import environment
from evaluate.report.published_results import PublishedResult, paper_metrics_for, published_results
from extract.atomic import write_atomically

HEADLINES: tuple[Headline, ...] = (*FRAME_HEADLINES, VIDEO_HEADLINES[0], VIDEO_HEADLINES[1])
COMPARED = ("auc", "ap", "video_auc")
"""Metrics whose difference from the reference model gets an interval, if the videos have them."""
TABLE_FILES = {"csv": "standings.csv", "json": "standings.json", "page": "index.html"}


@dataclass(frozen=True)
class BenchmarkRun:
    """One model with its finished runs, one per seed."""

    name: str
    runs: tuple[Path, ...]
    """Workspaces with `scores/` and `report/`."""
    parameters: int
    """Number of trainable parameters."""
    train_s: float | None
    """Median training time over the runs in seconds; None if unknown."""
    snippets_per_s: float
    """Median inference speed over the runs."""


@dataclass(frozen=True)
class Spread:
    """Mean over the seeds and standard deviation (None with one seed), in percent."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Standing:
    """A row of the table. The field names are keys in `standings.json`."""

    name: str
    seeds: int
    figures: Mapping[str, Spread]
    """By headline key; a metric that is missing in any run is left out."""
    margins: Mapping[str, Margin]
    """By headline key; empty for the reference model."""
    parameters: int
    train_s: float | None
    snippets_per_s: float
    published: tuple[PublishedResult, ...]
    notes: tuple[str, ...]
    """Notes of the runs' reports, and reasons for missing metrics."""


def build_standings(
    models: Sequence[BenchmarkRun],
    reference: str,
    truths: Sequence[VideoTruth],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[Standing]:
    """The rows of the table in the given order.

    Margins are differences from the model named `reference`; there are none if it is not among the models.
    """
    draws_BV = draw_videos(len(truths), resamples, seed)
    resampled = {
        model.name: resampled_means([run / "scores" for run in model.runs], truths, draws_BV, COMPARED)
        for model in models
    }
    return [
        _standing(
            model,
            margins(resampled[model.name], resampled[reference], central(confidence))
            if reference in resampled and model.name != reference
            else {},
            len(truths),
        )
        for model in models
    ]


def write_standings(out_dir: Path, title: str, rows: Sequence[Standing], reference: str) -> Path:
    """Write `standings.csv`, `standings.json` and `index.html`; return the path of the page."""
    out_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(out_dir / TABLE_FILES["csv"], _csv_table(rows))
    content = {"title": title, "reference": reference, "rows": [asdict(row) for row in rows]}
    write_atomically(out_dir / TABLE_FILES["json"], json.dumps(content, indent=2, allow_nan=False) + "\n")
    page = (
        environment()
        .get_template("standings.html.j2")
        .render(
            title=title,
            rows=rows,
            reference=reference,
            headlines=[h for h in HEADLINES if any(h.key in row.figures for row in rows)],
            compared=[key for key in COMPARED if any(key in row.margins for row in rows)],
            titles={h.key: h.title for h in HEADLINES},
        )
    )
    write_atomically(out_dir / TABLE_FILES["page"], page)
    return out_dir / TABLE_FILES["page"]


def _standing(model: BenchmarkRun, margins: Mapping[str, Margin], n_videos: int) -> Standing:
    metrics = [read_metrics(run / "report" / METRICS_FILE) for run in model.runs]
    paper = paper_metrics_for(tuple(entry["label"] for entry in metrics[0]["per_class"]), n_videos)
    return Standing(
        name=model.name,
        seeds=len(model.runs),
        figures={h.key: found for h in HEADLINES if (found := _spread(h, metrics))},
        margins=margins,
        parameters=model.parameters,
        train_s=model.train_s,
        snippets_per_s=model.snippets_per_s,
        published=published_results(model.name, paper.dataset) if paper else (),
        notes=_notes(metrics),
    )


def _spread(headline: Headline, metrics: Sequence[Metrics]) -> Spread | None:
    """None if the metric is missing in any run."""
    values = [headline.value(one) for one in metrics]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None)


def _notes(metrics: Sequence[Metrics]) -> tuple[str, ...]:
    """Distinct notes of the reports and reasons for missing metrics, in order."""
    notes: dict[str, None] = {}
    for one in metrics:
        notes |= dict.fromkeys([*one["notes"], *one["missing"].values()])
    return tuple(notes)


def _csv_table(rows: Sequence[Standing]) -> str:
    """One line per model; cells of missing metrics are empty."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    costs = ("parameters", "train_s", "snippets_per_s")
    figures = [f"{h.key}_{part}" for h in HEADLINES for part in ("mean", "deviation")]
    margins = [f"{key}_{part}" for key in COMPARED for part in ("margin", "low", "high")]
    writer.writerow(("name", "seeds", *figures, *margins, *costs, "published"))
    for row in rows:
        cells: list[object] = [row.name, row.seeds]
        for headline in HEADLINES:
            spread = row.figures.get(headline.key)
            cells += [spread.mean, spread.deviation] if spread else ["", ""]
        for key in COMPARED:
            margin = row.margins.get(key)
            cells += [margin.difference, margin.low, margin.high] if margin else ["", "", ""]
        cells += [getattr(row, name) for name in costs]
        writer.writerow([*cells, "; ".join(map(str, row.published))])
    return table.getvalue()
