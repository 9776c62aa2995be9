"""Several runs side by side, from their `metrics.json`: one table and overlaid curves, on one page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluate.report.figures import colour, score_curves
from evaluate.report.headlines import FRAME_HEADLINES, VIDEO_HEADLINES, Figures
from evaluate.report.page import environment
from evaluate.report.write import read_metrics
from extract.atomic import write_atomically


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
    write_atomically(out, page)
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
    for headline in (*FRAME_HEADLINES, *VIDEO_HEADLINES):
        values = [headline.value(one) for one in figures]
        intervals = [headline.interval(one) for one in figures]
        yield _row(headline.title, values, headline.explained, intervals, lower=headline.lower_is_better)


def _map_groups(figures: Sequence[Figures]) -> Iterator[tuple[str, list[Row]]]:
    for protocol in ("published", "corrected"):
        known = [one["map"] and one["map"][protocol]["per_iou"] for one in figures]
        thresholds = next((list(found) for found in known if found), [])
        rows = [_row(f"IoU {iou}", [found and found.get(iou) for found in known]) for iou in thresholds]
        if rows:
            yield f"mAP, {protocol}", rows


def _class_groups(figures: Sequence[Figures]) -> Iterator[tuple[str, list[Row]]]:
    by_label = [{entry["label"]: entry for entry in one["per_class"]} for one in figures]
    labels = list(dict.fromkeys(label for classes in by_label for label in classes))
    for field, title, scale in (("map_corrected", "mAP of classes", 1), ("auc", "AUC of classes", 100)):
        found = {label: [classes.get(label, {}).get(field) for classes in by_label] for label in labels}
        rows = [_row(label, [value and scale * value for value in values]) for label, values in found.items()]
        rows = [row for row in rows if any(value is not None for value in row.values)]
        if rows:
            yield title, rows


def _row(
    title: str,
    values: Sequence[float | None],
    explained: str = "",
    intervals: Sequence[tuple[float, float] | None] = (),
    *,
    lower: bool = False,
) -> Row:
    shown = [None if value is None else round(value, 2) for value in values]
    known = [value for value in shown if value is not None]
    best = (min if lower else max)(known, default=None)
    stressed = {index for index, value in enumerate(shown) if value == best} if len(set(known)) > 1 else set()
    return Row(title, explained, tuple(values), tuple(intervals or [None] * len(values)), frozenset(stressed))


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
