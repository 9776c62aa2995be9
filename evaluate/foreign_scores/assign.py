"""The scores of each test video: by name, or from one array in the order of the manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluate.foreign_scores.content import Array, Values
from evaluate.foreign_scores.lengths import split
from evaluate.foreign_scores.names import describe_missing, match_names
from evaluate.foreign_scores.read import ForeignScores
from evaluate.foreign_scores.rules import ImportRules, VideoLength
from extract.display import shortened
from extract.errors import InputError


@dataclass(frozen=True, eq=False)
class AssignedScores:
    """Scores by test video, in the order of the manifest."""

    values: dict[str, Values]
    missing: tuple[str, ...] = ()
    """Test videos without scores."""
    unknown: tuple[str, ...] = ()
    """Names in the source that the manifest does not have."""
    affix: str = ""
    """Text that every file name has before or after the name of its video, such as `_pred`."""


def assign(
    foreign: ForeignScores,
    source: Path,
    tests: Sequence[str],
    others: Sequence[str],
    lengths: Mapping[str, VideoLength],
    rules: ImportRules,
) -> AssignedScores:
    """Find the scores of the videos `tests`; `others` are the further videos of the manifest.

    Raises InputError, naming `source`, for missing videos (unless `rules.skip_missing`), for names that no
    video has in a file of intervals, and for an array that does not have the length of all videos.
    """
    if foreign.joined is not None:
        return AssignedScores(
            dict(zip(tests, _split(foreign.joined, source, tests, lengths, rules), strict=True))
        )
    matched = match_names(foreign.named, tests)
    unknown = tuple(name for name in matched.unknown if not match_names([name], others).files)
    found: dict[str, Values] = {video: foreign.named[name] for video, name in matched.files.items()}
    intervals = [isinstance(values, tuple) for values in found.values()]
    if any(intervals) and not all(intervals):
        raise InputError(f"{source}: intervals of some videos, arrays of others; expected one of the two")
    if found and all(intervals) and source.is_file():  # a video that the file does not name has no interval
        if unknown:
            raise InputError(
                f"{source}: no video of the manifest is called {shortened(unknown)}; correct the names"
            )
        return AssignedScores({video: found.get(video, ()) for video in tests}, (), (), matched.affix)
    if not found or (matched.missing and not rules.skip_missing):
        hint = "; leave them out with --missing skip" if found else ""
        raise InputError(f"{source}: {describe_missing(matched, len(tests))}{hint}")
    return AssignedScores(found, matched.missing, unknown, matched.affix)


def _split(
    values: Array,
    source: Path,
    names: Sequence[str],
    lengths: Mapping[str, VideoLength],
    rules: ImportRules,
) -> list[Array]:
    """The scores of each video from those of all in one array."""
    if len(names) == 1:
        return [values]
    frames = {name: lengths[name].n_frames or 0 for name in names}
    unknown = [name for name, count in frames.items() if not count]
    if unknown and not rules.every.segments:
        raise InputError(
            f"{source} has the scores of all videos in one array, but the number of frames of "
            f"{shortened(unknown)} is not known; give a column `frames` in the manifest"
        )
    try:
        return split(values, rules.every, list(frames.values()), cut=rules.cut)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
