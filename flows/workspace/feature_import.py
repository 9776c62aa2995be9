"""Published feature arrays into a workspace: feature files, manifest, annotations and `workspace.json`.

Everything is in `features/` of the workspace: NAME.h5, manifest.csv and manifest.annotations.csv. Several
lists, at once or one after the other, make one workspace.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from dsanet.released_features import (
    PUBLISHED_ENCODER,
    ImportedFeatures,
    OnMissing,
    import_features,
)
from evaluate.annotation_formats import import_annotations
from extract.config import EncoderFingerprint
from extract.manifest import VideoRecord, read_manifest
from extract.remote.store import absolute_place
from extract.store import feature_path, read_meta
from flows.workspace.annotations_file import MeasuredVideo, add_annotations
from flows.workspace.inputs import configure_workspace
from flows.workspace.workspace import Workspace

log = logging.getLogger(__name__)


def workspace_of(out: Path) -> Workspace:
    """The workspace of `out`, which is the workspace itself or its folder `features`."""
    return Workspace(absolute_place(out).parent if out.name == "features" else out)


def import_into_workspace(
    workspace: Workspace,
    arrays: Path,
    lists: Sequence[Path],
    annotations: Path | None = None,
    *,
    encoder: EncoderFingerprint = PUBLISHED_ENCODER,
    split: str | None = None,
    fps: float = 30.0,
    missing: OnMissing = "list",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportedFeatures:
    """Import feature arrays, and annotations of the test videos in any format of `annotation_formats`.

    The arguments are those of `import_features`. Raises what it and `import_annotations` raise.
    """
    imported = import_features(
        arrays,
        lists,
        workspace.features,
        encoder=encoder,
        split=split,
        fps=fps,
        missing=missing,
        on_progress=on_progress,
    )
    if annotations is not None:
        videos = imported_videos(workspace, imported)
        add_annotations(imported.manifest, videos, import_annotations(annotations, videos))
    return imported


def use_imported(
    workspace: Workspace, imported: ImportedFeatures, preset: str | None = None, title: str | None = None
) -> None:
    """Make the imported videos the workspace's, unless it has another manifest."""
    known = workspace.read_inputs().manifest if workspace.inputs_file.is_file() else imported.manifest
    if known in (imported.manifest, imported.manifest.absolute()):
        configure_workspace(workspace.place, imported.manifest, preset=preset, title=title)
    else:
        log.warning("the workspace keeps its manifest %s; give --manifest %s", known, imported.manifest)


def imported_videos(workspace: Workspace, imported: ImportedFeatures) -> list[MeasuredVideo]:
    """The imported videos of the test split, in the order of the lists; lengths are whole snippets."""
    names = set(imported.imported)
    records = read_manifest(imported.manifest, needs_no_file=lambda record: True)
    return [
        _annotated(workspace, record) for record in records if record.split == "test" and record.name in names
    ]


def _annotated(workspace: Workspace, record: VideoRecord) -> MeasuredVideo:
    source = read_meta(feature_path(workspace.features, record.name)).source
    return MeasuredVideo(record.name, record.path, record.labels, source.n_frames)
