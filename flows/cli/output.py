"""Output of the commands on the terminal: figures, scores, listings, and the paths of written files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extract.display import MOST_NAMES, format_time
from extract.inspect import timing_lines
from flows.cli.tables import FRAMED, print_failure, print_line, print_note, print_table
from flows.workspace.workspace import Workspace

if TYPE_CHECKING:
    from datetime import datetime

    from evaluate.report.standings import Spread, Standing
    from extract.failures import Failure
    from extract.inspect import FeatureSummary
    from flows.library.labels import QueueItem
    from flows.library.records import Problem
    from flows.pipeline.reproduce import Reproduction
    from flows.pipeline.score import ScoredVideo
    from flows.workspace.registered_versions import Version

FRAME_FIGURES = {"auc": "AUC", "ap": "AP", "anomaly_auc": "Ano-AUC", "far": "FAR"}
BENCH_FIGURES = ("auc", "ap", "anomaly_auc", "map_corrected", "accuracy")
"""The figures of a benchmark that fit on a terminal; its files have all."""
MINUTE = "%Y-%m-%d %H:%M"
MOST_ROWS = 100
"""Rows of the table of intervals; `intervals.csv` has all."""


def print_metrics(out: Path) -> None:
    """Print the headline figures of a workspace's report, its notes and its files.

    Figures that are undefined are left out, and a note names each with the reason.
    """
    from evaluate.report.headlines import EVENTS_FOUND, FRAME_HEADLINES, VIDEO_HEADLINES, missing_notes

    workspace = Workspace(out)
    report = workspace.report
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    for note in (*metrics["notes"], *missing_notes(metrics, FRAME_FIGURES)):
        print_note(note)
    frames = {FRAME_FIGURES.get(h.key): h.value(metrics) for h in FRAME_HEADLINES if h.key in FRAME_FIGURES}
    events = EVENTS_FOUND[1.0]
    _print_figures("test split, frame level", frames | {events.title: events.value(metrics)})
    if metrics["auc"] is None:
        _print_figures("test split, video level", {h.title: h.value(metrics) for h in VIDEO_HEADLINES[:4]})
    if causal := metrics.get("causal"):
        shown = (*FRAME_HEADLINES[:4], events) if causal["auc"] is not None else VIDEO_HEADLINES[:4]
        figures = [(FRAME_FIGURES.get(h.key, h.title), h.value(causal)) for h in shown]
        _print_figures("test split, causal scores", dict(figures))
    print_line(f"report   {report / 'index.html'}")
    print_line(f"metrics  {report / 'metrics.json'}")
    if workspace.address:
        print_line(f"store    {workspace.address}")


def _print_figures(
    title: str, figures: Mapping[str | None, float | None] | Mapping[str, float | None]
) -> None:
    known = {str(name): f"{value:.2f} %" for name, value in figures.items() if value is not None}
    if known:
        print_table(list(known), [list(known.values())], numbers=known, title=title, box=FRAMED)


def print_scored(
    scored: "Sequence[ScoredVideo]", failures: "Sequence[Failure]", notes: Sequence[str], out: Path
) -> None:
    """Print the notes on the model, the anomalous intervals, the failed videos and the files in `out`."""
    for note in notes:
        print_note(note)
    rows = [row for video in scored for row in _interval_rows(video)]
    headings = ("video", "start", "end", "class", "score")
    if rows:
        print_table(
            headings,
            rows[:MOST_ROWS],
            numbers=("start", "end", "score"),
            title="anomalous intervals",
            box=FRAMED,
        )
    if len(rows) > MOST_ROWS:
        print_line(
            f"{len(rows) - MOST_ROWS:,} more rows in {out / 'intervals.csv'} and below {out / 'scores'}"
        )
    for failure in failures[:MOST_NAMES]:
        print_failure("failed", f"{failure.path}: {failure.reason}")
    if len(failures) > MOST_NAMES:
        print_failure(
            "failed", f"{len(failures) - MOST_NAMES:,} more, see {out / 'features' / 'failures.csv'}"
        )
    if scored:
        print_line(f"picture  {out / 'timeline.png'}")
        print_line(f"table    {out / 'intervals.csv'}")


def _interval_rows(video: "ScoredVideo") -> Iterator[tuple[str, ...]]:
    for i in video.intervals:
        yield video.scores.name, format_time(i.start_s), format_time(i.end_s), i.label, f"{i.score:.3f}"
    if not video.intervals:
        yield video.scores.name, "–", "–", "nothing above the threshold", ""


def print_features(summaries: "Sequence[FeatureSummary]") -> None:
    """Print a table of feature files, the damaged ones, and the encoders that made them."""
    rows = []
    encoders = {}
    for one in summaries:
        if (meta := one.meta) is not None:
            encoder = meta.encoder.digest[:6]
            encoders[encoder] = meta.encoder
            counts = (one.snippets, meta.config.crops, meta.source.n_frames, f"{meta.source.fps:.2f}")
            rows.append((one.name, *counts, meta.source.codec, meta.decoder, encoder))
    numbers = ("snippets", "crops", "frames", "fps")
    print_table(("video", *numbers, "codec", "decoder", "encoder"), rows, numbers=numbers)
    for line in timing_lines({one.name: one.meta.source.timing for one in summaries if one.meta}):
        print_note(line)
    for one in summaries:
        if one.problem:
            print_failure("damaged", one.problem)
    for short, fingerprint in encoders.items():
        print_line(f"encoder {short}: {fingerprint!r}")


def print_label_queue(items: "Sequence[QueueItem]") -> None:
    """Print the videos without labels, with the champion's score of each."""
    rows = []
    for item in items:
        score = item.score
        columns = (
            (f"{score.entropy:.2f}", f"{score.anomaly:.3f}", score.predicted) if score else ("–", "–", "–")
        )
        rows.append((item.video.name, *columns, item.video.path))
    print_table(("video", "entropy", "score", "class", "path"), rows, numbers=("entropy", "score"))


def print_problems(problems: "Sequence[Problem]", failures: "Sequence[Failure]", most: int) -> None:
    """Print the videos that could not be read: counts by reason, then the first `most` with their tries."""
    from flows.library.problems import grouped_by_reason

    reasons = [(p.video.name, p.video.problem) for p in problems] + [(f.name, f.reason) for f in failures]
    groups = [(len(group.files), group.reason) for group in grouped_by_reason(reasons)]
    if groups:
        print_table(("videos", "reason"), groups, numbers=("videos",))
    rows: list[tuple[object, ...]] = [
        (p.video.name, p.attempts, _minute(p.tried_at), _minute(p.next_at), p.video.path, p.video.problem)
        for p in problems[:most]
    ]
    rows += [
        (f.name, f.attempts or "–", _minute(f.tried_at), _minute(f.next_at), f.path, f.reason)
        for f in failures[: most - len(rows)]
    ]
    if rows:
        print_table(("video", "tries", "last try", "next try", "file", "reason"), rows, numbers=("tries",))
    if (more := len(problems) + len(failures) - len(rows)) > 0:
        print_line(f"{more:,} more; --most prints more")


def _minute(time: "datetime | None") -> str:
    """A time to the minute; `next run` where none is recorded, in lists of earlier versions."""
    return f"{time:{MINUTE}}" if time else "next run"


def print_versions(versions: "Sequence[Version]") -> None:
    """Print the versions of a workspace's model, with the gate's decision on each."""
    rows = []
    for version in versions:
        gate = f"{version.verdict}, {version.decision.reason}" if version.decision else version.verdict
        if version.withdrawn:
            gate += " (taken out of service by hand)"
        made = f"{version.created:{MINUTE}}"
        rows.append((version.number, ", ".join(version.aliases), made, f"models/{version.key}", gate))
    print_table(("version", "alias", "made", "folder", "gate"), rows, numbers=("version", "made"))


def print_settings(values: Mapping[str, object], prefix: str = "") -> None:
    """Print nested settings as `key.path=value` lines, values as JSON."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            print_settings(value, f"{prefix}{key}.")
        else:
            print(f"{prefix}{key}={json.dumps(value)}")


def print_standings(rows: "Sequence[Standing]", page: Path) -> None:
    """Print a benchmark: figures by model, the comparison with DSANet and costs, published results, files."""
    _print_bench_figures(rows)
    _print_costs(rows)
    for row in rows:
        for result in row.published:
            print_line(f"published  {row.name}: {result}")
    for path in (page, page.with_name("standings.csv"), page.with_name("standings.json")):
        print_line(path)


def _print_bench_figures(rows: "Sequence[Standing]") -> None:
    from evaluate.report.standings import HEADLINES

    seeds = max(row.seeds for row in rows)
    title = f"test split, {f'mean ± deviation over {seeds} seeds' if seeds > 1 else 'one seed'}"
    shown = [h for h in HEADLINES if h.key in BENCH_FIGURES and any(h.key in row.figures for row in rows)]
    figures = [headline.title for headline in shown]
    cells = [(row.name, *(_spread(row.figures.get(headline.key)) for headline in shown)) for row in rows]
    print_table(("model", *figures), cells, numbers=figures, title=title, box=FRAMED)


def _print_costs(rows: "Sequence[Standing]") -> None:
    from evaluate.report.standings import COMPARED

    compared = next((key for key in COMPARED if any(key in row.margins for row in rows)), "")
    cells = []
    for row in rows:
        margin = row.margins.get(compared)
        difference = f"{margin.difference:+.1f} ({margin.low:+.1f} to {margin.high:+.1f})" if margin else ""
        training = "–" if row.train_s is None else f"{row.train_s:.1f} s"
        cells.append((row.name, difference, f"{row.parameters:,}", training, f"{row.snippets_per_s:,.0f}"))
    numbers = (compared.upper(), "parameters", "training", "snippets/s")
    title = "difference from dsanet, and costs"
    print_table(("model", *numbers), cells, numbers=numbers, title=title, box=FRAMED)


def _spread(spread: "Spread | None") -> str:
    if spread is None:
        return "–"
    return f"{spread.mean:.1f}" + ("" if spread.deviation is None else f" ±{spread.deviation:.1f}")


def print_reproduction(result: "Reproduction") -> None:
    """Print the figures beside the paper's and those of others, the notes, and the reports."""
    for note in result.notes:
        print_note(note)
    selections = list(result.reports)
    rows = [
        (
            one.figure,
            *(_mean_and_spread(one.ours[title]) for title in selections),
            "" if one.paper is None else f"{one.paper:.2f}",
            ", ".join(f"{other['value']:.2f}" for other in one.reported),
        )
        for one in result.figures
    ]
    print_table(
        ("figure", *selections, "paper", "others"),
        rows,
        numbers=(*selections, "paper"),
        title="published test set, percent",
        box=FRAMED,
    )
    for note in dict.fromkeys(f"{one.figure}: {one.note}" for one in result.figures if one.note):
        print_note(note)
    for source in dict.fromkeys(other["source"] for one in result.figures for other in one.reported):
        print_line(f"others   {source}")
    for title, folders in result.reports.items():
        for folder in folders:
            print_line(f"report   {folder / 'index.html'}" + (f" ({title})" if len(selections) > 1 else ""))


def _mean_and_spread(value: "tuple[float, float | None] | None") -> str:
    if value is None:
        return "–"
    return f"{value[0]:.2f}" if value[1] is None else f"{value[0]:.2f} ± {value[1]:.2f}"
