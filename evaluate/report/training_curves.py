"""Charts of a training run's `curves.csv`: columns epoch, step, one per loss term, `total`, and `val_…`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.report.chart_data import Axis, LineChart, Series, line_colour
from extract.errors import InputError
from extract.tables import read_table

Array = NDArray[Any]
Line = tuple[Array, Array]
"""Steps and values."""


@dataclass(frozen=True)
class TrainingCurves:
    """Loss terms and validation metrics by name. Lines differ in their steps, because cells may be empty."""

    losses: Mapping[str, Line]
    validation: Mapping[str, Line]


def read_curves(path: Path) -> TrainingCurves:
    """Read `curves.csv`. Raises MissingFileError, or InputError naming the line with an invalid cell."""
    losses: dict[str, list[tuple[float, float]]] = {}
    validation: dict[str, list[tuple[float, float]]] = {}
    for row in read_table(path, ("step",), exact=True):
        try:
            step = float(row["step"])
            cells = {name: float(cell) for name, cell in row.values.items() if cell}
        except ValueError as error:
            raise InputError(f"{row.where}: invalid row of training curves ({error})") from error
        for name, value in cells.items():
            if name.startswith("val_"):
                validation.setdefault(name.removeprefix("val_"), []).append((step, value))
            elif name not in ("epoch", "step"):
                losses.setdefault(name, []).append((step, value))
    return TrainingCurves(_lines(losses), _lines(validation))


def training_charts(curves_csv: Path) -> list[LineChart]:
    """Loss terms, and validation metrics if there are any, over the steps; empty for a file without rows.

    Raises like `read_curves`.
    """
    curves = read_curves(curves_csv)
    charts = [_chart("Training loss", curves.losses, zero=True), _chart("Validation", curves.validation)]
    return [chart for chart in charts if chart.series]


def _chart(title: str, lines: Mapping[str, Line], *, zero: bool = False) -> LineChart:
    ordered = sorted(lines, key=lambda name: (name != "total", name))
    series = [Series(name, *lines[name], line_colour(index)) for index, name in enumerate(ordered)]
    x = Axis.around("step", [line.x for line in series] or [[]])
    return LineChart(title, series, x, Axis.around("", [line.y for line in series] or [[]], zero=zero))


def _lines(columns: Mapping[str, list[tuple[float, float]]]) -> dict[str, Line]:
    return {name: (np.array(points)[:, 0], np.array(points)[:, 1]) for name, points in columns.items()}
