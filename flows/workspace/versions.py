"""The folder of a model version, `models/KEY/`: a workspace that shares the feature files of the main one.

model/          the checkpoint; never written again once it is registered
training.json   the training set: digest, labels and split of each video, as they were then
scores/         its score files
report/         its metrics and report on the test split
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dsanet.checkpoint_info import INFO_FILE, complete_save, read_info
from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.manifest import VideoRecord
from flows.workspace.run import Run, digest_of
from flows.workspace.workspace import Workspace

KEY_LENGTH = 16


class TrainingVideo(StrictModel):
    """One video of a training set. `digest` is the sha256 of the video file."""

    digest: str
    labels: tuple[str, ...]
    split: str


_TRAINING_SET = TypeAdapter(list[TrainingVideo])


class VersionFolder(Workspace):
    """Paths below `models/KEY/` of a workspace."""

    def __init__(self, workspace: Workspace, key: str) -> None:
        super().__init__(workspace.root / "models" / key, workspace.copy)
        self.features = workspace.features
        self.training_file = self.root / "training.json"

    @property
    def has_model(self) -> bool:
        """True if the folder has a finished checkpoint."""
        return (self.model / INFO_FILE).is_file()

    def write_training_set(self, videos: Iterable[TrainingVideo]) -> None:
        """Write `training.json` atomically."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.training_file, _TRAINING_SET.dump_json(list(videos), indent=1))

    @property
    def has_training_set(self) -> bool:
        """True if `training.json` exists and is valid."""
        return self._training_set() is not None

    def read_training_set(self) -> list[TrainingVideo]:
        """Read `training.json`; the list is empty if the training set is unknown.

        It is unknown for imported weights, and if the file is lost in the registry too.
        """
        return self._training_set() or []

    def _training_set(self) -> list[TrainingVideo] | None:
        try:
            return _TRAINING_SET.validate_json(self.training_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def copy_model(self, model: Path) -> None:
        """Copy a finished checkpoint folder to `model/`, atomically."""
        complete_save(model)
        draft = self.root / "model.part"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(model, draft, ignore=shutil.ignore_patterns(".*"))
        draft.rename(self.model)

    def run(self, run: Run, videos: Sequence[VideoRecord]) -> Run:
        """`run` moved to this folder and these videos, with the inference settings of its checkpoint."""
        config = run.config.model_copy(update={"infer": read_info(self.model).infer})
        inputs = run.inputs.model_copy(
            update={"config": config, "title": f"{run.inputs.title}, model {self.root.name}"}
        )
        return replace(run, workspace=self, inputs=inputs, videos=videos)


def checkpoint_key(model: Path) -> str:
    """Key of a checkpoint that no retraining has made: a digest of its run id and weights."""
    info = read_info(model)
    return digest_of(info.run_id, info.weights_digest)[:KEY_LENGTH]
