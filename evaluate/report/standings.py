"""Several models over several seeds, on the same test videos: one table, as CSV, JSON and a page.

A contestant's figure is the mean over its seeds, with their standard deviation. Against the reference
the difference of those means gets a bootstrap interval whose resamples of videos are the same for both
(paired): what makes a video hard is hard for both.

Shapes: B resamples, V videos.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.annotations import VideoTruth
from evaluate.metrics.bootstrap import draw_videos
from evaluate.metrics.paired_difference import scored_figures
from evaluate.report.headlines import FRAME_HEADLINES, VIDEO_HEADLINES, Figures, Headline
from evaluate.report.page import environment
from evaluate.report.published_results import PublishedResult, published_for, published_results
from evaluate.report.write import read_metrics
from extract.atomic import write_atomically

Array = NDArray[Any]
HEADLINES: tuple[Headline, ...] = (*FRAME_HEADLINES, VIDEO_HEADLINES[0], VIDEO_HEADLINES[1])
COMPARED = ("auc", "ap", "video_auc")
"""Figures whose difference from the reference gets an interval, where the videos have them."""
TABLE_FILES = {"csv": "standings.csv", "json": "standings.json", "page": "index.html"}


@dataclass(frozen=True)
class Contestant:
    """One model: its runs (workspaces with scores/ and report/), one a seed, and what was measured of each.

    `parameters` are those that are trained; seconds of training (None where unknown) and
    snippets a second are medians over the runs.
    """

    name: str
    runs: tuple[Path, ...]
    parameters: int
    train_s: float | None
    snippets_per_s: float


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and their standard deviation (None with one seed), in percent."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Margin:
    """How far a contestant's mean lies above the reference's, with a paired interval; percent points."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """A row of the table. Figures that can't be had are missing from `figures`; `notes` say why."""

    name: str
    seeds: int
    figures: Mapping[str, Spread]
    margins: Mapping[str, Margin]
    parameters: int
    train_s: float | None
    snippets_per_s: float
    published: tuple[PublishedResult, ...]
    notes: tuple[str, ...]


def standings(
    contestants: Sequence[Contestant],
    reference: str,
    truths: Sequence[VideoTruth],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[Standing]:
    """The table's rows, in the order given; margins are over the contestant `reference`, if it is there."""
    draws_BV = draw_videos(len(truths), resamples, seed)
    ahead = next((c for c in contestants if c.name == reference), None)
    drawn = {c.name: _drawn(c, truths, draws_BV) for c in contestants}
    rows = []
    for contestant in contestants:
        metrics = [read_metrics(run / "report" / "metrics.json") for run in contestant.runs]
        margins = {}
        if ahead is not None and contestant is not ahead:
            margins = _margins(drawn[contestant.name], drawn[ahead.name], confidence)
        test = published_for(tuple(entry["label"] for entry in metrics[0]["per_class"]), len(truths))
        rows.append(
            Standing(
                name=contestant.name,
                seeds=len(contestant.runs),
                figures={h.key: found for h in HEADLINES if (found := _spread(h, metrics))},
                margins=margins,
                parameters=contestant.parameters,
                train_s=contestant.train_s,
                snippets_per_s=contestant.snippets_per_s,
                published=published_results(contestant.name, test.dataset) if test else (),
                notes=_notes(metrics),
            )
        )
    return rows


def write_standings(out_dir: Path, title: str, rows: Sequence[Standing], reference: str) -> Path:
    """Writes the table as `standings.csv`, `standings.json` and `index.html`; returns the page's path."""
    out_dir.mkdir(parents=True, exist_ok=True)
    _write_csv(out_dir / TABLE_FILES["csv"], rows)
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


def _write_csv(path: Path, rows: Sequence[Standing]) -> None:
    """One row a contestant; empty cells where a figure can't be had."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        measured = ("parameters", "train_s", "snippets_per_s")
        figures = [f"{h.key}_{part}" for h in HEADLINES for part in ("mean", "deviation")]
        margins = [f"{key}_{part}" for key in COMPARED for part in ("margin", "low", "high")]
        writer.writerow(("name", "seeds", *figures, *margins, *measured, "published"))
        for row in rows:
            cells: list[object] = [row.name, row.seeds]
            for headline in HEADLINES:
                spread = row.figures.get(headline.key)
                cells += [spread.mean, spread.deviation] if spread else ["", ""]
            for key in COMPARED:
                margin = row.margins.get(key)
                cells += [margin.difference, margin.low, margin.high] if margin else ["", "", ""]
            cells += [getattr(row, name) for name in measured]
            writer.writerow([*cells, "; ".join(map(str, row.published))])


def _spread(headline: Headline, metrics: Sequence[Figures]) -> Spread | None:
    values = [headline.value(one) for one in metrics]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None)


def _drawn(contestant: Contestant, truths: Sequence[VideoTruth], draws_BV: Array) -> dict[str, Array]:
    """(1 + B,) means over the seeds, in percent, of the compared figures: all videos, then each resample."""
    runs = [scored_figures(run / "scores", truths) for run in contestant.runs]
    weights = [np.ones(len(truths), dtype=np.int64), *draws_BV]
    return {
        name: 100 * np.array([fmean(run[name](w) for run in runs) for w in weights])
        for name in COMPARED
        if all(name in run for run in runs)
    }


def _margins(mine: Mapping[str, Array], theirs: Mapping[str, Array], confidence: float) -> dict[str, Margin]:
    found = {}
    for name in mine.keys() & theirs.keys():
        whole, *resampled = mine[name] - theirs[name]
        known = np.array(resampled)[~np.isnan(resampled)]
        if len(known) and not np.isnan(whole):
            low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
            found[name] = Margin(float(whole), float(low), float(high))
    return found


def _notes(metrics: Sequence[Figures]) -> tuple[str, ...]:
    """What the reports say of themselves, each once, and why figures are missing."""
    said: dict[str, None] = {}
    for one in metrics:
        said |= dict.fromkeys([*one["notes"], *one["missing"].values()])
    return tuple(said)
