"""The folder of a run: where each stage's output lies, what it was made from, and who works in it now.

features/NAME.h5   model/   scores/NAME.h5   report/index.html   report/metrics.json
workspace.json     the manifest, the annotations and the configuration, so that a single stage can be
                   rerun without giving them again
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from flows.workspace.config import PipelineConfig
from flows.workspace.locks import held


class WorkspaceInputs(StrictModel):
    """What `workspace.json` holds."""

    manifest: Path
    annotations: Path | None
    config: PipelineConfig
    title: str


class Workspace:
    """Paths below one folder. Nothing is created before it is written to."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.features = self.root / "features"
        self.model = self.root / "model"
        self.scores = self.root / "scores"
        self.report = self.root / "report"
        self.cache = self.root / ".cache"
        self.inputs_file = self.root / "workspace.json"

    def remember(self, inputs: WorkspaceInputs) -> None:
        """Write `workspace.json` atomically."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.inputs_file, inputs.model_dump_json(indent=2) + "\n")

    def recall(self) -> WorkspaceInputs:
        """Read `workspace.json`. Raises FileNotFoundError or ValueError saying what to do."""
        try:
            return WorkspaceInputs.model_validate_json(self.inputs_file.read_text())
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.root} is no workspace yet (no workspace.json); begin with "
                f"`dsanet run` or `dsanet extract --manifest M.csv --out {self.root}`"
            ) from None
        except ValidationError as error:
            raise ValueError(
                f"{self.inputs_file} is not what this version writes ({error.error_count()} unknown or bad "
                "values); give --manifest again to write it anew"
            ) from None

    def locked(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the folder for one process. Where it is taken: wait, or raise BusyError naming the holder."""
        advice = "wait for it, or give another --out"
        return held(self.root / ".lock", str(self.root), wait=wait, advice=advice)


def default_annotations(manifest: Path) -> Path | None:
    """`M.annotations.csv` beside `M.csv`, if it is there."""
    path = manifest.with_suffix(".annotations.csv")
    return path if path.is_file() else None


def check_trainable(records: Sequence[VideoRecord]) -> None:
    """Weak supervision learns from normal and anomalous videos; raises ValueError unless there are both."""
    training = [record for record in records if record.split == "train"]
    if not training:
        raise ValueError("the manifest has no video of split `train`, so there is nothing to learn from")
    normal = [record for record in training if record.labels == (NORMAL,)]
    if len(normal) in (0, len(training)):
        kind = "normal" if normal else "anomalous"
        raise ValueError(f"every training video is {kind}: training needs normal and anomalous videos")


def check_testable(records: Sequence[VideoRecord]) -> None:
    """Raises ValueError if there is no test video."""
    if not any(record.split == "test" for record in records):
        raise ValueError("the manifest has no video of split `test`, so there is nothing to measure on")


def file_digest(path: Path) -> str | None:
    """sha256 of a file's bytes, None where there is no file."""
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of(*values: object) -> str:
    """sha256 of JSON-able values (pydantic models too): what cache keys and references are made of."""
    text = json.dumps(values, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
