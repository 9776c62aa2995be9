"""The model registry of a workspace, in MLflow: versions, the aliases `champion` and `challenger`, rollback.

Registration is atomic: the training run with its parameters, curves, metrics and files is written first, the
version last. A version's key is a digest of its training inputs; registering the same key again returns the
existing version. The store is `mlflow.db` and `mlartifacts/` in the workspace, unless MLFLOW_TRACKING_URI is
set. MLflow takes seconds to import, so it is imported on first use.
"""

import csv
import json
import os
import uuid
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SADeprecationWarning

from extract.atomic import write_atomically
from extract.errors import InputError
from flows.server.prefect_defaults import set_environment_defaults
from flows.workspace.decision import Decision

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
KEY, DECISION, REPLACED, WITHDRAWN = "dsanet.key", "dsanet.decision", "dsanet.replaced", "dsanet.withdrawn"
MODEL_FOLDER, REPORT_FOLDER = "model", "report"
_MAX_METRICS = 1000  # MLflow's limit per request


@dataclass(frozen=True)
class Version:
    """A registered model version."""

    number: int
    key: str
    """Digest of the training inputs; also the name of its folder below `models/`."""
    aliases: tuple[str, ...]
    created: datetime
    run_id: str
    decision: Decision | None
    """The gate's last decision on it; None before the first."""
    replaced: str
    """Key of the champion before it; empty if there was none or it was never promoted."""
    withdrawn: bool
    """True if it was replaced by hand or rolled back: only `promote(by_hand=True)` promotes it again."""


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


class Registry:
    """The model registry of one workspace."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        # MLflow reads the setting that disables its telemetry when it is imported.
        set_environment_defaults()

    def versions(self) -> list[Version]:
        """All versions, the oldest first; empty before the first registration."""
        if not self._name_file.is_file():
            return []
        model = self._registered_model()
        if model is None:
            return []
        aliases: dict[int, list[str]] = {}
        for alias, number in model.aliases.items():
            aliases.setdefault(int(number), []).append(alias)
        found = self._client.search_model_versions(f"name='{self.name}'", max_results=10_000)
        return sorted(
            (_version(one, aliases.get(int(one.version), ())) for one in found), key=lambda one: one.number
        )

    def find(self, reference: str) -> Version:
        """The version with this alias, number or key. Raises ValueError if there is none."""
        versions = self.versions()
        for version in versions:
            if reference in (*version.aliases, str(version.number), version.key):
                return version
        aliases = [alias for version in versions for alias in version.aliases]
        known = [*aliases, *(str(version.number) for version in versions)]
        expected = (
            f"expected one of {', '.join(known)}"
            if known
            else "nothing is registered yet: run `dsanet retrain`"
        )
        raise InputError(f"no model {reference!r} in {self._root}; {expected}")

    def champion(self) -> Version | None:
        """The version in service, None before the first promotion."""
        return next((version for version in self.versions() if CHAMPION in version.aliases), None)

    def by_key(self, key: str) -> Version | None:
        """The version with this key, or None."""
        return next((version for version in self.versions() if version.key == key), None)

    def register(self, training: TrainingRecord) -> Version:
        """Register a finished training; returns the existing version if its key is registered already."""
        if found := self.by_key(training.key):
            return found
        run_id = self._record(training)
        if self._registered_model() is None:
            self._client.create_registered_model(self.name)
        source = f"runs:/{run_id}/{MODEL_FOLDER}"
        tags = {KEY: training.key}
        made = self._client.create_model_version(self.name, source, run_id=run_id, tags=tags)
        return _version(made, ())

    def set_challenger(self, version: Version) -> None:
        """Move the alias `challenger` to a version."""
        self._client.set_registered_model_alias(self.name, CHALLENGER, str(version.number))

    def record_decision(self, version: Version, decision: Decision) -> None:
        """Store the gate's decision in the version's tags, and its figures as metrics of the training run."""
        self._tag(version, DECISION, decision.model_dump_json(by_alias=True))
        for name, figure in decision.figures.items():
            for side in ("champion", "challenger", "difference"):
                self._client.log_metric(version.run_id, f"gate_{name}_{side}", getattr(figure, side))

    def promote(self, version: Version, *, by_hand: bool = False) -> None:
        """Move the alias `champion` to a version, atomically; the previous champion's key is stored with it.

        With `by_hand` the previous champion is withdrawn: the gate does not promote it again.
        """
        champion = self.champion()
        if champion is None or champion.key != version.key:
            if champion and by_hand:
                self._tag(champion, WITHDRAWN, "yes")
            self._tag(version, REPLACED, champion.key if champion else "")
            self._tag(version, WITHDRAWN, "")
            self._client.set_registered_model_alias(self.name, CHAMPION, str(version.number))
        self.clear_stale_challenger()

    def roll_back(self) -> Version:
        """Withdraw the champion and make its predecessor champion again; returns the predecessor.

        Raises ValueError if there is no champion or no predecessor.
        """
        champion = self.find(CHAMPION)
        if not champion.replaced:
            raise InputError(
                f"version {champion.number} is the first champion, so there is no version to roll back to"
            )
        predecessor = self.find(champion.replaced)
        self._tag(champion, WITHDRAWN, "yes")
        self._client.set_registered_model_alias(self.name, CHAMPION, str(predecessor.number))
        return self.find(champion.replaced)

    def clear_stale_challenger(self) -> None:
        """Remove the alias `challenger` from the champion: a killed promotion leaves both on one version."""
        champion = self.champion()
        if champion is not None and CHALLENGER in champion.aliases:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def download_model(self, version: Version, folder: Path) -> None:
        """Download a version's checkpoint; `folder` is its model folder and is named `model`."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._client.download_artifacts(version.run_id, MODEL_FOLDER, str(folder.parent))

    # --- MLflow ---------------------------------------------------------------------------------------------

    @cached_property
    def name(self) -> str:
        """Name of the registered model in MLflow. It is stored, so it stays when the workspace is moved."""
        if not self._name_file.is_file():
            self._name_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._name_file, f"dsanet-{self._root.name}-{uuid.uuid4().hex[:8]}\n")
        return self._name_file.read_text().strip()

    @property
    def _name_file(self) -> Path:
        return self._root / "models" / "name"

    @cached_property
    def _client(self) -> "MlflowClient":
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self._own_store
        with warnings.catch_warnings():
            # The warnings are about the tables of MLflow and Prefect.
            warnings.simplefilter("ignore", SADeprecationWarning)
            from mlflow import MlflowClient

            return MlflowClient(tracking_uri=uri, registry_uri=uri)

    @property
    def _own_store(self) -> str:
        return f"sqlite:///{self._root / 'mlflow.db'}"

    def _registered_model(self) -> Any:
        found = self._client.search_registered_models(f"name='{self.name}'")
        return found[0] if found else None

    def _experiment(self) -> str:
        """Id of the experiment for training runs, created if needed.

        MLflow stores the artifact folder of an experiment as an absolute path, so a moved workspace gets
        another experiment.
        """
        name, place = self.name, None
        if "MLFLOW_TRACKING_URI" not in os.environ:
            name, place = f"{self.name} in {self._root}", (self._root / "mlartifacts").as_uri()
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=place))

    def _record(self, training: TrainingRecord) -> str:
        """Write the MLflow run of a training; returns its id. Runs of killed registrations are deleted."""
        from mlflow.entities import Metric, Param

        experiment = self._experiment()
        for unfinished in self._client.search_runs([experiment], f"tags.`{KEY}` = '{training.key}'"):
            self._client.delete_run(unfinished.info.run_id)
        run_id = str(
            self._client.create_run(experiment, run_name=training.title, tags={KEY: training.key}).info.run_id
        )
        params = [Param(name, str(value)) for name, value in _flatten(training.params)]
        self._client.log_batch(run_id, params=params)
        # Metric(name, value, time, step): the times of the curve points are not known.
        metrics = [Metric(name, value, 0, step) for name, value, step in _read_curves(training.curves_csv)]
        metrics += [Metric(name, value, 0, 0) for name, value in training.metrics.items()]
        for start in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS])
        for path, artifact_path in training.files:
            log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            log(run_id, str(path), artifact_path)
        self._client.set_terminated(run_id)
        return run_id

    def _tag(self, version: Version, tag: str, value: str) -> None:
        self._client.set_model_version_tag(self.name, str(version.number), tag, value)


def _version(found: "ModelVersion", aliases: Iterable[str]) -> Version:
    tags = found.tags
    return Version(
        number=int(found.version),
        key=tags[KEY],
        aliases=tuple(sorted(aliases)),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, timezone.utc),
        run_id=str(found.run_id),
        decision=Decision.model_validate_json(tags[DECISION]) if tags.get(DECISION) else None,
        replaced=tags.get(REPLACED, ""),
        withdrawn=bool(tags.get(WITHDRAWN)),
    )


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
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step = int(row["step"])
            for name, value in row.items():
                if name != "step" and value:
                    yield name, float(value), step
