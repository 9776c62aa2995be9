"""curves.csv: one row a training step, written as it goes, with validation figures where there are any."""

import csv
from collections.abc import Mapping
from pathlib import Path

from dsanet.checkpoint import write_atomically
from dsanet.losses import TERMS
from dsanet.selection import METRICS

CURVES_FILE = "curves.csv"
COLUMNS = ("epoch", "step", *TERMS, "total", *METRICS)


class Curves:
    """Appends rows to `out_dir`/curves.csv, after those of the first `step` steps of an interrupted run."""

    def __init__(self, out_dir: Path, step: int) -> None:
        self.path = out_dir / CURVES_FILE
        write_atomically(self.path, "".join([",".join(COLUMNS) + "\n", *self._kept(step)]).encode())

    def write(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """One row; a column without a value stays empty."""
        row = {"epoch": epoch, "step": step} | dict(values)
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([row.get(column, "") for column in COLUMNS])

    def _kept(self, step: int) -> list[str]:
        if step == 0 or not self.path.is_file():
            return []
        lines = self.path.read_text().splitlines(keepends=True)
        return lines[1 : step + 1]
