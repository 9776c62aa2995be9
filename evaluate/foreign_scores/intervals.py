"""Scored intervals: a record with start, end, score and perhaps a class; painted on the frames of a video.

Start and end are `start_frame` and `end_frame`, `start_s` and `end_s`, or a bare `start` and `end`, whose
unit follows from the values. Ends are exclusive. The score of a frame is the highest of the intervals over
it, and 0 outside them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.foreign_scores.content import ScoredInterval, Unit, number
from extract.errors import InputError
from extract.labels import NORMAL

Array = NDArray[Any]
MAX_OVERRUN = 16
"""Frames by which an interval may exceed its video, as annotations may; longer overruns are an error."""
ENDS: tuple[tuple[str, str, Unit], ...] = (
    ("start_frame", "end_frame", "frames"),
    ("start_s", "end_s", "seconds"),
    ("start_seconds", "end_seconds", "seconds"),
    ("start_sec", "end_sec", "seconds"),
    ("start", "end", "unknown"),
)
LABELS = ("label", "class")
VIDEOS = ("video", "video_name", "name", "file", "path")


def interval_keys(keys: Sequence[str]) -> tuple[str, str, Unit] | None:
    """The names of start and end among `keys`, and their unit; None if there are none.

    Frames come first where a table has both, because they need no frame rate.
    """
    return next((ends for ends in ENDS if ends[0] in keys and ends[1] in keys), None)


def interval_of(record: Mapping[str, Any], ends: tuple[str, str, Unit], where: str) -> ScoredInterval:
    """The interval of a record. Raises InputError for a missing or invalid value."""
    start, end, unit = ends
    label = next((record[key] for key in LABELS if record.get(key) not in (None, "")), "")
    found = ScoredInterval(
        number(record.get(start), f"{where}: {start}"),
        number(record.get(end), f"{where}: {end}"),
        unit,
        number(record.get("score"), f"{where}: score"),
        str(label).strip().lower(),
        where,
    )
    if not 0 <= found.start < found.end:
        raise InputError(f"{where}: 0 <= {start} < {end} is required, got {found.start:g} and {found.end:g}")
    return found


def paint(
    intervals: Sequence[ScoredInterval], n_frames: int, fps: float | None, classes: Sequence[str]
) -> tuple[Array, Array | None]:
    """Scores (n_frames,), and class scores (n_frames, C) if the intervals have labels, else None.

    A frame's class scores are 1 - its score for the normal class; the rest is shared among the labels of the
    intervals over it in proportion to their scores. Raises InputError, naming the interval, for one beyond
    the end of the video, without a frame rate for seconds, or with a label that is no anomaly class.
    """
    labelled = any(one.label for one in intervals)
    by_class = np.zeros((len(classes) if labelled else 1, n_frames))
    for one in intervals:
        start, end = _frames(one, n_frames, fps)
        row = by_class[_class_index(one, classes) if labelled else 0]
        row[start:end] = np.maximum(row[start:end], one.score)
    anomaly_F: Array = by_class.max(axis=0)
    if not labelled:
        return anomaly_F, None
    share = by_class / np.maximum(by_class.sum(axis=0), np.finfo(float).tiny)
    by_class = share * anomaly_F
    by_class[0] = 1 - anomaly_F
    return anomaly_F, by_class.T


def _frames(one: ScoredInterval, n_frames: int, fps: float | None) -> tuple[int, int]:
    """First frame and the one after the last: the frames nearest to the times, at least one."""
    if one.unit == "seconds" and fps is None:
        raise InputError(
            f"{one.where}: an interval in seconds, but the frame rate of the video is not known; give --fps, "
            "or a column `fps` in the manifest"
        )
    scale = fps if one.unit == "seconds" and fps is not None else 1.0
    start, end = round(one.start * scale), round(one.end * scale)
    if start >= n_frames or end > n_frames + MAX_OVERRUN:
        raise InputError(
            f"{one.where}: the interval {one.start:g} to {one.end:g} {one.unit} (frames {start} to {end}) is "
            f"outside the {n_frames} frames of the video"
        )
    return start, max(min(end, n_frames), start + 1)


def _class_index(one: ScoredInterval, classes: Sequence[str]) -> int:
    if one.label not in classes or one.label == NORMAL:
        named = f"the label {one.label!r}" if one.label else "no label, although others have one"
        raise InputError(f"{one.where}: {named}; expected one of {', '.join(classes[1:])}")
    return classes.index(one.label)
