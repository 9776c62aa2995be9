"""A run: a workspace, its videos and its configuration. Every stage takes one."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL
from extract.manifest import VideoRecord, read_manifest
from extract.source import file_digest
from extract.store import FeatureFileError, feature_path, read_meta
from flows.workspace.config import PipelineConfig
from flows.workspace.workspace import Workspace, WorkspaceInputs

SETTLED_NS = 100_000_000
"""Age of a file's last change from which its digest is remembered: a younger file can change again within the
same tick of the file system's clock."""


@dataclass(frozen=True)
class Run:
    """One run over one workspace. The manifest is read once, on first use."""

    workspace: Workspace
    inputs: WorkspaceInputs
    videos: Sequence[VideoRecord] | None = None
    """Replaces the videos of the manifest."""
    start_from: Path | None = None
    """Checkpoint folder whose weights initialise the training; None: new weights."""
    _digests: dict[tuple[int, ...], str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, root: Path) -> "Run":
        """The run that `root/workspace.json` describes. Raises what `Workspace.read_inputs` raises."""
        workspace = Workspace(root)
        return cls(workspace, workspace.read_inputs())

    def with_config(self, **sections: BaseModel) -> "Run":
        """A copy with these sections of the configuration replaced; `workspace.json` is not written."""
        config = self.config.model_copy(update=sections)
        return replace(self, inputs=self.inputs.model_copy(update={"config": config}))

    @property
    def config(self) -> PipelineConfig:
        return self.inputs.config

    @cached_property
    def records(self) -> list[VideoRecord]:
        """All videos of the run. Raises ManifestError or FileNotFoundError for an invalid manifest."""
        return read_manifest(self.inputs.manifest) if self.videos is None else list(self.videos)

    def digest(self, path: Path) -> str | None:
        """sha256 of a file's bytes, None if there is no file.

        Remembered as long as inode, size and times stay the same: several stages use the same feature files.
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
        """Raises ValueError if the videos are not enough for training or for evaluation."""
        check_trainable(self.records)
        check_testable(self.records)

    def without_features(self) -> list[VideoRecord]:
        """The videos that have no feature file; after extraction, those that could not be decoded."""
        return [record for record in self.records if not self._has_features(record)]

    def having_features(self, *splits: str) -> list[VideoRecord]:
        """The videos of these splits that have a feature file. Raises FileNotFoundError if none has."""
        found = [record for record in self.records if record.split in splits and self._has_features(record)]
        if not found:
            raise MissingFileError(
                f"no features of any {' or '.join(splits)} video in {self.workspace.features}; "
                f"run `dsanet extract --out {self.workspace.root}` first"
            )
        return found

    def _has_features(self, record: VideoRecord) -> bool:
        return feature_path(self.workspace.features, record.name).is_file()


def check_trainable(records: Sequence[VideoRecord]) -> None:
    """Raises ValueError unless the train split has both normal and anomalous videos.

    Weak supervision contrasts the two.
    """
    training = [record for record in records if record.split == "train"]
    if not training:
        raise InputError(
            "the manifest has no video of split `train`; training needs normal and anomalous ones"
        )
    normal = [record for record in training if record.labels == (NORMAL,)]
    if len(normal) in (0, len(training)):
        kind = "normal" if normal else "anomalous"
        raise InputError(f"every training video is {kind}; training needs normal and anomalous ones")


def check_testable(records: Sequence[VideoRecord]) -> None:
    """Raises ValueError if there is no test video."""
    if not any(record.split == "test" for record in records):
        raise InputError("the manifest has no video of split `test`; evaluation needs at least one")


def recorded_digest(video: VideoRecord, features_dir: Path) -> str | None:
    """sha256 of a video as its feature file records it; None without one or if size or mtime have changed.

    Raises FileNotFoundError for a missing video.
    """
    status = video.path.stat()
    try:
        source = read_meta(feature_path(features_dir, video.name)).source
    except (FileNotFoundError, FeatureFileError):
        return None
    unchanged = (source.size, source.mtime_ns) == (status.st_size, status.st_mtime_ns)
    return source.sha256 if unchanged else None


def digest_of(*values: object) -> str:
    """sha256 of the JSON of these values, which may be pydantic models and paths; used for cache keys."""
    text = json.dumps(values, sort_keys=True, default=_jsonable)
    return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
