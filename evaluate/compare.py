"""Several runs side by side, from their `metrics.json`: one table and overlaid curves, on one page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.figures import colour, score_curves
from evaluate.page import EXPLAINED, HEADLINES, environment
from evaluate.report import read_metrics, write_text

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One figure of all runs, in percent; `best` are the columns to stress."""

    title: str
    explained: str
    values: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    best: frozenset[int]


def compare_runs(runs: Sequence[Path], out: Path) -> Path:
    """Writes one page about two runs or more and returns its path.

    A run is a `metrics.json`, a report folder, or a run folder with the report in `report/`. Raises
    FileNotFoundError for a run without one, ValueError for fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError(f"comparing needs at least two runs, {len(runs)} given")
    figures = [read_metrics(find_metrics(run)) for run in runs]
    named = list(zip(_names(runs, figures), figures, strict=True))
    page = (
        environment()
        .get_template("compare.html.j2")
        .render(
            runs=named,
            colours=[colour(index) for index in range(len(named))],
            groups=[
                ("Figures", list(_headline_rows(figures))),
                *_map_groups(figures),
                *_class_groups(figures),
            ],
            curves=list(score_curves(named)),
            warnings=_warnings(named),
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    return out


def find_metrics(run: Path) -> Path:
    """The `metrics.json` of a run, wherever of the three places it lies."""
    places = [run, run / "metrics.json", run / "report" / "metrics.json"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{run}: no metrics.json in it or in its report folder; evaluate this run first"
        )
    return found


def _names(runs: Sequence[Path], figures: Sequence[Figures]) -> list[str]:
    """Titles, with the folder where two runs have the same one."""
    titles = [str(one["title"]) for one in figures]
    folders = [str(run.parent if run.is_file() else run) for run in runs]
    return [
        title if titles.count(title) == 1 else f"{title} ({folder})"
        for title, folder in zip(titles, folders, strict=True)
    ]


def _headline_rows(figures: Sequence[Figures]) -> Iterator[Row]:
    for name, title in HEADLINES.items():
        intervals = [one["confidence_intervals"].get(name) for one in figures]
        yield _row(
            title, EXPLAINED[name], [one[name] for one in figures], intervals, 100, lower=name == "far"
        )
    for protocol in ("published", "corrected"):
        name = f"map_{protocol}"
        values = [one["map"] and one["map"][protocol]["average"] for one in figures]
        intervals = [one["confidence_intervals"].get(name) for one in figures]
        yield _row(f"mAP {protocol}", EXPLAINED[name], values, intervals)
    accuracy = [one["video"]["accuracy"] for one in figures]
    intervals = [one["confidence_intervals"].get("accuracy") for one in figures]
    yield _row("Video accuracy", EXPLAINED["video_accuracy"], accuracy, intervals, 100)
    for name, title in (("auc", "Video AUC"), ("event_accuracy", "Event prototypes"),
                        ("background_accuracy", "Background prototypes")):  # fmt: skip
        yield _row(title, EXPLAINED[f"video_{name}"], [one["video"][name] for one in figures], scale=100)


def _map_groups(figures: Sequence[Figures]) -> Iterator[tuple[str, list[Row]]]:
    for protocol in ("published", "corrected"):
        known = [one["map"] and one["map"][protocol]["per_iou"] for one in figures]
        thresholds = next((list(found) for found in known if found), [])
        rows = [_row(f"IoU {iou}", "", [found and found.get(iou) for found in known]) for iou in thresholds]
        if rows:
            yield f"mAP, {protocol}", rows


def _class_groups(figures: Sequence[Figures]) -> Iterator[tuple[str, list[Row]]]:
    by_label = [{entry["label"]: entry for entry in one["per_class"]} for one in figures]
    labels = list(dict.fromkeys(label for classes in by_label for label in classes))
    for field, title, scale in (("map_corrected", "mAP of classes", 1), ("auc", "AUC of classes", 100)):
        rows = [
            _row(label, "", [classes.get(label, {}).get(field) for classes in by_label], scale=scale)
            for label in labels
        ]
        rows = [row for row in rows if any(value is not None for value in row.values)]
        if rows:
            yield title, rows


def _row(
    title: str,
    explained: str,
    values: Sequence[float | None],
    intervals: Sequence[Sequence[float] | None] = (),
    scale: float = 1,
    *,
    lower: bool = False,
) -> Row:
    percent = tuple(None if value is None else scale * value for value in values)
    known = [round(value, 2) for value in percent if value is not None]
    best = (min(known) if lower else max(known)) if known else None
    return Row(
        title=title,
        explained=explained,
        values=percent,
        intervals=tuple(
            None if pair is None else (scale * pair[0], scale * pair[1])
            for pair in (intervals or [None] * len(values))
        ),
        best=frozenset(
            index
            for index, value in enumerate(percent)
            if value is not None and round(value, 2) == best and len(set(known)) > 1
        ),
    )


def _warnings(runs: Sequence[tuple[str, Figures]]) -> list[str]:
    """What makes the runs hard to compare, and what each says about itself."""
    found = []
    if len({figures["digests"].get("truth") for _, figures in runs}) > 1:
        found.append("The runs were evaluated on different test videos or annotations.")
    if len({figures["threshold"] for _, figures in runs}) > 1:
        found.append("False alarms were counted at different thresholds.")
    for name, figures in runs:
        if left_out := figures["counts"]["left_out"]:
            found.append(f"{name}: {left_out} of {figures['counts']['test_videos']} test videos left out.")
        found += [f"{name}: {note}" for note in figures["notes"]]
    return found
