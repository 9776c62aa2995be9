"""Scores of snippets as arrays, and what every scorer does around them: checks, crops, score files.

T snippets, K crops, D width, C classes (0 = normal).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evaluate.scores import VideoScores
from extract.errors import InputError
from extract.store import VideoFeatures


class ArrayScores(NamedTuple):
    """Scores of one array of features: the snippets' anomaly scores and class distributions."""

    anomaly_T: np.ndarray
    """Anomaly scores in [0, 1], float32."""
    classes_TC: np.ndarray | None
    """Class probabilities, rows sum to 1, class 0 = normal; None from a detector without anomaly classes."""


def checked_features(features: npt.ArrayLike, width: int) -> np.ndarray:
    """(T, K, D) float32 of one video's features, (T, D) or (T, K, D).

    Raises InputError for another shape, an empty array, or values that are not finite.
    """
    array = np.asarray(features)
    if array.ndim not in (2, 3) or array.shape[-1] != width or not array.size:
        raise InputError(f"features have shape {array.shape}, expected (T, {width}) or (T, crops, {width})")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError("features hold values that are not finite numbers")
    return array.reshape(len(array), -1, width)


def chosen_crops(crop: Literal["mean"] | int, crops: int, name: str) -> Sequence[int]:
    """The crops that the setting `crop` asks for. Raises InputError if the video `name` does not have it."""
    if crop == "mean":
        return range(crops)
    if 0 <= crop < crops:
        return [crop]
    raise InputError(f"{name} has {crops} crops, there is no crop {crop}")


def video_scores(
    video: VideoFeatures, values: Mapping[str, np.ndarray], classes: tuple[str, ...]
) -> VideoScores:
    """The scores of a video from the arrays of `Detector.scores`, (T, …) by name."""
    # The prototypes' classes are the same in each snippet of a window: their mean is the video's.
    event, background = (values[name].mean(0) if name in values else None for name in ("event", "background"))
    return VideoScores(
        name=video.name,
        anomaly_T=values["anomaly"],
        classes_TC=values.get("classes"),
        classes=classes,
        snippet_length=video.meta.config.snippet_length,
        n_frames=video.meta.source.n_frames,
        fps=video.meta.source.fps,
        event_C=event,
        background_C=background,
        frame_index_T=video.frame_index,
        time_s_T=video.time_s,
        start_s_T=video.start_s,
        end_s_T=video.end_s,
        learned_TD=values.get("learned"),
        normal_distance_T=values.get("normal_distance"),
    )
