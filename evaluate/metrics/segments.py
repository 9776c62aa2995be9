"""mAP@IoU of anomalous segments: proposals from class scores, matched against the annotated segments.

Two protocols share the proposals and the matching.

`published` reproduces the tables of VadCLIP, DSANet and related work (paper, tables 3 and 4), with these
peculiarities:
- The mean includes the normal class. UCF-Crime's ground truth labels normal videos "A", while its class list
  says "Normal": that class has no segment in the ground truth and scores 0, so mAP cannot exceed
  13/14 = 92.86.
- mAP is 0 if any class has no proposal in any video.
- A constant column never exceeds its own threshold: a video that is anomalous (or normal) from end to end
  has no proposal, whatever its score.
- Equal scores are ordered by NumPy's default sort, which is not stable.

`corrected` averages over the anomaly classes that occur in the ground truth, gives a class without proposals
0, treats the normal class as background, and keeps equal scores in the order of the videos.

The non-maximum suppression of the published protocol is omitted: runs above one threshold never overlap, so
it removes nothing. All steps work on snippet intervals; only the overlap with an annotated segment is counted
in frames.

Shapes: T snippets, C classes, R proposals (runs) of one class, V videos, I IoU thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.metrics.pairing import pair_videos
from extract.errors import InputError
from extract.labels import XD_VIOLENCE_CODES

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
Protocol = Literal["published", "corrected"]
PROTOCOLS: tuple[Protocol, ...] = ("published", "corrected")
Array = NDArray[Any]
AnySegment = tuple[str, int | str, int | str]
"""Label, start frame, end frame (exclusive)."""
_SORT: dict[Protocol, Literal["quicksort", "stable"]] = {"published": "quicksort", "corrected": "stable"}


@dataclass(frozen=True)
class SegmentMetrics:
    """mAP in percent, 0 to 100, as in the papers' tables; NaN if none of the averaged classes occurs."""

    protocol: Protocol
    per_iou: dict[float, float]
    """Mean over the classes, by IoU threshold (0.1 to 0.5)."""
    average: float
    """Mean over the IoU thresholds ("AVG" in the tables)."""
    per_class: dict[str, float]
    """Mean over the IoU thresholds for each class that the protocol averages."""


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """Proposals of one class in all videos, by descending score, with their hits.

    `video_R` holds the index of each proposal's video, `hits_IR` is True where a proposal matches a segment,
    `truths_V` counts the annotated segments of the class in each video.
    """

    label: str
    video_R: Array
    hits_IR: Array
    truths_V: Array

    def average_precisions(self) -> Array:
        """(I,) in [0, 1]: sum of the precision at each hit, divided by the number of segments."""
        ranks = np.arange(1, self.hits_IR.shape[1] + 1)
        precision = self.hits_IR.cumsum(axis=1) / ranks
        total: Array = (precision * self.hits_IR).sum(axis=1) / max(self.truths_V.sum(), 1)
        return total


class _Runs(NamedTuple):
    """Snippet intervals [start, end) with their scores; `group` is the index of a class or of a video."""

    group_R: Array
    start_R: Array
    end_R: Array
    score_R: Array


def segment_map(
    scores: Mapping[str, ArrayLike] | Sequence[ArrayLike],
    segments: Mapping[str, Sequence[AnySegment]] | Sequence[Sequence[AnySegment]],
    classes: Sequence[str],
    protocol: Protocol = "published",
    snippet_length: int = 16,
) -> SegmentMetrics:
    """mAP@IoU of per-video class scores against annotated segments, by one of two protocols.

    The module docstring describes both protocols; `published` is the one of the paper's tables 3 and 4.

    Args:
        scores: Class scores per video, each of shape (T, C): T snippets, C classes. A mapping by video name,
            or a sequence. Any finite range; only the order within a class matters for matching.
        segments: Annotated segments per video as (label, start_frame, end_frame), end exclusive. A mapping by
            video name, or a sequence in the order of `scores`. Labels are class names (case and spaces are
            ignored) or XD-Violence's codes; frames are ints or strings of digits.
        classes: The C class names in the order of the columns; the first one is the normal class.
        protocol: "published" or "corrected".
        snippet_length: Frames per snippet.

    Returns:
        mAP in percent, 0 to 100, by IoU threshold and by class, and its average.

    Raises:
        ValueError: No videos, a video in only one of the two arguments, another number of columns than
            classes, NaN or infinite scores, an unknown label (the message names the video); an unknown
            protocol; class names that differ only in case and spaces.

    Examples:
        >>> from evaluate import segment_map
        >>> scores = {"street": [[0.9, 0.1], [0.1, 0.8], [0.9, 0.2]]}
        >>> segments = {"street": [("riot", 16, 32)]}
        >>> segment_map(scores, segments, ["normal", "riot"], "corrected").average
        100.0
    """
    matches = match_segments(scores, segments, classes, protocol, snippet_length)
    return summarise_matches(matches, protocol)


def summarise_matches(matches: Sequence[ClassMatches], protocol: Protocol) -> SegmentMetrics:
    """mAP by one protocol from the matches of all classes (class 0 = normal)."""
    matches = averaged_classes(matches, protocol)
    precisions_CI = np.array([found.average_precisions() for found in matches]).reshape(
        -1, len(IOU_THRESHOLDS)
    )
    if not matches:
        per_iou = np.full(len(IOU_THRESHOLDS), np.nan)
    elif is_zero_by_protocol(matches, protocol):
        per_iou = np.zeros(len(IOU_THRESHOLDS))
    else:
        per_iou = 100 * precisions_CI.mean(axis=0)
    return SegmentMetrics(
        protocol=protocol,
        per_iou=dict(zip(IOU_THRESHOLDS, per_iou.tolist(), strict=True)),
        average=float(per_iou.mean()),
        per_class={
            found.label: 100 * float(row.mean()) for found, row in zip(matches, precisions_CI, strict=True)
        },
    )


def averaged_classes(matches: Sequence[ClassMatches], protocol: Protocol) -> Sequence[ClassMatches]:
    """Classes in the protocol's mean: all, or (corrected) the anomaly classes that have a segment."""
    if protocol == "published":
        return matches
    return [found for found in matches[1:] if found.truths_V.any()]


def is_zero_by_protocol(matches: Sequence[ClassMatches], protocol: Protocol) -> bool:
    """True if the published protocol sets mAP to 0 because a class has no proposal."""
    return protocol == "published" and any(not len(found.video_R) for found in matches)


def match_segments(
    scores: Mapping[str, ArrayLike] | Sequence[ArrayLike],
    segments: Mapping[str, Sequence[AnySegment]] | Sequence[Sequence[AnySegment]],
    classes: Sequence[str],
    protocol: Protocol,
    snippet_length: int,
) -> list[ClassMatches]:
    """Proposals and hits of each class: the first half of `segment_map`, with the same arguments."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    class_of = _class_lookup(classes)
    runs: list[_Runs] = []
    truths: list[tuple[int, int, int, int]] = []  # class, video, start, end
    for video, (name, values, truth) in enumerate(pair_videos(scores, segments)):
        runs.append(_video_runs(_checked(name, values, len(classes)), snippet_length))
        truths += [
            (index, video, int(start), int(end))
            for label, start, end in truth
            if (index := _class_index(class_of, label, name)) is not None
        ]
    truth_table = np.array(truths, dtype=np.int64).reshape(-1, 4)
    sort = _SORT[protocol]
    return [
        _match_class(
            label,
            _class_runs(runs, index, sort),
            truth_table[truth_table[:, 0] == index, 1:],
            len(runs),
            snippet_length,
        )
        for index, label in enumerate(classes)
    ]


def _video_runs(values_TC: Array, snippet_length: int) -> _Runs:
    """Runs above the threshold max - 0.6 (max - min) of each column, by class, then by start."""
    top_frames = max(len(values_TC) * snippet_length // 16, 1)
    ordered_TC = -np.sort(-values_TC, axis=0)[: -(-top_frames // snippet_length)]
    # Mean over frames, not a weighted mean over snippets: the published code adds in this order, and a
    # different order changes the last bits.
    belief_C = np.repeat(ordered_TC, snippet_length, axis=0)[:top_frames].mean(axis=0)
    values_CT = (values_TC * (belief_C > 0)).T
    high_C, low_C = values_CT.max(axis=1), values_CT.min(axis=1)
    threshold_C = high_C - (high_C - low_C) * np.float64(0.6)
    above = np.pad(values_CT > threshold_C[:, None], ((0, 0), (1, 1)))
    group, edge = np.nonzero(above[:, 1:] != above[:, :-1])
    group, start, end = group[::2], edge[::2], edge[1::2]
    kept = (end - start) * snippet_length >= 2
    group, start, end = group[kept], start[kept], end[kept]
    return _Runs(group, start, end, _peaks(values_CT, group, start, end) + 0.7 * belief_C[group])


def _peaks(values_CT: Array, group_R: Array, start_R: Array, end_R: Array) -> Array:
    """(R,) highest value of each run."""
    padded = np.pad(values_CT, ((0, 0), (0, 1)))  # makes the end of a run a valid index
    row_R = group_R * padded.shape[1]
    bounds = np.stack([row_R + start_R, row_R + end_R], axis=1).ravel()
    peaks: Array = np.maximum.reduceat(padded.ravel(), bounds)[::2]
    return peaks


def _class_runs(videos: Sequence[_Runs], index: int, sort: Literal["quicksort", "stable"]) -> _Runs:
    """Runs of one class in all videos, by descending score; `group` becomes the index of the video.

    Sorted within each video first, then over all videos: the published order of equal scores depends on both
    sorts.
    """
    parts = []
    for video, runs in enumerate(videos):
        first, last = np.searchsorted(runs.group_R, [index, index + 1])
        score = runs.score_R[first:last].astype(np.float64)
        order = first + np.argsort(-score, kind=sort)
        parts.append(
            (np.full(len(order), video), runs.start_R[order], runs.end_R[order], runs.score_R[order])
        )
    found = _Runs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    order = np.argsort(-found.score_R.astype(np.float64), kind=sort)
    return _Runs(*(column[order] for column in found))


def _match_class(label: str, runs: _Runs, truths: Array, n_videos: int, snippet_length: int) -> ClassMatches:
    """Match each run, by descending score, to the unmatched segment of highest IoU, for each threshold.

    `truths` has rows of video, start frame, end frame.
    """
    run, truth, iou = _overlaps(runs, truths, snippet_length)
    hits_IR = np.zeros((len(IOU_THRESHOLDS), len(runs.group_R)), dtype=bool)
    for hits_R, threshold in zip(hits_IR, IOU_THRESHOLDS, strict=True):
        taken: set[int] = set()
        enough = iou >= threshold
        for rank, candidate in zip(run[enough].tolist(), truth[enough].tolist(), strict=True):
            if candidate not in taken and not hits_R[rank]:
                hits_R[rank] = True
                taken.add(candidate)
    return ClassMatches(label, runs.group_R, hits_IR, np.bincount(truths[:, 0], minlength=n_videos))


def _overlaps(runs: _Runs, truths: Array, snippet_length: int) -> tuple[Array, Array, Array]:
    """Run, segment and IoU of each pair in one video that reaches the lowest IoU threshold.

    Ordered by run, then by descending IoU.
    """
    first, last = (np.searchsorted(truths[:, 0], runs.group_R, side) for side in ("left", "right"))
    run = np.repeat(np.arange(len(runs.group_R)), last - first)
    truth = np.arange(len(run)) + np.repeat(first - np.cumsum(last - first) + (last - first), last - first)
    start, end = runs.start_R[run] * snippet_length, runs.end_R[run] * snippet_length
    truth_start, truth_end = truths[truth, 1], truths[truth, 2]
    shared = np.maximum(np.minimum(end, truth_end) - np.maximum(start, truth_start), 0)
    iou = shared / (end - start + np.maximum(truth_end - truth_start, 0) - shared)
    near = iou >= IOU_THRESHOLDS[0]
    run, truth, iou = run[near], truth[near], iou[near]
    order = np.lexsort((truth, -iou, run))
    return run[order], truth[order], iou[order]


def _checked(name: str, values: ArrayLike, n_classes: int) -> Array:
    values_TC = np.asarray(values)
    if values_TC.ndim != 2 or not len(values_TC) or values_TC.shape[1] != n_classes:
        raise ValueError(
            f"{name}: class scores have shape {values_TC.shape}, expected (T, {n_classes}), T >= 1"
        )
    if not np.isfinite(values_TC).all():
        raise InputError(f"{name}: class scores contain NaN or infinite values; score the video again")
    return values_TC if np.issubdtype(values_TC.dtype, np.floating) else values_TC.astype(np.float64)


def _class_lookup(classes: Sequence[str]) -> dict[str, int | None]:
    """Class index of each permitted label; None for a label of normal videos that is not a class."""
    lookup: dict[str, int | None] = {_key(name): index for index, name in enumerate(classes)}
    if len(lookup) < len(classes):
        raise InputError(f"class names must differ in more than case and spaces: {list(classes)}")
    aliases = {_key(code): lookup.get(_key(name)) for code, name in XD_VIOLENCE_CODES.items()}
    if not lookup.keys() <= {_key(name) for name in XD_VIOLENCE_CODES.values()}:
        aliases["a"] = None  # UCF-Crime's label of normal videos, which the published protocol ignores
    known = {code: index for code, index in aliases.items() if index is not None or code == "a"}
    return known | lookup


def _class_index(class_of: Mapping[str, int | None], label: str, name: str) -> int | None:
    if _key(label) not in class_of:
        raise InputError(f"{name}: unknown label {label!r}; the classes are {', '.join(class_of)}")
    return class_of[_key(label)]


def _key(label: str) -> str:
    return "".join(filter(str.isalnum, label.casefold()))
