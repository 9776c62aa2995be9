"""The files of a leaderboard: an HTML page, a CSV table and a Markdown table beside it."""

import csv
import io
from pathlib import Path

from evaluate.report.chart_data import line_colour
from evaluate.report.charts import curve_charts
from evaluate.report.compare import best_of
from evaluate.report.event_charts import event_charts
from evaluate.report.headlines import Headline
from evaluate.report.leaderboard import Leaderboard, LeaderboardRow
from evaluate.report.margins import Margin
from evaluate.report.page import environment
from evaluate.report.svg import css_colour
from extract.atomic import write_atomically
from extract.errors import InputError

EVEN = "≈"
"""Mark of a difference whose interval includes zero."""
_PARTS = ("", "_low", "_high", "_difference", "_difference_low", "_difference_high", "_includes_zero")


def write_leaderboard(out: Path, table: Leaderboard) -> list[Path]:
    """Write the page `out` (`.html`) and, beside it, the same table as `.csv` and `.md`; return the paths."""
    if out.suffix.lower() != ".html":
        raise InputError(f"--out is {out}, expected a name that ends in .html; the tables get .csv and .md")
    out.parent.mkdir(parents=True, exist_ok=True)
    contents = {".html": page(table), ".csv": csv_table(table), ".md": markdown(table)}
    paths = [out if suffix == ".html" else out.with_suffix(suffix) for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content)
    return paths


def page(table: Leaderboard) -> str:
    """The page as HTML."""
    named = [(run.name, run.metrics) for run in table.runs]
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            table=table,
            colours=[css_colour(line_colour(index)) for index in range(len(named))],
            best={headline.key: best_rows(table, headline) for headline in table.headlines},
            compared=[h for h in table.headlines if any(h.key in row.margins for row in table.rows)],
            even=EVEN,
            signed=signed,
            curves=[*curve_charts(named), *event_charts(named)],
        )
    )


def best_rows(table: Leaderboard, headline: Headline) -> frozenset[int]:
    """Indices of the rows with the best value, none if all are equal."""
    values = [row.figures.get(headline.key) for row in table.rows]
    return best_of(values, lower=headline.lower_is_better)


def csv_table(table: Leaderboard) -> str:
    """One line a run; cells of missing figures are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [headline.key for headline in table.headlines]
    writer.writerow(("name", *(f"{key}{part}" for key in keys for part in (*_PARTS, "_published"))))
    for row in table.rows:
        writer.writerow((row.name, *(cell for key in keys for cell in _cells(row, key))))
    return text.getvalue()


def _cells(row: LeaderboardRow, key: str) -> list[object]:
    low, high = row.intervals.get(key, ("", ""))
    margin = row.margins.get(key)
    differences = [margin.difference, margin.low, margin.high, margin.includes_zero] if margin else [""] * 4
    published = "|".join(f"{value:g}" for value in row.published_figures(key))
    return [row.figures.get(key, ""), low, high, *differences, published]


def markdown(table: Leaderboard) -> str:
    """A table to paste: value, published value in brackets, and the difference with its interval."""
    heads = ["method", *(headline.title for headline in table.headlines)]
    lines = [_line(heads), _line(["---", *["---:"] * len(table.headlines)])]
    lines += [
        _line([_escaped(row.name), *(_markdown_cell(row, headline.key) for headline in table.headlines)])
        for row in table.rows
    ]
    percent = f"{100 * table.confidence:g} %"
    reference = _escaped(table.reference)
    legend = (
        f"In percent. In brackets the published figure. Below it the difference from {reference} with its "
        f"paired {percent} bootstrap interval over videos; {EVEN}: the interval includes zero."
    )
    notes = "".join(f"- {_escaped(note)}\n" for note in (*table.warnings, *table.notes))
    return "\n".join(lines) + f"\n\n{legend}\n" + (f"\n{notes}" if notes else "")


def _markdown_cell(row: LeaderboardRow, key: str) -> str:
    if key not in row.figures:
        return "–"
    published = "/".join(f"{value:.2f}" for value in row.published_figures(key))
    value = f"{row.figures[key]:.2f}" + (f" [{published}]" if published else "")
    return f"{value}<br>{difference_text(row.margins[key])}" if key in row.margins else value


def difference_text(margin: Margin) -> str:
    """For example `≈ +0.31 (-0.40 to +1.02)`, with the mark if the interval includes zero."""
    mark = f"{EVEN} " if margin.includes_zero else ""
    return f"{mark}{signed(margin.difference)} ({signed(margin.low)} to {signed(margin.high)})"


def signed(value: float) -> str:
    """Two decimal places with a sign; what rounds to zero is +0.00."""
    return f"{round(value, 2) + 0.0:+.2f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """A name as Markdown that shows just the name, on one line."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|&" else " " if c in "\r\n" else c for c in text)
