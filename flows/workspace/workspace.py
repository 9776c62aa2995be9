"""The folder of a run: the paths in it, `workspace.json`, and its lock.

A workspace in an object store has a working copy on this machine, which is that folder.

features/NAME.h5        feature files
model/                  checkpoint
scores/NAME.h5          score files of the test videos
scores-causal/NAME.h5   their causal scores (evaluate.causal)
report/                 index.html and metrics.json
workspace.json          manifest, annotations, title and configuration: the inputs of every stage
inputs/                 only in an object store: copies of manifest and annotations
.cache/                 cache records of the stages
.lock                   lock file: one process at a time works in the folder
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pydantic import ValidationError

from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.display import require_utf8
from extract.errors import InputError, MissingFileError
from extract.remote.path import AnyPath
from extract.remote.store import is_remote
from flows.workspace.config import PipelineConfig
from flows.workspace.input_lists import keep_lists
from flows.workspace.locks import file_lock
from flows.workspace.path_field import PathField
from flows.workspace.working_copy import WorkingCopy, working_copy

_ADVICE = "wait for it, or give another --out"


class WorkspaceInputs(StrictModel):
    """The content of `workspace.json`. Both paths are absolute, or addresses."""

    manifest: PathField
    annotations: PathField | None
    config: PipelineConfig
    title: str


class Workspace:
    """Paths below one folder. Constructing it creates nothing; InputError for a path that is not UTF-8.

    Of a workspace in an object store, it makes the working copy and takes over what is new in the store,
    except feature files.
    """

    def __init__(self, place: Path, copy: WorkingCopy | None = None) -> None:
        """`place` is a folder, or an address; `copy` is that of the workspace which a folder is a part of."""
        self.address = ""
        """Empty for a folder."""
        if is_remote(place):
            copy = working_copy(place)
            self.address, place = copy.store.address, copy.root
        self.copy = copy
        self.root = require_utf8(place.absolute())
        self.features = self.root / "features"
        self.model = self.root / "model"
        self.scores = self.root / "scores"
        self.causal_scores = self.root / "scores-causal"
        self.report = self.root / "report"
        self.cache = self.root / ".cache"
        self.inputs_file = self.root / "workspace.json"
        if self.copy is not None and self.address:
            self.copy.refresh(feature_files=False)

    @property
    def name(self) -> str:
        """The workspace in messages, and in the options that they propose."""
        return self.address or str(self.root)

    @property
    def place(self) -> Path:
        """The parameter `workspace` of a flow."""
        return Path(self.address) if self.address else self.root

    def with_feature_files(self) -> "Workspace":
        """Itself, after new feature files were taken over from the object store."""
        if self.copy is not None:
            self.copy.refresh(feature_files=True)
        return self

    def part(self, folder: str) -> "Workspace":
        """A workspace in a folder of this one, which shares its feature files."""
        inside = Workspace(self.root / folder, self.copy)
        inside.features = self.features
        return inside

    def file_written(self, path: Path) -> None:
        """Carry a finished feature file to the object store while the run goes on."""
        if self.copy is not None:
            self.copy.file_written(path)

    def synchronise(self) -> None:
        """Carry everything that is finished to the object store; without effect for a folder."""
        if self.copy is not None:
            self.copy.synchronise()

    def write_inputs(self, inputs: WorkspaceInputs) -> WorkspaceInputs:
        """Write `workspace.json` atomically; returns the inputs as they are read from it.

        A workspace in an object store gets copies of manifest and annotations.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        stored = inputs
        if self.address:
            manifest, annotations = keep_lists(self.root, inputs.manifest, inputs.annotations)
            stored = inputs.model_copy(update={"manifest": manifest, "annotations": annotations})
        write_atomically(self.inputs_file, stored.model_dump_json(indent=2) + "\n")
        return self._absolute(stored)

    def _absolute(self, inputs: WorkspaceInputs) -> WorkspaceInputs:
        """The inputs with the paths of files in the workspace made absolute."""
        paths = {name: getattr(inputs, name) for name in ("manifest", "annotations")}
        inside = {name: self.root / path for name, path in paths.items() if path and not is_remote(path)}
        return inputs.model_copy(update=inside)

    def read_inputs(self) -> WorkspaceInputs:
        """Read `workspace.json`.

        Raises FileNotFoundError if there is none, and ValueError for one that does not fit this version.
        """
        try:
            return self._absolute(WorkspaceInputs.model_validate_json(self.inputs_file.read_text()))
        except FileNotFoundError:
            raise MissingFileError(
                f"{self.name} is not a workspace (no workspace.json); create one with "
                f"`dsanet run` or `dsanet extract --manifest M.csv --out {self.name}`"
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
        if self.copy is not None:
            return self.copy.locked(wait=wait, advice=_ADVICE)
        return file_lock(self.root / ".lock", str(self.root), wait=wait, advice=_ADVICE)

    def kept_open(self) -> AbstractContextManager[None]:
        """Hold a workspace in an object store for all of a command, which then compares it once."""
        return nullcontext() if self.copy is None else self.copy.locked(advice=_ADVICE)


def local_folder(place: Path, *, feature_files: bool = False) -> Path:
    """A path as it is; of the address of a workspace, or a part of one, the copy on this machine."""
    if not is_remote(place):
        return place
    workspace = Workspace(place)
    return (workspace.with_feature_files() if feature_files else workspace).root


@contextmanager
def checkpoint_place(place: Path) -> Iterator[Path]:
    """The folder for a new checkpoint: of an address, in the copy of the workspace that it is in."""
    if not is_remote(place):
        yield place
        return
    workspace = Workspace(place.parent)
    with workspace.locked():
        yield workspace.root / place.name


def default_annotations(manifest: AnyPath) -> AnyPath | None:
    """The annotations file `M.annotations.csv` beside the manifest `M.csv`, or None if it does not exist."""
    if not manifest.name:  # "." or "/", which the reader of the manifest refuses
        return None
    path = manifest.with_suffix(".annotations.csv")
    return path if path.is_file() else None
