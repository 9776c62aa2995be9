"""The inputs of a run: footage and configuration, given anew or taken from `workspace.json`.

A flow parameter or command option that is left out keeps its value in `workspace.json`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from dsanet.detectors.config import TextConfig
from evaluate.scores import score_path
from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.display import require_utf8
from extract.errors import InputError, MissingFileError
from extract.manifest import VideoRecord
from extract.remote.path import AnyPath
from extract.store import feature_path
from flows.workspace.config import DEFAULT_PRESET, PipelineConfig, merge_settings, override, preset_config
from flows.workspace.input_lists import remove_lists
from flows.workspace.manifest_records import check_manifest
from flows.workspace.path_field import PathField
from flows.workspace.workspace import Workspace, WorkspaceInputs, default_annotations


class Source(StrictModel):
    """The footage: videos with labels and splits, and temporal annotations of the test videos.

    Without a manifest, or with the workspace's own, the fields that are left out keep their value there.
    """

    manifest: PathField | None = Field(
        None, description="CSV with the columns path, labels, split; default: the workspace's"
    )
    annotations: PathField | None = Field(
        None,
        description="CSV with the columns path, label, start_frame, end_frame; "
        "default: M.annotations.csv beside M.csv",
    )
    title: str | None = Field(None, description="title of the report; default: the manifest's file name")


def resolve_inputs(
    workspace: Workspace, source: Source | None, config: PipelineConfig | Mapping[str, Any] | None
) -> WorkspaceInputs:
    """The inputs of a flow run; None takes the value in `workspace.json`.

    A `config` given as a mapping changes only the settings that it names. A new workspace needs a manifest;
    its default configuration is the preset `ucf-crime`. Raises FileNotFoundError for a missing file and for a
    new workspace without a manifest, ValueError for an invalid setting.
    """
    source = source or Source()
    previous = _read_previous(workspace, required=source.manifest is None)
    if not isinstance(config, PipelineConfig):
        begun = previous.config if previous else preset_config(DEFAULT_PRESET)
        config = merge_settings(begun, config or {})
    return _complete(_completed_by(source, previous), config)


def _completed_by(source: Source, previous: WorkspaceInputs | None) -> Source:
    """`source` with its empty fields as in `previous`, unless it names another manifest."""
    if previous is None or (source.manifest and source.manifest.absolute() != previous.manifest):
        return source
    kept = previous.model_dump(exclude={"config"})
    return Source.model_validate(kept | source.model_dump(exclude_none=True))


def configure_workspace(
    out: Path,
    manifest: AnyPath | None = None,
    annotations: AnyPath | None = None,
    preset: str | None = None,
    weights: str | None = None,
    settings: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Write a command's options to `workspace.json`; None keeps the value there.

    `preset` replaces the whole configuration; `weights` and `settings` (`key.path=value`) then change it.
    Raises FileNotFoundError for a missing file and for a new workspace without a manifest, ValueError for an
    invalid setting, and BusyError while a run holds the workspace.
    """
    workspace = Workspace(out)
    previous = _read_previous(workspace, required=manifest is None)
    if previous is not None:
        if manifest is None:
            manifest, annotations = previous.manifest, annotations or previous.annotations
        title = title or previous.title
    assert manifest is not None  # _read_previous has raised otherwise
    config = previous.config if previous and preset is None else preset_config(preset or DEFAULT_PRESET)
    config = override(config, [*weight_settings(weights, config), *(settings or [])])
    inputs = _complete(Source(manifest=manifest, annotations=annotations, title=title), config)
    with workspace.locked():
        workspace.write_inputs(inputs)


@contextmanager
def configured_workspace(
    out: Path,
    manifest: AnyPath | None = None,
    annotations: AnyPath | None = None,
    preset: str | None = None,
    weights: str | None = None,
    settings: Sequence[str] | None = None,
) -> Iterator[None]:
    """`configure_workspace` for the command inside; undone if the command is refused (InputError)."""
    workspace = Workspace(out)
    with workspace.kept_open():
        yield from _configured(workspace, manifest, annotations, preset, weights, settings)


def _configured(
    workspace: Workspace,
    manifest: AnyPath | None,
    annotations: AnyPath | None,
    preset: str | None,
    weights: str | None,
    settings: Sequence[str] | None,
) -> Iterator[None]:
    before = _content(workspace)
    if manifest is not None and manifest.is_file():
        # An invalid one is refused before the folder is created.
        check_manifest(manifest, lambda record: _is_processed(workspace, record))
    configure_workspace(workspace.place, manifest, annotations, preset, weights, settings)
    written = _content(workspace)
    try:
        yield
    except InputError:
        if _content(workspace) == written:  # no other command has changed it since
            _put_back(workspace, before)
        raise


def _is_processed(workspace: Workspace, record: VideoRecord) -> bool:
    """True if the video itself is not needed: its features or scores are in the workspace."""
    files = feature_path(workspace.features, record.name), score_path(workspace.scores, record.name)
    return any(file.is_file() for file in files)


@contextmanager
def undone_if_refused(workspace: Workspace) -> Iterator[None]:
    """Put `workspace.json` back as it is now if InputError is raised inside."""
    before = _content(workspace)
    try:
        yield
    except InputError:
        _put_back(workspace, before)
        raise


def _content(workspace: Workspace) -> bytes | None:
    return workspace.inputs_file.read_bytes() if workspace.inputs_file.is_file() else None


def _put_back(workspace: Workspace, content: bytes | None) -> None:
    """Restore `workspace.json`. A new workspace that has features keeps it: the next command continues."""
    if content is None:
        if next(workspace.features.glob("*.h5"), None) is None:
            workspace.inputs_file.unlink(missing_ok=True)
            if workspace.address:
                remove_lists(workspace.root)
    elif content != _content(workspace):
        write_atomically(workspace.inputs_file, content)


def _read_previous(workspace: Workspace, *, required: bool) -> WorkspaceInputs | None:
    """`workspace.json`; None for a new workspace, or FileNotFoundError if it is required."""
    return workspace.read_inputs() if required or workspace.inputs_file.is_file() else None


def _complete(source: Source, config: PipelineConfig) -> WorkspaceInputs:
    """The inputs with defaults filled in and absolute paths. Raises FileNotFoundError for a missing file."""
    assert source.manifest is not None  # a workspace without one has been refused
    annotations = source.annotations or default_annotations(source.manifest)
    for path in (source.manifest, annotations):
        if isinstance(path, Path):
            require_utf8(path.absolute())
        if path is not None and not path.is_file():
            raise MissingFileError(f"no file {path}; give --manifest and --annotations paths of CSV files")
    return WorkspaceInputs(
        manifest=source.manifest.absolute(),
        annotations=annotations.absolute() if annotations else None,
        config=config,
        title=source.title or source.manifest.stem,
    )


def weight_settings(weights: str | None, config: PipelineConfig) -> list[str]:
    """The settings of `--weights`: CLIP's image tower, and its text tower if the detector has one."""
    if weights is None:
        return []
    text = text_weight_settings(weights) if isinstance(config.model, TextConfig) else []
    return [f"extract.weights={_weights_place(weights)}", *text]


def text_weight_settings(weights: str | None) -> list[str]:
    """The setting of CLIP weights that a detector's text tower reads; empty for None."""
    return [] if weights is None else [f"model.clip_weights={_weights_place(weights)}"]


def _weights_place(weights: str) -> str:
    return json.dumps(weights if weights in ("openai", "random") else str(Path(weights).absolute()))


def detector_settings(detector: str | None, settings: Sequence[str] | None) -> list[str]:
    """The settings of `--detector` and `--set`. The detector comes first: it replaces its own settings."""
    return [*([f"model.detector={detector}"] if detector else []), *(settings or [])]


def runtime_settings(**values: object) -> list[str]:
    """The settings `runtime.NAME` of the options that are not None."""
    return [f"runtime.{key}={json.dumps(value)}" for key, value in values.items() if value is not None]
