"""The folder of a run: the paths in it, `workspace.json`, and its lock.

features/NAME.h5        feature files
model/                  checkpoint
scores/NAME.h5          score files of the test videos
report/                 index.html and metrics.json
workspace.json          manifest, annotations, title and configuration: the inputs of every stage
.cache/                 cache records of the stages
.lock                   lock file: one process at a time works in the folder
"""

from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import ValidationError

from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.display import require_utf8
from extract.errors import InputError, MissingFileError
from flows.workspace.config import PipelineConfig
from flows.workspace.locks import file_lock


class WorkspaceInputs(StrictModel):
    """The content of `workspace.json`. Both paths are absolute."""

    manifest: Path
    annotations: Path | None
    config: PipelineConfig
    title: str


class Workspace:
    """Paths below one folder. Constructing it creates nothing; InputError for a path that is not UTF-8."""

    def __init__(self, root: Path) -> None:
        self.root = require_utf8(root.absolute())
        self.features = self.root / "features"
        self.model = self.root / "model"
        self.scores = self.root / "scores"
        self.report = self.root / "report"
        self.cache = self.root / ".cache"
        self.inputs_file = self.root / "workspace.json"

    def write_inputs(self, inputs: WorkspaceInputs) -> None:
        """Write `workspace.json` atomically."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.inputs_file, inputs.model_dump_json(indent=2) + "\n")

    def read_inputs(self) -> WorkspaceInputs:
        """Read `workspace.json`.

        Raises FileNotFoundError if there is none, and ValueError for one that does not fit this version.
        """
        try:
            return WorkspaceInputs.model_validate_json(self.inputs_file.read_text())
        except FileNotFoundError:
            raise MissingFileError(
                f"{self.root} is not a workspace (no workspace.json); create one with "
                f"`dsanet run` or `dsanet extract --manifest M.csv --out {self.root}`"
            ) from None
        except ValidationError as error:
            raise InputError(
                f"{self.inputs_file} does not fit this version of dsanet ({error.error_count()} unknown or "
                "invalid values); delete it and give --manifest again"
            ) from None

    def locked(self, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the workspace lock.

        While another process holds it: with `wait`, wait; otherwise raise BusyError naming that process.
        """
        advice = "wait for it, or give another --out"
        return file_lock(self.root / ".lock", str(self.root), wait=wait, advice=advice)


def default_annotations(manifest: Path) -> Path | None:
    """The annotations file `M.annotations.csv` beside the manifest `M.csv`, or None if it does not exist."""
    if not manifest.name:  # "." or "/", which the reader of the manifest refuses
        return None
    path = manifest.with_suffix(".annotations.csv")
    return path if path.is_file() else None
