"""A finished training as an MLflow run: parameters, curves, figures and files."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.tables import read_table

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "dsanet.key"
"""Tag of runs and model versions: the key of the version."""
_MAX_METRICS = 1000  # MLflow's limit per request


@dataclass(frozen=True)
class TrainingRecord:
    """A finished training as the registry stores it."""

    key: str
    title: str
    params: Mapping[str, Any]
    curves_csv: Path
    metrics: Mapping[str, float]
    files: Iterable[tuple[Path, str]] = field(default=())
    """Pairs of a file or folder and its artifact path; an empty artifact path is the root."""


def write_run(client: "MlflowClient", experiment: str, training: TrainingRecord) -> str:
    """Write the MLflow run of a training; returns its id. Runs of killed registrations are deleted."""
    from mlflow.entities import Metric, Param

    for unfinished in client.search_runs([experiment], f"tags.`{KEY}` = '{training.key}'"):
        client.delete_run(unfinished.info.run_id)
    made = client.create_run(experiment, run_name=training.title, tags={KEY: training.key})
    run_id = str(made.info.run_id)
    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in _flatten(training.params)])
    # Metric(name, value, time, step): the times of the curve points are not known.
    metrics = [Metric(name, value, 0, step) for name, value, step in _read_curves(training.curves_csv)]
    metrics += [Metric(name, value, 0, 0) for name, value in training.metrics.items()]
    for start in range(0, len(metrics), _MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS])
    for path, artifact_path in training.files:
        log = client.log_artifacts if path.is_dir() else client.log_artifact
        log(run_id, str(path), artifact_path)
    client.set_terminated(run_id)
    return run_id


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested mappings as pairs of a dotted path and a value; lists as JSON."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _read_curves(path: Path) -> Iterable[tuple[str, float, int]]:
    """Name, value and step of every point of the training curves; none for imported weights."""
    if not path.is_file():
        return
    for row in read_table(path, ("step",), exact=True):
        for name, value in row.values.items():
            if name != "step" and value:
                yield name, float(value), int(row["step"])
