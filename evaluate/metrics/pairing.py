"""Pairs the scores and the ground truth of each video, given as mappings by name or as aligned sequences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from extract.errors import InputError

S = TypeVar("S")
L = TypeVar("L")


def pair_videos(
    scores: Mapping[str, S] | Sequence[S], truths: Mapping[str, L] | Sequence[L]
) -> Iterator[tuple[str, S, L]]:
    """Name, scores and ground truth of each video, in the order of `truths`.

    Sequences have no names; their videos are called `video <index>`. Raises ValueError if both are empty, or
    if a video is in only one of the two; the message names that video.
    """
    named_scores, named_truths = _named(scores), _named(truths)
    if not named_truths and not named_scores:
        raise InputError("no videos to evaluate: scores and ground truth are both empty")
    if unpaired := sorted(named_scores.keys() ^ named_truths.keys()):
        missing = "scores" if unpaired[0] in named_truths else "ground truth"
        raise InputError(
            f"{unpaired[0]}: no {missing} for this video "
            f"({len(unpaired)} video(s) have only one of scores and ground truth)"
        )
    for name, truth in named_truths.items():
        yield name, named_scores[name], truth


def _named(per_video: Mapping[str, S] | Sequence[S]) -> dict[str, S]:
    if isinstance(per_video, Mapping):
        return dict(per_video)
    return {f"video {index}": values for index, values in enumerate(per_video)}
