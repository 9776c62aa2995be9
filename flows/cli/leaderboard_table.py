"""A leaderboard on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from evaluate.report.leaderboard import Leaderboard, LeaderboardRow
from evaluate.report.leaderboard_files import difference_text
from flows.cli.tables import FRAMED, print_line, print_note, print_table


def print_leaderboard(table: Leaderboard, files: Sequence[Path]) -> None:
    """Print the warnings, the figures, the differences from the first run, and the files."""
    for note in (*table.warnings, *table.notes):
        print_note(note)
    titles = [headline.title for headline in table.headlines]
    figures = [(row.name, *(_figure(row, h.key) for h in table.headlines)) for row in table.rows]
    print_table(("method", *titles), figures, numbers=titles, title="test split, in percent", box=FRAMED)
    differences: list[tuple[object, ...]] = [
        (row.name, headline.title, difference_text(margin))
        for row in table.rows
        for headline in table.headlines
        if (margin := row.margins.get(headline.key))
    ]
    if differences:
        heads = ("method", "metric", f"difference from {table.reference}")
        print_table(heads, differences, title="≈: the paired interval includes zero", box=FRAMED)
    for path in files:
        print_line(path)


def _figure(row: LeaderboardRow, key: str) -> str:
    """The value, and the published one in brackets."""
    if key not in row.figures:
        return "–"
    published = "/".join(f"{value:.2f}" for value in row.published_figures(key))
    return f"{row.figures[key]:.2f}" + (f" [{published}]" if published else "")
