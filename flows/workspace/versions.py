"""The folder of a version, `models/KEY/`: a workspace of its own that shares the features of the first.

model/          the checkpoint; once registered it is never written again
training.json   what it was trained on: videos by content, with the labels of then
scores/         what it makes of the videos
report/         its figures on the test split
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from dsanet.checkpoint import INFO_FILE, read_info
from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.manifest import VideoRecord
from flows.library.library import Video
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace, digest_of

KEY_LENGTH = 16


class Trained(StrictModel):
    """One video of a training set."""

    digest: str
    labels: tuple[str, ...]
    split: str


_TRAINING = TypeAdapter(list[Trained])


class VersionFolder(Workspace):
    """Paths below `models/KEY/` of a workspace."""

    def __init__(self, workspace: Workspace, key: str) -> None:
        super().__init__(workspace.root / "models" / key)
        self.features = workspace.features
        self.training_file = self.root / "training.json"

    @property
    def has_model(self) -> bool:
        """Whether a finished checkpoint lies here."""
        return (self.model / INFO_FILE).is_file()

    def remember_training(self, videos: Iterable[Video]) -> None:
        """Note what the version is trained on."""
        found = [Trained(digest=v.digest, labels=v.labels, split=v.split) for v in videos if v.labels]
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.training_file, _TRAINING.dump_json(found, indent=1))

    def recall_training(self) -> list[Trained]:
        """What the version was trained on; nothing is known of imported weights."""
        return _TRAINING.validate_json(self.training_file.read_bytes())

    def take_over(self, model: Path) -> None:
        """Copy a finished checkpoint here, whole or not at all."""
        draft = self.root / "model.part"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(model, draft, ignore=shutil.ignore_patterns(".*"))
        draft.rename(self.model)

    def run(self, run: Run, videos: Sequence[VideoRecord]) -> Run:
        """A run of this version's own over `videos`: it scores as its checkpoint is meant to."""
        config = run.config.model_copy(update={"infer": read_info(self.model).infer})
        inputs = run.inputs.model_copy(
            update={"config": config, "title": f"{run.inputs.title}, model {self.root.name}"}
        )
        return replace(run, workspace=self, inputs=inputs, videos=videos)


def checkpoint_key(model: Path) -> str:
    """The key of a checkpoint that was trained elsewhere than by a retraining."""
    info = read_info(model)
    return digest_of(info.run_id, info.weights_digest)[:KEY_LENGTH]


def newly_labelled(videos: Iterable[Video], training: Iterable[Trained]) -> list[Video]:
    """The training videos that a version has not seen, or not with these labels."""
    seen = {(one.digest, one.labels) for one in training}
    return [v for v in videos if v.labels and v.split != "test" and (v.digest, v.labels) not in seen]
