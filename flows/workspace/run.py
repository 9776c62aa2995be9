"""What a stage is given: the workspace, its manifest's videos and the configuration."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from extract.manifest import VideoRecord, read_manifest
from extract.store import feature_path
from flows.workspace.config import PipelineConfig
from flows.workspace.workspace import Workspace, WorkspaceInputs, check_testable, check_trainable, file_digest

SETTLED_NS = 100_000_000
"""A file changed more recently may change again within one tick of the file system's clock."""


@dataclass(frozen=True)
class Run:
    """One run over one workspace; cheap to make, reads the manifest once."""

    workspace: Workspace
    inputs: WorkspaceInputs
    videos: Sequence[VideoRecord] | None = None
    """Instead of the manifest's."""
    start_from: Path | None = None
    """Checkpoint that training begins with, instead of new weights."""
    _digests: dict[tuple[int, ...], str | None] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, root: Path) -> "Run":
        """The run that `workspace.json` below `root` describes."""
        workspace = Workspace(root)
        return cls(workspace, workspace.recall())

    def with_config(self, **sections: BaseModel) -> "Run":
        """The same with other sections of the configuration; `workspace.json` stays as it is."""
        config = self.config.model_copy(update=sections)
        return replace(self, inputs=self.inputs.model_copy(update={"config": config}))

    @property
    def config(self) -> PipelineConfig:
        return self.inputs.config

    @cached_property
    def records(self) -> list[VideoRecord]:
        """Every video of the manifest, or those given instead."""
        return read_manifest(self.inputs.manifest) if self.videos is None else list(self.videos)

    def digest(self, path: Path) -> str | None:
        """sha256 of a file, None where there is none; read once a run while it stays the same file.

        Every stage asks for the same feature files.
        """
        if not path.is_file():
            return None
        now = path.stat()
        file = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        if file in self._digests:
            return self._digests[file]
        digest = file_digest(path)
        if time.time_ns() - now.st_ctime_ns > SETTLED_NS:
            self._digests[file] = digest
        return digest

    def check(self) -> None:
        """Raises ValueError if the manifest cannot serve a whole run: nothing to learn or to measure on."""
        check_trainable(self.records)
        check_testable(self.records)

    def without_features(self) -> list[VideoRecord]:
        """The videos that have no feature file: those that could not be read, once extraction has run."""
        return [record for record in self.records if not self._has_features(record)]

    def having_features(self, *splits: str) -> list[VideoRecord]:
        """The videos of these splits that have a feature file; what failed to decode has none.

        Raises FileNotFoundError where none has.
        """
        found = [record for record in self.records if record.split in splits and self._has_features(record)]
        if not found:
            raise FileNotFoundError(
                f"no features of any {' or '.join(splits)} video in {self.workspace.features}; "
                f"run `dsanet extract --out {self.workspace.root}` first"
            )
        return found

    def _has_features(self, record: VideoRecord) -> bool:
        return feature_path(self.workspace.features, record.name).is_file()
