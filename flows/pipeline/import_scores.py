"""Scores of any model as score files of a workspace, which `evaluate`, `compare` and the report then take."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsanet.checkpoint import INFO_FILE
from evaluate.annotations import VideoTruth
from evaluate.foreign_scores.assign import AssignedScores, assign
from evaluate.foreign_scores.convert import class_names, convert
from evaluate.foreign_scores.read import read_foreign_scores
from evaluate.foreign_scores.rules import ImportRules
from evaluate.scores import VideoScores, score_path, write_scores
from extract.display import encodable, shortened
from extract.errors import InputError
from extract.manifest import VideoRecord
from flows.pipeline.listed_videos import read_footage, read_listed_videos
from flows.pipeline.video_lengths import video_lengths
from flows.workspace.imported_scores import PROVENANCE, ImportRecord, import_record
from flows.workspace.inputs import resolve_inputs
from flows.workspace.run import check_testable
from flows.workspace.workspace import Workspace


@dataclass(frozen=True)
class ImportResult:
    """What was imported."""

    videos: int
    missing: tuple[str, ...]
    """Test videos without scores, left out."""
    unknown: tuple[str, ...]
    """Names of scores that no video of the manifest has."""
    notes: tuple[str, ...]
    """The notes that the report gets."""


def import_scores(
    scores: Path,
    manifest: Path,
    out: Path,
    rules: ImportRules,
    *,
    annotations: Path | None = None,
    class_scores: Path | None = None,
    title: str | None = None,
) -> ImportResult:
    """Write the scores of the test videos as score files of the workspace `out`, and its `workspace.json`.

    Nothing is written unless everything fits.

    Args:
        scores: Folder with a file a video, or one file; see `evaluate.foreign_scores`.
        manifest: A manifest, or a published list with the columns path and label.
        out: Workspace without a model.
        rules: Spacing, classes and range of the scores.
        annotations: Annotations file; None: `M.annotations.csv` beside `M.csv`.
        class_scores: Class scores (T, C) beside anomaly scores in `scores`.
        title: Title of the report; None: the name of `scores`.

    Raises:
        MissingFileError: A file does not exist.
        InputError: A file is invalid, a test video has no scores, lengths do not fit, scores are out of
            range, or the workspace has a model.
    """
    workspace = Workspace(out).with_feature_files()
    listed = read_listed_videos(manifest)
    check_testable(listed.records)
    _refuse_detector(workspace, listed.records)
    tests = [record for record in listed.records if record.split == "test"]
    lengths = video_lengths(tests, listed.rows, workspace.features)
    n_frames = {name: length.n_frames for name, length in lengths.items()}
    footage = read_footage(listed, annotations, workspace, n_frames)

    def assigned(path: Path) -> AssignedScores:
        columns = {re.sub(r"[\s_-]+", "_", name): name for name in rules.classes}
        others = [record.name for record in listed.records if record.split != "test"]
        names = [record.name for record in tests]
        return assign(read_foreign_scores(path, columns), path, names, others, lengths, rules)

    found = assigned(scores)
    beside = assigned(class_scores).values if class_scores else {}
    if class_scores and (lacking := [name for name in found.values if name not in beside]):
        raise InputError(f"{class_scores}: no class scores of {shortened(lacking)}, which {scores} has")
    classes = class_names([label for one in listed.records for label in one.labels], found.values, rules)
    videos, notes = convert(found.values, beside, lengths, classes, rules)
    record = ImportRecord(
        source=_name(scores),
        class_source=_name(class_scores) if class_scores else None,
        every=str(rules.every),
        scale=rules.scale,
        cut=rules.cut,
        notes=(_origin(scores, class_scores, found.affix), *notes),
    )
    _check_truths(footage.truths(tests), videos)
    with workspace.locked():
        footage.write(workspace, {video.name: video.n_frames for video in videos})
        source = footage.source.model_copy(update={"title": encodable(title or scores.resolve().stem)})
        settings = {"evaluate": {"only_scored": bool(found.missing)}}
        workspace.write_inputs(resolve_inputs(workspace, source, settings))
        _replace_scores(workspace, listed.records, videos, record)
    return ImportResult(len(videos), found.missing, found.unknown, record.notes)


def _refuse_detector(workspace: Workspace, records: Sequence[VideoRecord]) -> None:
    """Raise InputError if the workspace is a detector's: its scores would be lost."""
    names = [record.name for record in records]
    scored = any(score_path(workspace.scores, name).is_file() for name in names)
    if (workspace.model / INFO_FILE).is_file() or (scored and import_record(workspace, names) is None):
        raise InputError(f"{workspace.name} has a model or scores of its own; give another folder to --out")


def _origin(scores: Path, class_scores: Path | None, affix: str) -> str:
    beside = f", class scores from {_name(class_scores)}" if class_scores else ""
    named = f"; the names of its files have {affix!r} beside the videos' names" if affix else ""
    return f"imported scores: {_name(scores)}{beside}{named}"


def _name(source: Path) -> str:
    """Name of a folder or file, with escapes for what is not UTF-8."""
    return encodable(source.resolve().name)


def _check_truths(truths: Sequence[VideoTruth], videos: Sequence[VideoScores]) -> None:
    """Raise InputError for what the evaluation would refuse: other classes, segments outside the video."""
    by_name = {truth.name: truth for truth in truths}
    for video in videos:
        truth = by_name[video.name]
        labels = [*truth.labels, *(segment.label for segment in truth.segments or ())]
        if unknown := [label for label in labels if label not in video.classes]:
            raise InputError(
                f"{video.name} has the label {unknown[0]!r}, which is not one of the classes "
                f"{', '.join(video.classes)}; correct --classes or the manifest"
            )
        truth.frame_labels(video.n_frames)


def _replace_scores(
    workspace: Workspace, records: Sequence[VideoRecord], videos: Sequence[VideoScores], record: ImportRecord
) -> None:
    """Write all score files; those of an earlier import go first, so that no file of it stays."""
    for one in records:
        score_path(workspace.scores, one.name).unlink(missing_ok=True)
    for video in videos:
        provenance = {PROVENANCE: record.model_dump(mode="json")}
        write_scores(score_path(workspace.scores, video.name), video, provenance)
