"""The model registry of a workspace, in MLflow: versions, the aliases `champion` and `challenger`, rollback.

Registration is atomic: the training run with its parameters, curves, metrics and files is written first, the
version last. A version's key is a digest of its training inputs; registering the same key again returns the
existing version.

A promotion is atomic too, although it takes several writes: a note of the whole change is written first, then
the alias `champion` moves (the commit), then the rest follows. Readers combine the note with the alias: after
a kill they see the state before the commit, or the complete one after it.

The store is `mlflow.db` and `mlartifacts/` in the workspace, unless MLFLOW_TRACKING_URI is set. MLflow takes
seconds to import, so it is imported on first use.
"""

import logging
import os
import shutil
import uuid
import warnings
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SADeprecationWarning

from extract.atomic import write_atomically
from extract.errors import InputError, MissingFileError
from flows.server.prefect_defaults import set_environment_defaults
from flows.workspace.decision import Decision
from flows.workspace.locks import file_lock
from flows.workspace.registered_versions import (
    CHALLENGER,
    CHAMPION,
    DECISION,
    PROMOTION,
    REPLACED,
    WITHDRAWN,
    Promotion,
    Version,
    noted_promotion,
    read_version,
    with_promotion,
)
from flows.workspace.training_runs import KEY, TrainingRecord, write_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MODEL_FOLDER, REPORT_FOLDER = "model", "report"


class RegistryLostError(InputError):
    """The workspace has model versions, but its registry knows none of them."""


class Registry:
    """The model registry of one workspace."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        # MLflow reads the setting that disables its telemetry when it is imported.
        set_environment_defaults()

    def versions(self) -> list[Version]:
        """All versions, the oldest first; empty before the first registration."""
        if not self._name_file.is_file() or self._database_is_missing:
            return []
        model = self._registered_model()
        if model is None:
            return []
        found = self._client.search_model_versions(f"name='{self.name}'", max_results=10_000)
        versions = sorted((read_version(one, model.aliases) for one in found), key=lambda one: one.number)
        return list(with_promotion(versions, noted_promotion(model)))

    def find(self, reference: str) -> Version:
        """The version with this alias, number or key.

        Raises ValueError if there is none, and RegistryLostError if the registry is lost.
        """
        versions = self.versions()
        for version in versions:
            if reference in (*version.aliases, str(version.number), version.key):
                return version
        self.check_not_lost()
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

    def check_not_lost(self) -> None:
        """Raises RegistryLostError if the database was deleted or replaced, or another one is in use.

        The registry's name is written after its database exists, so a name without a database shows that the
        database was deleted. A killed first registration leaves one version folder without a version.
        """
        folders = len(list(self._root.glob("models/*/training.json")))
        named = self._name_file.is_file()
        if self.versions() or not ((named and self._database_is_missing) or folders > 1):
            return
        store = os.environ.get("MLFLOW_TRACKING_URI") or self._root / "mlflow.db"
        raise RegistryLostError(
            f"the model registry of {self._root} is lost: {store} has no version of this workspace, but "
            f"models/ has {folders} version folders; restore mlflow.db, mlartifacts/ and models/name from a "
            "backup, set MLFLOW_TRACKING_URI, or begin a new registry from these folders with "
            "`dsanet retrain --new-registry`"
        )

    def register(self, training: TrainingRecord) -> Version:
        """Register a finished training; returns the existing version if its key is registered already."""
        if found := self.by_key(training.key):
            return found
        run_id = write_run(self._client, self._experiment(), training)
        if self._registered_model() is None:
            self._client.create_registered_model(self.name)
        source = f"runs:/{run_id}/{MODEL_FOLDER}"
        tags = {KEY: training.key}
        made = self._client.create_model_version(self.name, source, run_id=run_id, tags=tags)
        return read_version(made, {})

    def set_challenger(self, version: Version) -> None:
        """Move the alias `challenger` to a version."""
        self._client.set_registered_model_alias(self.name, CHALLENGER, str(version.number))

    def record_decision(self, version: Version, decision: Decision) -> None:
        """Store the gate's decision: its figures as metrics of the training run, then itself as a tag."""
        for name, figure in decision.figures.items():
            for side in ("champion", "challenger", "difference"):
                self._client.log_metric(version.run_id, f"gate_{name}_{side}", getattr(figure, side))
        self._tag(version, DECISION, decision.model_dump_json(by_alias=True, exclude_defaults=True))

    def promote(self, version: Version, *, by_hand: bool = False, instead_of: Version | None = None) -> bool:
        """Make a version the champion, atomically; the previous champion's key is stored with it.

        With `by_hand` the previous champion is withdrawn: the gate does not promote it again. With
        `instead_of`, nothing is changed and False is returned if that version is not the champion any more.
        """
        with self._lock():
            self._finish_promotion()
            champion = self.champion()
            if instead_of is not None and (champion is None or champion.key != instead_of.key):
                return False
            if champion is None or champion.key != version.key:
                replaced = champion.key if champion else ""
                self._move_champion(
                    Promotion(to=version.key, replaced=replaced, withdrawn=replaced if by_hand else "")
                )
            return True

    def roll_back(self) -> Version:
        """Withdraw the champion and make its predecessor champion again; returns the predecessor.

        Raises ValueError if there is no champion or no predecessor.
        """
        self.find(CHAMPION)  # raises before a lock file is made in a folder that is no workspace
        with self._lock():
            self._finish_promotion()
            champion = self.find(CHAMPION)
            if not champion.replaced:
                raise InputError(
                    f"version {champion.number} is the first champion, so there is no version to roll back to"
                )
            predecessor = self.find(champion.replaced)
            self._move_champion(
                Promotion(to=predecessor.key, replaced=predecessor.replaced, withdrawn=champion.key)
            )
        return self.find(predecessor.key)

    def finish_promotion(self) -> None:
        """Complete the writes of a promotion that was killed after its commit."""
        with self._lock():
            self._finish_promotion()

    def download_model(self, version: Version, folder: Path) -> None:
        """Download a version's checkpoint; `folder` is its model folder and is named `model`."""
        self.download(version, MODEL_FOLDER, folder.parent)

    def download(self, version: Version, artifact: str, folder: Path) -> None:
        """Download a file or folder of a version's training run into `folder`.

        Raises FileNotFoundError if the store does not have it.
        """
        from mlflow.exceptions import MlflowException

        folder.mkdir(parents=True, exist_ok=True)
        own = self._root / "mlartifacts" / version.run_id / "artifacts" / artifact
        try:
            if own.is_dir():  # MLflow would look for it in the folder where the workspace was at first
                shutil.copytree(own, folder / artifact, dirs_exist_ok=True)
            elif own.is_file():
                shutil.copy2(own, folder)  # its time orders the versions of a new registry
            else:
                self._client.download_artifacts(version.run_id, artifact, str(folder))
        except (MlflowException, OSError) as error:
            log.debug("download of %s: %s", artifact, error)
        if not (folder / artifact).exists():
            raise MissingFileError(
                f"the registry has no {artifact} of version {version.number}; restore mlartifacts/ from a "
                "backup"
            )

    # --- MLflow ---------------------------------------------------------------------------------------------

    @cached_property
    def name(self) -> str:
        """Name of the registered model in MLflow. It is stored, so it stays when the workspace is moved."""
        if not self._name_file.is_file():
            self._name_file.parent.mkdir(parents=True, exist_ok=True)
            self._client.search_registered_models(max_results=1)  # creates the database: see check_not_lost
            write_atomically(self._name_file, f"dsanet-{self._root.name}-{uuid.uuid4().hex[:8]}\n")
        return self._name_file.read_text().strip()

    @property
    def _name_file(self) -> Path:
        return self._root / "models" / "name"

    def _lock(self) -> AbstractContextManager[None]:
        """Hold the lock of promotions, which `dsanet models` takes while a run holds the workspace."""
        return file_lock(self._root / "models" / ".lock", f"the model registry of {self._root}", wait=True)

    @cached_property
    def _client(self) -> "MlflowClient":
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self._database}"
        with warnings.catch_warnings():
            # The warnings are about the tables of MLflow and Prefect.
            warnings.simplefilter("ignore", SADeprecationWarning)
            from mlflow import MlflowClient

            return MlflowClient(tracking_uri=uri, registry_uri=uri)

    @property
    def _database(self) -> Path:
        return self._root / "mlflow.db"

    @property
    def _database_is_missing(self) -> bool:
        """True if the workspace's own database does not exist; a query would create an empty one."""
        return "MLFLOW_TRACKING_URI" not in os.environ and not self._database.is_file()

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

    def _move_champion(self, promotion: Promotion) -> None:
        """Note the change, move the alias (the commit), and complete the rest."""
        number = str(self.find(promotion.to).number)
        self._client.set_registered_model_tag(self.name, PROMOTION, promotion.model_dump_json())
        self._client.set_registered_model_alias(self.name, CHAMPION, number)
        self._finish_promotion()

    def _finish_promotion(self) -> None:
        """Store a committed promotion in the tags of its versions, and delete its note."""
        model = self._registered_model()
        if model is None:
            return
        note = noted_promotion(model)
        champion = self.champion()
        if note is not None and champion is not None and champion.key == note.to:
            self._tag(champion, REPLACED, note.replaced)
            self._tag(champion, WITHDRAWN, "")
            if note.withdrawn:
                self._tag(self.find(note.withdrawn), WITHDRAWN, "yes")
        if champion is not None and model.aliases.get(CHALLENGER) == model.aliases[CHAMPION]:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)
        if note is not None:
            self._client.delete_registered_model_tag(self.name, PROMOTION)

    def _tag(self, version: Version, tag: str, value: str) -> None:
        self._client.set_model_version_tag(self.name, str(version.number), tag, value)
