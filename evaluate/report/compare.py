"""Comparison of several runs from their `metrics.json`: one page with a table and overlaid curves."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluate.metrics.segments import PROTOCOLS
from evaluate.report.chart_data import line_colour
from evaluate.report.charts import curve_charts
from evaluate.report.event_charts import event_charts
from evaluate.report.files import METRICS_FILE
from evaluate.report.headlines import EVENT_HEADLINES, FRAME_HEADLINES, VIDEO_HEADLINES, Metrics, rate_text
from evaluate.report.metrics_file import read_metrics
from evaluate.report.page import environment
from evaluate.report.svg import css_colour
from extract.atomic import write_atomically
from extract.errors import InputError, MissingFileError


@dataclass(frozen=True)
class Row:
    """One metric of all runs, in percent; `best` holds the indices of the best runs."""

    title: str
    description: str
    values: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    best: frozenset[int]


def compare_runs(runs: Sequence[Path], out: Path) -> Path:
    """Write one page that compares at least two runs; return its path.

    A run is a `metrics.json`, a report folder, or a run folder with the report in `report/`. Raises
    ValueError for fewer than two runs, FileNotFoundError for a run without `metrics.json`.
    """
    if len(runs) < 2:
        raise InputError(f"comparing needs at least two runs, {len(runs)} given")
    metrics = [read_metrics(find_metrics(run)) for run in runs]
    named = list(zip(run_names(runs, metrics), metrics, strict=True))
    page = (
        environment()
        .get_template("compare.html.j2")
        .render(
            runs=named,
            colours=[css_colour(line_colour(index)) for index in range(len(named))],
            groups=[
                ("Headlines", list(_headline_rows(metrics))),
                *_event_groups(metrics),
                *_map_groups(metrics),
                *_class_groups(metrics),
            ],
            curves=[*curve_charts(named), *event_charts(named)],
            warnings=[*run_warnings(named), *run_notes(named)],
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page)
    return out


def find_metrics(run: Path) -> Path:
    """The `metrics.json` of a run: the path itself, in the folder, or in its `report/`."""
    places = [run, run / METRICS_FILE, run / "report" / METRICS_FILE]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise MissingFileError(
            f"{run}: no metrics.json in this folder or its report/; evaluate this run first"
        )
    return found


def run_names(runs: Sequence[Path], metrics: Sequence[Metrics]) -> list[str]:
    """Titles of the runs; runs with equal titles get their folder added."""
    titles = [str(one["title"]) for one in metrics]
    counts = Counter(titles)
    folders = [str(run.parent if run.is_file() else run) for run in runs]
    return [
        title if counts[title] == 1 else f"{title} ({folder})"
        for title, folder in zip(titles, folders, strict=True)
    ]


def _headline_rows(metrics: Sequence[Metrics]) -> Iterator[Row]:
    for headline in (*FRAME_HEADLINES, *VIDEO_HEADLINES):
        values = [headline.value(one) for one in metrics]
        intervals = [headline.interval(one) for one in metrics]
        yield _row(headline.title, values, headline.description, intervals, lower=headline.lower_is_better)


def _event_groups(metrics: Sequence[Metrics]) -> Iterator[tuple[str, list[Row]]]:
    for rate, headlines in EVENT_HEADLINES.items():
        rows = [
            _row(
                headline.title,
                [headline.value(one) for one in metrics],
                headline.description,
                [headline.interval(one) for one in metrics],
                lower=headline.lower_is_better,
            )
            for headline in headlines
        ]
        if any(value is not None for row in rows for value in row.values):
            yield f"Events at {rate_text(rate)}", rows


def _map_groups(metrics: Sequence[Metrics]) -> Iterator[tuple[str, list[Row]]]:
    for protocol in PROTOCOLS:
        known = [one["map"] and one["map"][protocol]["per_iou"] for one in metrics]
        thresholds = next((list(found) for found in known if found), [])
        rows = [_row(f"IoU {iou}", [found and found.get(iou) for found in known]) for iou in thresholds]
        if rows:
            yield f"mAP, {protocol}", rows


def _class_groups(metrics: Sequence[Metrics]) -> Iterator[tuple[str, list[Row]]]:
    by_label = [{entry["label"]: entry for entry in one["per_class"]} for one in metrics]
    labels = list(dict.fromkeys(label for classes in by_label for label in classes))
    for field, title, scale in (("map_corrected", "mAP by class", 1), ("auc", "AUC by class", 100)):
        found = {label: [classes.get(label, {}).get(field) for classes in by_label] for label in labels}
        rows = [_row(label, [value and scale * value for value in values]) for label, values in found.items()]
        rows = [row for row in rows if any(value is not None for value in row.values)]
        if rows:
            yield title, rows
    yield from _event_class_group(metrics)


def _event_class_group(metrics: Sequence[Metrics]) -> Iterator[tuple[str, list[Row]]]:
    known = [(one.get("events") or {}).get("per_class", {}) for one in metrics]
    rows = [
        _row(label, [value and 100 * value for value in (_found_at_1(found.get(label)) for found in known)])
        for label in dict.fromkeys(label for found in known for label in found)
    ]
    if rows:
        yield "Events found by class, at 1 false alarm an hour", rows


def _found_at_1(one: Metrics | None) -> float | None:
    """Share of a class's events found at 1 false alarm an hour; None without such events."""
    return None if one is None else one["at"].get("1", {}).get("found")


def _row(
    title: str,
    values: Sequence[float | None],
    description: str = "",
    intervals: Sequence[tuple[float, float] | None] = (),
    *,
    lower: bool = False,
) -> Row:
    spans = tuple(intervals or [None] * len(values))
    return Row(title, description, tuple(values), spans, best_of(values, lower=lower))


def best_of(values: Sequence[float | None], *, lower: bool = False) -> frozenset[int]:
    """Indices of the best values; empty if all that are known are the same at two decimal places."""
    shown = [None if value is None else round(value, 2) for value in values]
    known = [value for value in shown if value is not None]
    best = (min if lower else max)(known, default=None)
    return frozenset(i for i, value in enumerate(shown) if value == best and len(set(known)) > 1)


def run_warnings(runs: Sequence[tuple[str, Metrics]]) -> list[str]:
    """Differences that make the runs hard to compare."""
    found = []
    if len({metrics["digests"].get("truth") for _, metrics in runs}) > 1:
        found.append("The runs were evaluated on different test videos or annotations.")
    if len({metrics["threshold"] for _, metrics in runs}) > 1:
        found.append("False alarms were counted at different thresholds.")
    if len({(metrics.get("events") or {}).get("release", 1.0) for _, metrics in runs}) > 1:
        found.append("Alarms ended at different shares of their threshold (evaluate.release).")
    for name, metrics in runs:
        if left_out := metrics["counts"]["left_out"]:
            found.append(f"{name}: {left_out} of {metrics['counts']['test_videos']} test videos left out.")
    return found


def run_notes(runs: Sequence[tuple[str, Metrics]]) -> list[str]:
    """The notes of each report, with the name of the run."""
    return [f"{name}: {note}" for name, metrics in runs for note in metrics["notes"]]
