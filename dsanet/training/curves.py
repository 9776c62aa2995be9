"""Writer of curves.csv: per training step one row of loss terms and, if validated, validation metrics."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from dsanet.checkpoint import CURVES_FILE
from dsanet.training.selection import METRICS
from extract.atomic import write_atomically


def columns(terms: Sequence[str]) -> tuple[str, ...]:
    """Columns of curves.csv for a detector with these loss terms."""
    return ("epoch", "step", *terms, "total", *METRICS)


class Curves:
    """Appends rows to `out_dir/curves.csv`; keeps the first `step` rows of an interrupted run."""

    def __init__(self, out_dir: Path, step: int, terms: Sequence[str]) -> None:
        self.path, self.columns = out_dir / CURVES_FILE, columns(terms)
        write_atomically(self.path, "".join([",".join(self.columns) + "\n", *self._kept(step)]).encode())

    def write(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Append one row; a column without a value stays empty."""
        row = {"epoch": epoch, "step": step} | dict(values)
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([row.get(column, "") for column in self.columns])

    def _kept(self, step: int) -> list[str]:
        if step == 0 or not self.path.is_file():
            return []
        lines = self.path.read_text().splitlines(keepends=True)
        return lines[1 : step + 1]
