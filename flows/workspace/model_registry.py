"""The models of a workspace in MLflow's registry: versions, `champion` and `challenger`, one step back.

A version exists in whole or not at all: its training run with all parameters, curves, metrics and files is
written first, the version itself last, under a key that names what it was made from. Done twice, it is one.
The store is `mlflow.db` and `mlartifacts/` in the workspace, or what MLFLOW_TRACKING_URI says. MLflow takes
seconds to import and is imported when first asked.
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

from flows.server import prefect_defaults
from flows.workspace.decision import Decision

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
KEY, DECISION, REPLACED, WITHDRAWN = "dsanet.key", "dsanet.decision", "dsanet.replaced", "dsanet.withdrawn"
MODEL_FOLDER, REPORT_FOLDER = "model", "report"
_MAX_METRICS = 1000  # of one request


@dataclass(frozen=True)
class Version:
    """A registered model. `key` names what it was made from, and the folder with its files."""

    number: int
    key: str
    aliases: tuple[str, ...]
    created: datetime
    run_id: str
    decision: Decision | None
    """How the gate judged it, if it has."""
    replaced: str
    """Key of the champion whose place it took; empty where there was none."""
    withdrawn: bool
    """Taken out of service by hand: never promoted again but by hand."""


@dataclass(frozen=True)
class Training:
    """All of a training that the registry keeps. `files` are folders or files by where they go."""

    key: str
    title: str
    params: Mapping[str, Any]
    curves_csv: Path
    metrics: Mapping[str, float]
    files: Iterable[tuple[Path, str]] = field(default=())


class Registry:
    """The versions of one workspace's model."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        for (
            variable,
            value,
        ) in prefect_defaults.DEFAULTS.items():  # before MLflow's first import, which phones home
            os.environ.setdefault(variable, value)

    @property
    def is_begun(self) -> bool:
        """Whether anything was ever registered from here."""
        return self._name_file.is_file()

    def versions(self) -> list[Version]:
        """All of them, the oldest first. Aliases included."""
        if not self.is_begun:
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

    def find(self, what: str) -> Version:
        """By alias, number or key. Raises ValueError where there is none."""
        versions = self.versions()
        for version in versions:
            if what in (*version.aliases, str(version.number), version.key):
                return version
        known = [
            *(alias for one in versions for alias in one.aliases),
            *(str(one.number) for one in versions),
        ]
        there = (
            f"there are {', '.join(known)}" if known else "nothing is registered yet: run `dsanet retrain`"
        )
        raise ValueError(f"no model {what!r} in {self._root}; {there}")

    def champion(self) -> Version | None:
        """The version in service."""
        return next((one for one in self.versions() if CHAMPION in one.aliases), None)

    def by_key(self, key: str) -> Version | None:
        """The version that was made from what `key` names."""
        return next((one for one in self.versions() if one.key == key), None)

    def register(self, training: Training) -> Version:
        """Keep a finished training; the version that is there already, if there is one."""
        if found := self.by_key(training.key):
            return found
        run_id = self._record(training)
        if self._registered_model() is None:
            self._client.create_registered_model(self.name)
        source = f"runs:/{run_id}/{MODEL_FOLDER}"
        tags = {KEY: training.key}
        made = self._client.create_model_version(self.name, source, run_id=run_id, tags=tags)
        return _version(made, ())

    def challenge(self, version: Version) -> None:
        """Make it the challenger."""
        self._client.set_registered_model_alias(self.name, CHALLENGER, str(version.number))

    def note(self, version: Version, decision: Decision) -> None:
        """Write the gate's decision and its figures to the version and to its run."""
        self._tag(version, DECISION, decision.model_dump_json(by_alias=True))
        for name, one in decision.figures.items():
            for side in ("champion", "challenger", "difference"):
                self._client.log_metric(version.run_id, f"gate_{name}_{side}", getattr(one, side))

    def promote(self, version: Version, *, by_hand: bool = False) -> None:
        """Make it the champion, in one step; who was it until now is remembered.

        By hand that one is taken out of service for good: the gate will not bring it back.
        """
        champion = self.champion()
        if champion is None or champion.key != version.key:
            if champion and by_hand:
                self._tag(champion, WITHDRAWN, "yes")
            self._tag(version, REPLACED, champion.key if champion else "")
            self._tag(version, WITHDRAWN, "")
            self._client.set_registered_model_alias(self.name, CHAMPION, str(version.number))
        self.tidy()

    def roll_back(self) -> Version:
        """Put the champion's predecessor into service again; returns it. Raises ValueError without one."""
        champion = self.find(CHAMPION)
        if not champion.replaced:
            raise ValueError(f"version {champion.number} is the first champion: there is none to go back to")
        predecessor = self.find(champion.replaced)
        self._tag(champion, WITHDRAWN, "yes")
        self._client.set_registered_model_alias(self.name, CHAMPION, str(predecessor.number))
        return self.find(champion.replaced)

    def tidy(self) -> None:
        """A champion is not its own challenger (after a promotion that was killed half-way)."""
        champion = self.champion()
        if champion is not None and CHALLENGER in champion.aliases:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def fetch(self, version: Version, folder: Path) -> None:
        """Bring back a version's checkpoint into `folder`, which is lost here."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._client.download_artifacts(version.run_id, MODEL_FOLDER, str(folder.parent))

    # --- MLflow ---------------------------------------------------------------------------------------------

    @cached_property
    def name(self) -> str:
        """Of the registered model and the experiment: stays the same when the workspace is moved."""
        if not self._name_file.is_file():
            self._name_file.parent.mkdir(parents=True, exist_ok=True)
            self._name_file.write_text(f"dsanet-{self._root.name}-{uuid.uuid4().hex[:8]}\n")
        return self._name_file.read_text().strip()

    @property
    def _name_file(self) -> Path:
        return self._root / "models" / "name"

    @cached_property
    def _client(self) -> "MlflowClient":
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self._own_store
        with warnings.catch_warnings():
            # Of MLflow's tables, and of Prefect's where they are loaded: nothing that could be changed here.
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
        """Where runs are written. MLflow's own files lie where the experiment began: a moved workspace begins
        another."""
        name, place = self.name, None
        if "MLFLOW_TRACKING_URI" not in os.environ:
            name, place = f"{self.name} in {self._root}", (self._root / "mlartifacts").as_uri()
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=place))

    def _record(self, training: Training) -> str:
        """Write the run of a training; what a killed one has left of it is deleted first."""
        from mlflow.entities import Metric, Param

        experiment = self._experiment()
        for run in self._client.search_runs([experiment], f"tags.`{KEY}` = '{training.key}'"):
            self._client.delete_run(run.info.run_id)
        run_id = str(
            self._client.create_run(experiment, run_name=training.title, tags={KEY: training.key}).info.run_id
        )
        params = [Param(name, str(value)) for name, value in _flat(training.params)]
        self._client.log_batch(run_id, params=params)
        metrics = [
            Metric(name, value, time, step) for name, value, time, step in _curves(training.curves_csv)
        ]
        metrics += [Metric(name, value, 0, 0) for name, value in training.metrics.items()]
        for start in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS])
        for path, place in training.files:
            log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            log(run_id, str(path), place)
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


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(value) if isinstance(value, list | tuple | dict) else value


def _curves(path: Path) -> Iterable[tuple[str, float, int, int]]:
    """Name, value, time (none is known) and step of every point of the training's curves."""
    if not path.is_file():  # of imported weights
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step = int(row["step"])
            for name, value in row.items():
                if name != "step" and value:
                    yield name, float(value), 0, step
