"""Scores of any range as scores in [0, 1], by a rule that the user chooses; none is guessed.

`logits`  anomaly scores by the logistic function, class scores by softmax over the classes
`range`   anomaly scores: the lowest of all videos becomes 0, the highest 1
`rows`    class scores: each row divided by its sum
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evaluate.foreign_scores.content import ScoredInterval
from extract.errors import InputError
from extract.labels import NORMAL, XD_VIOLENCE_CODES

Array = NDArray[Any]
Scale = Literal["none", "logits", "range", "rows"]
SCALES: tuple[str, ...] = get_args(Scale)
_SUM_TOLERANCE = 1e-3
_ROUNDING = 1e-6
"""Excess over 0 and 1 that comes from rounding and is cut."""


def scaled_anomaly(videos: dict[str, Array], scale: Scale) -> dict[str, Array]:
    """Anomaly scores (T,) in [0, 1] by video. Raises InputError, naming a video, for scores outside."""
    if scale == "logits":
        return {name: _logistic(values) for name, values in videos.items()}
    low = min(float(values.min()) for values in videos.values())
    high = max(float(values.max()) for values in videos.values())
    if scale == "range":
        if low == high:
            raise InputError(f"every score is {low:g}; --scale range needs different scores")
        return {name: (values - low) / (high - low) for name, values in videos.items()}
    for name, values in videos.items():
        if values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING:
            raise InputError(
                f"{name}: scores from {values.min():g} to {values.max():g}, expected 0 to 1; give --scale "
                "logits for outputs before the sigmoid, or --scale range to map the lowest score of all "
                "videos to 0 and the highest to 1"
            )
    return {name: values.clip(0, 1) for name, values in videos.items()}


def scaled_classes(values_TC: Array, scale: Scale, name: str) -> Array:
    """Class scores (T, C) whose rows sum to 1. Raises InputError, naming the video, for others."""
    if scale == "logits":
        powers = np.exp(values_TC - values_TC.max(axis=1, keepdims=True))
        shares: Array = powers / powers.sum(axis=1, keepdims=True)
        return shares
    sums = values_TC.sum(axis=1)
    if values_TC.min() < 0:
        raise InputError(
            f"{name}: class scores down to {values_TC.min():g}, expected shares of 1; give --scale logits "
            "for outputs before the softmax"
        )
    if scale == "rows":
        if not sums.min() > 0:
            raise InputError(
                f"{name}: all class scores of row {int(sums.argmin())} are 0; expected a share of 1"
            )
        return np.asarray(values_TC / sums[:, None])
    if abs(sums - 1).max() > _SUM_TOLERANCE:
        row = int(abs(sums - 1).argmax())
        raise InputError(
            f"{name}: the class scores of row {row} sum to {sums[row]:g}, expected 1; give --scale logits "
            "for outputs before the softmax, or --scale rows to divide each row by its sum"
        )
    return values_TC


def scaled_intervals(intervals: Sequence[ScoredInterval], scale: Scale) -> tuple[ScoredInterval, ...]:
    """Intervals with scores in [0, 1], before they are painted: frames outside of them have the score 0.

    Raises InputError for scores outside, and for a rule that does not apply to intervals.
    """
    if scale == "logits":
        return tuple(replace(one, score=float(_logistic(np.array(one.score)))) for one in intervals)
    if scale != "none":
        raise InputError(f"--scale {scale} does not apply to intervals; expected scores in 0 to 1, or logits")
    if outside := [one for one in intervals if not 0 <= one.score <= 1]:
        raise InputError(
            f"{outside[0].where}: the score {outside[0].score:g}, expected 0 to 1; give --scale logits for "
            "outputs before the sigmoid"
        )
    return tuple(intervals)


def _logistic(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -700, 700))))


def parse_classes(text: str) -> tuple[str, ...]:
    """Class names in the order of the columns: `normal,abuse`, `Normal, Abuse` or XD-Violence's codes `A,B1`.

    Raises InputError unless they are different and one of them is `normal`.
    """
    given = [part.strip() for part in text.split(",")]
    coded = all(part in XD_VIOLENCE_CODES for part in given)
    classes = tuple(XD_VIOLENCE_CODES[part] if coded else _class_name(part) for part in given)
    if not all(classes) or len(set(classes)) < len(classes):
        raise InputError(f"--classes is {text!r}; expected different names, separated by commas")
    if NORMAL not in classes or len(classes) < 2:
        raise InputError(
            f"--classes is {text!r}; expected the class of every column, `{NORMAL}` among them: rows of "
            "class scores sum to 1"
        )
    return classes


def _class_name(text: str) -> str:
    return NORMAL if text.casefold().startswith(NORMAL) else text.casefold()


def normal_first(values_TC: Array, classes: Sequence[str]) -> Array:
    """The columns in the order of a score file: `normal`, then the others as they are."""
    first = list(classes).index(NORMAL)
    return values_TC[:, [first, *(index for index in range(len(classes)) if index != first)]]
