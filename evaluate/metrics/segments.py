"""mAP@IoU of anomalous segments: proposals from class scores, matched against annotated segments.

Two protocols share the proposals and the matching.

`published` is behind the tables of VadCLIP, DSANet and their peers (paper, tables 3 and 4), quirks included:
- the normal class is averaged in. UCF-Crime's truth calls normal videos "A" where the class list says
  "Normal": that class never has a truth and scores 0, so nothing reaches more than 13/14 = 92.86;
- where one class has no proposal in any video, the result is 0;
- a constant column never exceeds its own threshold: a video that is anomalous (or normal) from end to end
  has no proposal, however sure the detector is;
- equal scores come in the order of NumPy's default sort, which is not stable.

`corrected` averages over the anomaly classes that occur in the truth, gives a class without proposals 0,
takes the normal class for background, and keeps equal scores in the order of the videos.

The published non-maximum suppression is left out: the runs above one threshold never overlap, so it removes
nothing. Everything is computed on snippet intervals; only the overlap with a truth is counted in frames.

Shapes: T snippets, C classes, R proposals (runs) of one class, V videos, I IoU thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.metrics.pairing import paired
from extract.labels import XD_VIOLENCE_CODES

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
Protocol = Literal["published", "corrected"]
Array = NDArray[Any]
AnySegment = tuple[str, int | str, int | str]  # label, start frame, end frame (exclusive)
_SORT: dict[Protocol, Literal["quicksort", "stable"]] = {"published": "quicksort", "corrected": "stable"}


@dataclass(frozen=True)
class SegmentMetrics:
    """Percent, 0 to 100, as in the papers' tables. NaN where no class that counts has a truth."""

    protocol: Protocol
    per_iou: dict[float, float]  # by IoU threshold, 0.1 to 0.5: mean over classes
    average: float  # mean over the IoU thresholds ("AVG")
    per_class: dict[str, float]  # mean over the IoU thresholds, of the classes that count


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """Proposals of one class over all videos, by falling score, and which of them are hits."""

    label: str
    video_R: Array
    hits_IR: Array
    truths_V: Array  # number of truths in every video

    def average_precisions(self) -> Array:
        """(I,) sum of the precisions at the ranks of hits over the number of truths; 0 without hits."""
        ranks = np.arange(1, self.hits_IR.shape[1] + 1)
        precision = self.hits_IR.cumsum(axis=1) / ranks
        total: Array = (precision * self.hits_IR).sum(axis=1) / max(self.truths_V.sum(), 1)
        return total


class _Runs(NamedTuple):
    """Intervals of snippets [start, end) with their scores; `group` is a class or a video."""

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
    """mAP@IoU of per-video class scores (T, C) against segments (label, start_frame, end_frame).

    Scores and segments are mappings by video name, or sequences in the same order. `classes[0]` is the
    normal class. Labels are class names (case and spaces ignored) or XD-Violence's codes; starts and ends
    are ints or strings of digits, ends exclusive. Raises ValueError naming the video: one without scores or
    truth, NaN, another number of classes, an unknown label.
    """
    return summarise(match_segments(scores, segments, classes, protocol, snippet_length), protocol)


def summarise(matches: Sequence[ClassMatches], protocol: Protocol) -> SegmentMetrics:
    """The figures of one protocol from the matches of all classes (class 0 = normal)."""
    if protocol == "corrected":
        matches = [found for found in matches[1:] if found.truths_V.any()]
    precisions_CI = np.array([found.average_precisions() for found in matches]).reshape(
        -1, len(IOU_THRESHOLDS)
    )
    if not matches:
        per_iou = np.full(len(IOU_THRESHOLDS), np.nan)
    elif protocol == "published" and any(not len(found.video_R) for found in matches):
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


def match_segments(
    scores: Mapping[str, ArrayLike] | Sequence[ArrayLike],
    segments: Mapping[str, Sequence[AnySegment]] | Sequence[Sequence[AnySegment]],
    classes: Sequence[str],
    protocol: Protocol,
    snippet_length: int,
) -> list[ClassMatches]:
    """The first half of `segment_map`: every class's proposals, and the hits among them at every IoU."""
    if protocol not in _SORT:
        raise ValueError(f"protocol must be one of {', '.join(_SORT)}, not {protocol!r}")
    class_of = _class_lookup(classes)
    runs: list[_Runs] = []
    truths: list[tuple[int, int, int, int]] = []  # class, video, start, end
    for video, (name, values, truth) in enumerate(paired(scores, segments)):
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
    """Runs above the threshold max - 0.6 (max - min) in every column, by class and then by start."""
    top_frames = max(len(values_TC) * snippet_length // 16, 1)
    ordered_TC = -np.sort(-values_TC, axis=0)[: -(-top_frames // snippet_length)]
    # The mean over frames, not a weighted one over snippets: the same additions in the same order.
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
    """Highest value of every run."""
    padded = np.pad(values_CT, ((0, 0), (0, 1)))  # so that an end is an index, too
    row_R = group_R * padded.shape[1]
    bounds = np.stack([row_R + start_R, row_R + end_R], axis=1).ravel()
    peaks: Array = np.maximum.reduceat(padded.ravel(), bounds)[::2] if len(bounds) else padded[0, :0]
    return peaks


def _class_runs(videos: Sequence[_Runs], index: int, sort: Literal["quicksort", "stable"]) -> _Runs:
    """The runs of one class in all videos (`group` becomes the video), by falling score.

    Sorted within the video first, then over all: with equal scores the published order depends on both.
    """
    parts = []
    for video, runs in enumerate(videos):
        first, last = np.searchsorted(runs.group_R, [index, index + 1])
        score = runs.score_R[first:last].astype(np.float64)
        order = first + np.argsort(-score, kind=sort)
        parts.append(
            (np.full(len(order), video), runs.start_R[order], runs.end_R[order], runs.score_R[order])
        )
    video_R, start_R, end_R, score_R = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(-score_R.astype(np.float64), kind=sort)
    return _Runs(video_R[order], start_R[order], end_R[order], score_R[order])


def _match_class(label: str, runs: _Runs, truths: Array, n_videos: int, snippet_length: int) -> ClassMatches:
    """Marks the runs that hit a truth still free, at every IoU. `truths`: rows of video, start, end."""
    run, truth, iou = _overlaps(runs, truths, snippet_length)
    hits_IR = np.zeros((len(IOU_THRESHOLDS), len(runs.group_R)), dtype=bool)
    for hits_R, threshold in zip(hits_IR, IOU_THRESHOLDS, strict=True):
        free = np.ones(len(truths), dtype=bool)
        enough = iou >= threshold
        for rank, candidate in zip(run[enough].tolist(), truth[enough].tolist(), strict=True):
            if free[candidate] and not hits_R[rank]:
                hits_R[rank] = True
                free[candidate] = False
    return ClassMatches(label, runs.group_R, hits_IR, np.bincount(truths[:, 0], minlength=n_videos))


def _overlaps(runs: _Runs, truths: Array, snippet_length: int) -> tuple[Array, Array, Array]:
    """Pairs of a run and a truth of its video that overlap enough to matter: by rank, then by falling IoU."""
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
        raise ValueError(f"{name}: class scores hold NaN or infinite values; score the video again")
    return values_TC if np.issubdtype(values_TC.dtype, np.floating) else values_TC.astype(np.float64)


def _class_lookup(classes: Sequence[str]) -> dict[str, int | None]:
    """Index of every label that may stand in a truth; None for a normal video's that is no class here."""
    lookup: dict[str, int | None] = {_key(name): index for index, name in enumerate(classes)}
    if len(lookup) < len(classes):
        raise ValueError(f"class names must differ in more than case and spaces: {list(classes)}")
    aliases = {_key(code): lookup.get(_key(name)) for code, name in XD_VIOLENCE_CODES.items()}
    if not lookup.keys() <= {_key(name) for name in XD_VIOLENCE_CODES.values()}:
        aliases["a"] = None  # UCF-Crime: no class is called so, and the normal class stays without a truth
    known = {code: index for code, index in aliases.items() if index is not None or code == "a"}
    return known | lookup


def _class_index(class_of: Mapping[str, int | None], label: str, name: str) -> int | None:
    if _key(label) not in class_of:
        raise ValueError(f"{name}: unknown label {label!r}; the classes are {', '.join(class_of)}")
    return class_of[_key(label)]


def _key(label: str) -> str:
    return "".join(filter(str.isalnum, label.casefold()))
