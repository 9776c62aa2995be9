"""The record of an import of scores: it is in every imported score file, and its notes are in the report."""

from collections.abc import Iterable

from evaluate.scores import ScoreFileError, read_provenance, score_path
from extract.config import StrictModel
from flows.workspace.workspace import Workspace

PROVENANCE = "imported"
"""Key of the record in the provenance of a score file."""


class ImportRecord(StrictModel):
    """Where imported scores come from, and what was assumed or interpolated."""

    source: str
    """Name of the folder or file of the scores, without the folders above it."""
    class_source: str | None
    """Likewise for class scores from a second folder or file."""
    every: str
    scale: str
    cut: bool
    notes: tuple[str, ...]
    """Sentences for the report."""


def import_record(workspace: Workspace, videos: Iterable[str]) -> ImportRecord | None:
    """The record of the first of these videos that has a score file; None if a detector made it.

    Also None without score files, and for a damaged one, which the evaluation refuses.
    """
    path = next((one for name in videos if (one := score_path(workspace.scores, name)).is_file()), None)
    if path is None:
        return None
    try:
        record = read_provenance(path).get(PROVENANCE)
    except ScoreFileError:
        return None
    return None if record is None else ImportRecord.model_validate(record)
