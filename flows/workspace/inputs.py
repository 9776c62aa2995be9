"""What a run is told: the footage and the settings, taken into the workspace's memory (`workspace.json`)."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from dsanet.detectors.config import TextConfig
from extract.config import StrictModel
from flows.workspace.config import PipelineConfig, override, preset_config
from flows.workspace.workspace import Workspace, WorkspaceInputs, default_annotations


class Source(StrictModel):
    """The footage: which videos, with which labels, and when things happen in the test videos."""

    manifest: Path = Field(description="CSV with path,labels,split")
    annotations: Path | None = Field(
        None, description="CSV with path,label,start_frame,end_frame; default: M.annotations.csv beside M.csv"
    )
    title: str | None = Field(None, description="of the report; default: the manifest's name")


def merged(workspace: Workspace, source: Source | None, config: PipelineConfig | None) -> WorkspaceInputs:
    """What `workspace.json` is to hold: None stays as it was, in a new workspace it is `ucf-crime`.

    Raises FileNotFoundError for files that aren't there and for a new workspace without a source.
    """
    fresh = source is not None and not workspace.inputs_file.is_file()
    before = None if fresh else workspace.recall()
    if source is None:
        assert before is not None
        source = Source(manifest=before.manifest, annotations=before.annotations, title=before.title)
    annotations = source.annotations or default_annotations(source.manifest)
    for path in (source.manifest, annotations):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"no file {path}; give --manifest and --annotations paths of CSV files")
    return WorkspaceInputs(
        manifest=source.manifest.absolute(),
        annotations=annotations.absolute() if annotations else None,
        config=config or (before.config if before else preset_config("ucf-crime")),
        title=source.title or source.manifest.stem,
    )


def describe(
    out: Path,
    manifest: Path | None = None,
    annotations: Path | None = None,
    preset: str | None = None,
    weights: str | None = None,
    settings: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Take in the options of a command. `preset` begins with new settings, `settings` change single ones.

    Raises FileNotFoundError or ValueError for options that do not fit together, and BusyError while a
    run holds the folder.
    """
    workspace = Workspace(out)
    before = workspace.recall() if manifest is None or workspace.inputs_file.is_file() else None
    config = before.config if before and preset is None else preset_config(preset or "ucf-crime")
    config = override(config, [*weight_settings(weights, config), *(settings or [])])
    inputs = merged(workspace, _source(before, manifest, annotations, title), config)
    with workspace.locked():
        workspace.remember(inputs)


def _source(
    before: WorkspaceInputs | None, manifest: Path | None, annotations: Path | None, title: str | None
) -> Source:
    """The footage that a command's options describe; a new manifest has annotations of its own."""
    if before is not None:
        annotations = annotations or (before.annotations if manifest is None else None)
        manifest, title = manifest or before.manifest, title or before.title
    assert manifest is not None  # or the workspace would have been asked
    return Source(manifest=manifest, annotations=annotations, title=title)


def weight_settings(weights: str | None, config: PipelineConfig) -> list[str]:
    """The settings that `--weights` stands for: CLIP's image tower, and its text tower where there is one."""
    if weights is None:
        return []
    place = json.dumps(weights if weights in ("openai", "random") else str(Path(weights).absolute()))
    text = [f"model.clip_weights={place}"] if isinstance(config.model, TextConfig) else []
    return [f"extract.weights={place}", *text]


def detector_settings(detector: str | None, settings: Sequence[str] | None) -> list[str]:
    """The settings that `--detector` and `--set` stand for: the detector's own come first."""
    return [*([f"model.detector={detector}"] if detector else []), *(settings or [])]


def runtime_settings(**values: object) -> list[str]:
    """Settings of `runtime` from the options that were given."""
    return [f"runtime.{key}={json.dumps(value)}" for key, value in values.items() if value is not None]
