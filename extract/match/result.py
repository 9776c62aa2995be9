"""The result of a match: recipes, and every array with the parts that they make."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from extract.config import ExtractConfig
from extract.match.arrays import FeatureArray, Pairing
from extract.match.comparison import USUAL_TIMING, Timing
from extract.match.search import Found


@dataclass(frozen=True)
class Part:
    """Neighbouring rows of an array, `first` to `stop` (exclusive)."""

    first: int
    stop: int
    recipe: int | None
    """Index into `MatchResult.recipes`; None if no recipe makes these rows."""
    shift: int = 0
    """Frames by which the rows are later in the video than the recipe takes them."""
    mixed: bool = False
    """True if rows that the first recipe makes and others alternate."""


@dataclass(frozen=True)
class ArrayMatch:
    """One array and how the recipe compares with it."""

    array: FeatureArray
    config: ExtractConfig
    """The recipe with the crop of this array."""
    n_frames: int
    fps: float
    rows: list[int]
    """Rows that were compared."""
    cosines: npt.NDArray[np.float64]
    """Cosine of each of these rows to what the recipe makes."""
    parts: list[Part]
    padded: int = 0
    """Rows at the end that repeat the one before them or are zero."""
    timing: Timing = USUAL_TIMING
    """Where in the video the frames of the footage are that the features were made of."""

    @property
    def whole(self) -> bool:
        """True if the recipe makes every compared row, at its frame."""
        return all(part.recipe == 0 and not part.shift for part in self.parts) and self.timing == USUAL_TIMING


@dataclass(frozen=True)
class MatchResult:
    """What was found out about the features."""

    recipes: list[Found]
    """The recipe of most rows, then those of other parts."""
    arrays: list[ArrayMatch]
    pairing: Pairing
    failures: dict[str, str] = field(default_factory=dict)
    """Reason by video that could not be decoded."""

    @property
    def identified(self) -> bool:
        """True if one recipe makes every row that was compared."""
        return all(one.whole for one in self.arrays)
