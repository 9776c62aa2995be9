"""`curves.csv` of a training run: columns epoch, step, one per loss term, `total`, and `val_…` figures."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Line = tuple[Array, Array]  # steps, values


@dataclass(frozen=True)
class TrainingCurves:
    """Loss terms and validation figures by name; every line has its own steps, as cells may be empty."""

    losses: Mapping[str, Line]
    validation: Mapping[str, Line]


def read_curves(path: Path) -> TrainingCurves:
    """Raises FileNotFoundError, or ValueError naming the row where a cell is no number."""
    losses: dict[str, list[tuple[float, float]]] = {}
    validation: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                step = float(row["step"])
                cells = {name: float(cell) for name, cell in row.items() if name and cell}
            except (KeyError, ValueError) as error:
                raise ValueError(f"{path}, row {number}: not a row of training curves ({error})") from error
            for name, value in cells.items():
                if name.startswith("val_"):
                    validation.setdefault(name.removeprefix("val_"), []).append((step, value))
                elif name not in ("epoch", "step"):
                    losses.setdefault(name, []).append((step, value))
    return TrainingCurves(_lines(losses), _lines(validation))


def _lines(columns: Mapping[str, list[tuple[float, float]]]) -> dict[str, Line]:
    return {name: (np.array(points)[:, 0], np.array(points)[:, 1]) for name, points in columns.items()}
