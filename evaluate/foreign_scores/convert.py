"""From assigned values to `VideoScores`: fitted to frames, scaled to [0, 1], notes on what was assumed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluate.foreign_scores.content import Array, Values
from evaluate.foreign_scores.intervals import paint
from evaluate.foreign_scores.lengths import SNIPPET, FittedScores, fit
from evaluate.foreign_scores.rules import ImportRules, VideoLength
from evaluate.foreign_scores.scale import normal_first, scaled_anomaly, scaled_classes, scaled_intervals
from evaluate.scores import VideoScores
from extract.display import shortened
from extract.errors import InputError
from extract.labels import NORMAL

ASSUMED_FPS = 30.0
_SCALED = {
    "logits": "scores outside 0 to 1 were taken as outputs before the sigmoid or softmax, which was applied",
    "range": "scores were mapped to 0 to 1 linearly, from the lowest to the highest of all videos",
    "rows": "each row of class scores was divided by its sum",
}


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The scores of one video on its frames, not scaled yet."""

    anomaly: FittedScores | None
    classes: FittedScores | None
    by_scores: bool
    """True if only the scores tell the number of frames."""

    @property
    def whole(self) -> FittedScores:
        found = self.anomaly or self.classes
        assert found is not None  # one of them was given
        return found


def convert(
    values: Mapping[str, Values],
    class_values: Mapping[str, Values],
    lengths: Mapping[str, VideoLength],
    classes: Sequence[str],
    rules: ImportRules,
) -> tuple[list[VideoScores], list[str]]:
    """Scores of all videos, and sentences on what was interpolated, cut or assumed.

    Args:
        values: Scores (T,), class scores (T, C), or intervals, by video.
        class_values: Class scores (T, C) beside anomaly scores in `values`; empty without.
        lengths: What is known about each video.
        classes: Class names of the score files, `normal` first.
        rules: What the user says about the numbers.

    Raises:
        InputError: The message names the video, and the lengths that do not fit or the range.
    """
    fitted = {
        name: _fit(name, one, class_values.get(name), lengths[name], classes, rules)
        for name, one in values.items()
    }
    shares = {
        name: _shares(name, found.classes.values, values[name], rules)
        for name, found in fitted.items()
        if found.classes is not None
    }
    given = {name: found.anomaly.values for name, found in fitted.items() if found.anomaly is not None}
    painted = any(isinstance(one, tuple) for one in values.values())
    anomaly = scaled_anomaly(given, "none" if painted else rules.scale) if given else {}
    videos = [
        VideoScores(
            name=name,
            anomaly_T=anomaly[name] if name in anomaly else (1 - shares[name][:, 0]).clip(0, 1),
            classes_TC=shares.get(name),
            classes=tuple(classes),
            snippet_length=found.whole.snippet_length,
            n_frames=found.whole.n_frames,
            fps=lengths[name].fps or rules.fps or ASSUMED_FPS,
        )
        for name, found in fitted.items()
    ]
    return videos, list(_notes(values, fitted, lengths, rules))


def _fit(
    name: str,
    values: Values,
    class_values: Values | None,
    length: VideoLength,
    classes: Sequence[str],
    rules: ImportRules,
) -> _Fitted:
    if isinstance(values, tuple):
        if class_values is not None:
            raise InputError(f"{name}: intervals and class scores; expected class scores beside arrays")
        return _painted(name, values, length, classes, rules)
    if class_values is not None:
        if values.ndim != 1 or isinstance(class_values, tuple) or class_values.ndim != 2:
            raise InputError(
                f"{name}: expected anomaly scores (T,), and class scores (T, C) in --class-scores"
            )
        anomaly, shares = (_fit_array(name, one, length, rules) for one in (values, class_values))
        if len(anomaly.values) != len(shares.values):
            raise InputError(
                f"{name}: {len(values)} anomaly scores, but {len(class_values)} rows of class scores"
            )
        return _Fitted(anomaly, shares, _by_scores(len(values), length, rules))
    found = _fit_array(name, values, length, rules)
    by_scores = _by_scores(len(values), length, rules)
    return _Fitted(found, None, by_scores) if values.ndim == 1 else _Fitted(None, found, by_scores)


def _painted(
    name: str, values: Values, length: VideoLength, classes: Sequence[str], rules: ImportRules
) -> _Fitted:
    if length.n_frames is None:
        raise InputError(
            f"{name}: intervals do not tell the number of frames; give a column `frames` in the manifest"
        )
    assert isinstance(values, tuple)
    scaled = scaled_intervals(values, rules.scale)
    anomaly, shares = paint(scaled, length.n_frames, length.fps or rules.fps, classes)
    classed = None if shares is None else FittedScores(shares, 1, length.n_frames)
    return _Fitted(FittedScores(anomaly, 1, length.n_frames), classed, False)


def _fit_array(name: str, values: Array, length: VideoLength, rules: ImportRules) -> FittedScores:
    if values.ndim == 2 and values.shape[1] != len(rules.classes):
        expected = (
            f"the {len(rules.classes)} of --classes" if rules.classes else "one; name them with --classes"
        )
        raise InputError(f"{name}: scores in {values.shape[1]} columns, expected {expected}")
    known = None if _by_scores(len(values), length, rules) else length.n_frames
    return fit(values, rules.every, known, name, cut=rules.cut)


def _by_scores(count: int, length: VideoLength, rules: ImportRules) -> bool:
    """True if nothing else tells the number of frames, or only whole snippets, which the scores refine."""
    if length.n_frames is None:
        return True
    difference = count * rules.every.frames - length.n_frames
    return length.in_snippets and bool(rules.every.frames) and 0 < difference < SNIPPET


def _shares(name: str, values_TC: Array, given: Values, rules: ImportRules) -> Array:
    """Class scores with `normal` first, rows that sum to 1."""
    if isinstance(given, tuple):  # made from intervals
        return values_TC
    return normal_first(scaled_classes(values_TC, rules.scale, name), rules.classes)


def class_names(labels: Sequence[str], values: Mapping[str, Values], rules: ImportRules) -> tuple[str, ...]:
    """Classes of the score files, `normal` first: those given, or the labels of videos and intervals."""
    if rules.classes:
        return (NORMAL, *(name for name in rules.classes if name != NORMAL))
    of_intervals = {
        one.label for found in values.values() if isinstance(found, tuple) for one in found if one.label
    }
    return (NORMAL, *sorted({*labels, *of_intervals} - {NORMAL}))


def _notes(
    values: Mapping[str, Values],
    fitted: Mapping[str, _Fitted],
    lengths: Mapping[str, VideoLength],
    rules: ImportRules,
) -> Iterator[str]:
    if rules.scale != "none":
        yield _SCALED[rules.scale]
    if all(isinstance(one, tuple) for one in values.values()):
        yield from _interval_notes(values)
    elif rules.every.segments:
        yield (
            f"interpolated: {rules.every.segments} scores a video, each of them for one of "
            f"{rules.every.segments} equal parts of its frames"
        )
    elif rules.every.frames > 1:
        yield f"interpolated: every score stands for {rules.every.frames} frames"
    if any(found.anomaly is None for found in fitted.values()):
        yield "anomaly scores are 1 - the score of the class normal"
    if cut := [name for name, found in fitted.items() if found.whole.cut]:
        most = max(abs(fitted[name].whole.cut) for name in cut)
        yield f"the ends of {len(cut)} video(s), up to {most} frames, are left out (--cut): {shortened(cut)}"
    if own := [name for name, found in fitted.items() if found.by_scores]:
        yield f"the number of frames of {len(own)} video(s) is that of their scores, nothing else tells it"
    if not rules.fps and (unknown := [name for name in values if lengths[name].fps is None]):
        yield f"no frame rate known of {len(unknown)} video(s): {ASSUMED_FPS:g} a second assumed for times"


def _interval_notes(values: Mapping[str, Values]) -> Iterator[str]:
    yield "interpolated: a frame has the highest score of the intervals over it, and 0 outside them"
    if empty := [name for name, found in values.items() if not len(found)]:
        yield f"{len(empty)} video(s) without an interval have the score 0 throughout: {shortened(empty)}"
