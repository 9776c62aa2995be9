"""The options of an import of scores, and the lengths of the videos."""

from dataclasses import dataclass

from evaluate.foreign_scores.lengths import Every
from evaluate.foreign_scores.scale import Scale


@dataclass(frozen=True)
class ImportRules:
    """The options of `dsanet import-scores`."""

    every: Every
    classes: tuple[str, ...] = ()
    """Classes of the columns in their order, `normal` among them; empty for scores without classes."""
    scale: Scale = "none"
    fps: float | None = None
    """Frame rate of videos for which nothing else tells it."""
    cut: bool = False
    """Allow fewer than 16 frames between the length of a video and that of its scores."""
    skip_missing: bool = False
    """Leave out test videos without scores."""


@dataclass(frozen=True)
class VideoLength:
    """Number of frames and frame rate of a video; None where they are not known."""

    n_frames: int | None = None
    fps: float | None = None
    in_snippets: bool = False
    """True if `n_frames` counts whole snippets, as arrays of features do: the video can have 15 more."""
