"""A run: a workspace, its videos and its configuration. Every stage takes one."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from extract.errors import InputError, MissingFileError
from extract.failures import failures_path, read_failures
from extract.feature_index import FeatureIndex
from extract.labels import NORMAL
from extract.manifest import VideoRecord, read_manifest
from extract.remote.path import AnyPath
from extract.store import FeatureFileError, feature_path
from flows.workspace.config import PipelineConfig
from flows.workspace.manifest_records import manifest_records
from flows.workspace.workspace import Workspace, WorkspaceInputs


@dataclass(frozen=True)
class Run:
    """One run over one workspace. The manifest is read once, on first use."""

    workspace: Workspace
    inputs: WorkspaceInputs
    videos: Sequence[VideoRecord] | None = None
    """Replaces the videos of the manifest."""
    start_from: Path | None = None
    """Checkpoint folder whose weights initialise the training; None: new weights."""
    retry: bool = False
    """Try failed videos now, also those that have not changed."""
    _indexes: dict[Path, FeatureIndex] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, root: Path) -> "Run":
        """The run that `root/workspace.json` describes. Raises what `Workspace.read_inputs` raises."""
        workspace = Workspace(root).with_feature_files()
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
        """All videos of the run, also those whose file is gone.

        Raises InputError for an invalid manifest, MissingFileError without one.
        """
        if self.videos is not None:
            return list(self.videos)
        return list(manifest_records(self.inputs.manifest))

    @property
    def index(self) -> FeatureIndex:
        """The digests of all files that the run uses, kept with the feature files."""
        features = self.workspace.features
        if features not in self._indexes:
            self._indexes[features] = FeatureIndex(features)
        return self._indexes[features]

    def digest(self, path: AnyPath) -> str | None:
        """sha256 of a file's bytes, None if there is no file. Only a new or changed file is read."""
        return self.index.digest(path)

    def check(self) -> None:
        """Raises InputError if the videos are not enough for training or for evaluation."""
        check_trainable(self.records)
        check_testable(self.records)

    def check_sources(self) -> None:
        """Raises InputError, naming the row, if the manifest has a video with neither a file nor features.

        Only the extraction needs the files, and only of videos without features.
        """
        if self.videos is None and not all(record.path.is_file() for record in self.without_features()):
            read_manifest(self.inputs.manifest, needs_no_file=self._has_features)

    def without_features(self) -> list[VideoRecord]:
        """The videos that have no feature file; after extraction, those that could not be decoded."""
        present = self._feature_files()
        return [record for record in self.records if f"{record.name}.h5" not in present]

    def having_features(self, *splits: str) -> list[VideoRecord]:
        """The videos of these splits that have a feature file. Raises FileNotFoundError if none has."""
        present = self._feature_files()
        found = [r for r in self.records if r.split in splits and f"{r.name}.h5" in present]
        if not found:
            raise MissingFileError(self._why_no_features(splits))
        return found

    def _why_no_features(self, splits: Sequence[str]) -> str:
        kind, features = " or ".join(splits), self.workspace.features
        names = {record.name for record in self.records if record.split in splits}
        reasons = Counter(failure.reason for failure in read_failures(features) if failure.name in names)
        if reasons:
            reason, count = reasons.most_common(1)[0]
            return (
                f"none of the {len(names)} {kind} videos has features; {count} could not be read: {reason} "
                f"(all reasons: {failures_path(features)})"
            )
        return (
            f"no features of any {kind} video in {features}; "
            f"run `dsanet extract --out {self.workspace.name}` first"
        )

    def _feature_files(self) -> set[str]:
        """Names of the files in the folder of features: for many videos, faster than asking for each."""
        try:
            with os.scandir(self.workspace.features) as entries:
                return {entry.name for entry in entries if entry.is_file()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

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


def unlearned_classes_note(records: Sequence[VideoRecord]) -> str | None:
    """A sentence on the labels of test videos that no training video has; None if there are none.

    None without training videos, too: the model was trained elsewhere.
    """
    learned = {label for record in records if record.split == "train" for label in record.labels}
    tested = {label for record in records if record.split == "test" for label in record.labels}
    if not learned or not (unlearned := sorted(tested - learned)):
        return None
    return (
        f"no training video has the label {', '.join(unlearned)}, which test videos have: the detector "
        "cannot learn it, and its figures are those of guessing"
    )


def recorded_digest(video: VideoRecord, index: FeatureIndex) -> str | None:
    """sha256 of a video as the index or its feature file records it; None if it must be read.

    The digest of a video that is gone is the one in its feature file.
    """
    known = index.known_digest(video.path)
    if known is not None:
        return known.sha256
    try:
        source = index.read_meta(video.name).source
    except (FileNotFoundError, FeatureFileError):
        return None
    return index.recorded_digest(video.path, source)


def digest_of(*values: object) -> str:
    """sha256 of the JSON of these values, which may be pydantic models and paths; used for cache keys."""
    text = json.dumps(values, sort_keys=True, default=_jsonable)
    return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
